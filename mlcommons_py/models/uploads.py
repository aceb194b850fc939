"""Uploads: a model's chunks come in, and when they are all there and right it is registered."""

import asyncio
from dataclasses import replace

from mlcommons_py.errors import Conflict, ContentTooLong, IllegalArgument, InvalidModel, ResourceNotFound
from mlcommons_py.models.chunks import Arrived, Marks
from mlcommons_py.models.documents import CHUNK_SIZE, Model, chunk_id
from mlcommons_py.models.registry import Models, found
from mlcommons_py.models.states import ModelState
from mlcommons_py.store import Document, Written
from mlcommons_py.store.record import now

_MOST = 1000
"""Models of which it is kept which chunks are there; of others it is looked up again."""


class Uploads:
    """Takes the chunks of models in."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._chunks = models.chunks
        self._stored: dict[str, set[int]] = {}

    async def upload(self, model_id: str, number: int, content: bytes, arrived: Arrived | None = None) -> Model | None:
        """Store one chunk; return the model if that was the last that was missing, so that it is now registered.

        Chunks may come in any order, several times and side by side. While one is stored, ``arrived`` is told what
        there is of the archive.

        Raises:
            ResourceNotFound: there is no such model.
            IllegalArgument: the number is out of range, or the chunk is empty.
            ContentTooLong: the chunk is longer than 10,000,000 bytes.
            InvalidModel: all chunks are there, but size or hash of the whole are not as announced.
            Conflict: the model is registered already, with other content; or the service fetches it itself.
        """
        # One chunk at a time: none may slip in between the verification of the whole and the word that it is whole.
        async with self._models.turn(model_id):
            there, before = await asyncio.gather(self._models.document(model_id), self._chunks.before(model_id, number))
            model = found(there)
            _check_chunk(model_id, model, number, content)
            if not model.state.is_incomplete and not await self._reopen(model_id, model, number, content):
                return None
            await self._chunks.replace(before, model_id, model, number, content, arrived)
            # What is there is read after the chunk is stored, as every service does: one of them sees the last one.
            document, lacks = await asyncio.gather(
                self._models.document(model_id), self._lacks(model_id, model, number)
            )
            if document is None:  # deleted meanwhile: leave nothing behind
                self._stored.pop(model_id, None)
                await self._chunks.remove(model_id, number)
                raise ResourceNotFound("Failed to find model")
            model = Model.from_json(document.source)
            if not model.state.is_incomplete:  # by another service
                await self._recheck(model_id)
                return None
            return model if not lacks and await self._verified(model_id, document) else None

    async def _lacks(self, model_id: str, model: Model, number: int) -> bool:
        """Return whether a chunk is missing, now that this one is there.

        A search has the cluster refresh, which is much to do after each chunk: only where another service stored the
        first chunk that is not known to be there, a search finds out what else is. One that comes before this chunk
        may be there though a read by id does not know it yet: chunks are not stored at once.
        """
        stored = self._stored.setdefault(model_id, set())
        stored.add(number)
        while len(self._stored) > _MOST:
            del self._stored[next(iter(self._stored))]
        wanted = range(model.total_chunks or 0)
        first = next((one for one in wanted if one not in stored), None)
        if first is not None and (first < number or await self._chunks.before(model_id, first) is not None):
            stored |= await self._chunks.present(model_id)
        return not stored.issuperset(wanted)

    async def _reopen(self, model_id: str, model: Model, number: int, content: bytes) -> bool:
        """Take a registered model back to being registered if what is stored of it is not what it announced.

        That is what another service that died, or a damaged store, may leave; the right chunks mend it.
        """
        if await self._chunks.content(model_id, number) == content:
            return False
        conflict = Conflict(
            f"Model {model_id} is {model.state} and its content cannot change; register a new version instead"
        )
        if model.state.is_deployed:
            raise conflict
        try:
            await self._recheck(model_id)
        except InvalidModel:
            return True
        raise conflict

    async def _recheck(self, model_id: str) -> None:
        """Take a registered model back to being registered if its content is not what it announced.

        Raises:
            InvalidModel: it is not.
        """
        model = await self._models.model(model_id)
        try:
            await self._chunks.verify(model_id, model)
        except InvalidModel as fault:
            reason = fault.reason

            def make(read: Model) -> Model | None:
                if read.state.is_deployed:  # what runs was proven before
                    return None
                return replace(read, model_state=ModelState.REGISTERING, state_reason=reason, last_updated_time=now())

            await self._models.change(model_id, make)
            raise

    async def complete(self, model_id: str) -> bool:
        """Call a model registered if its chunks are all there and right; return whether this call did it.

        Raises:
            ResourceNotFound: there is no such model.
            InvalidModel: all chunks are there, but size or hash of the whole are not as announced; the model's document
                says so too.
        """
        async with self._models.turn(model_id):
            document = await self._models.document(model_id)
            if document is None:
                raise ResourceNotFound("Failed to find model")
            is_incomplete = Model.from_json(document.source).state.is_incomplete
            return is_incomplete and await self._verified(model_id, document)

    async def _verified(self, model_id: str, document: Document) -> bool:
        """Call a model registered if its chunks are all there and right; return whether this call did it."""
        model = Model.from_json(document.source)
        marks = self._chunks.own_marks(model_id, model) or await self._chunks.marks(model_id)
        if not all(chunk_id(model_id, number) in marks for number in range(model.total_chunks or 0)):
            self._stored.pop(model_id, None)  # what was there once is not any more
            return False
        try:
            await self._chunks.verify(model_id, model, marks=marks)
        except InvalidModel as fault:
            reason = fault.reason
            await self._models.change(
                model_id, lambda read: replace(read, state_reason=reason) if read.state.is_incomplete else None
            )
            raise
        written = await self._models.registered(model_id, document)
        self._stored.pop(model_id, None)
        if written is None:
            return False
        # Another service may have stored a chunk since: it looks at the state after it writes, we at the chunks.
        if not _follows(written, marks) and await self._chunks.marks(model_id) != marks:
            await self._recheck(model_id)
        return True


def _follows(written: Written, marks: Marks) -> bool:
    """Return whether nothing was written to the index between the last of the chunks and this: it counts writes."""
    term, seq_no = max(marks.values(), default=(0, 0))
    return (written.primary_term, written.seq_no) == (term, seq_no + 1)


def _check_chunk(model_id: str, model: Model, number: int, content: bytes) -> None:
    if model.register_task_id is not None:
        raise Conflict(f"the content of model {model_id} is fetched from its url; nothing can be uploaded for it")
    if not 0 <= number < (model.total_chunks or 0):
        raise IllegalArgument("Chunk number exceeds total chunks")
    if not content:
        raise IllegalArgument("Chunk size either 0 or null")
    if len(content) > CHUNK_SIZE:
        raise ContentTooLong("Chunk size exceeds 10MB")

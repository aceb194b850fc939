"""A model's content, in numbered chunks of at most 10,000,000 bytes, each a document of its own."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from mlcommons_py.errors import Conflict, InvalidModel
from mlcommons_py.models.documents import CHUNK_SIZE, MODELS, Model, chunk_id
from mlcommons_py.models.kept import Beginning, KeptChunks, Mark
from mlcommons_py.store import Delete, Document, Store, Written
from mlcommons_py.store.client_search import exactly, found

Arrived = Callable[[Model, Beginning], None]
"""Is told what there is of a model's archive, when more of it is."""

Marks = Mapping[str, Mark]


class Chunks:
    """The chunks of the models of a store."""

    def __init__(self, store: Store, kept: KeptChunks) -> None:
        self._store = store
        self.kept = kept

    async def before(self, model_id: str, number: int) -> Document | None:
        """Return what is stored under the id of a chunk, if anything is."""
        return await self._store.get(MODELS, chunk_id(model_id, number))

    async def put(self, model_id: str, model: Model, number: int, content: bytes) -> None:
        """Store one chunk, in place of one of the same number.

        Raises:
            Conflict: what is stored under its id is no chunk of this model.
        """
        await self._put(await self.before(model_id, number), model_id, model, number, content)

    async def replace(
        self,
        before: Document | None,
        model_id: str,
        model: Model,
        number: int,
        content: bytes,
        arrived: Arrived | None,
    ) -> None:
        """Store one chunk in place of what was :meth:`before`; while it is stored it is copied, and ``arrived`` told.

        Raises:
            Conflict: what is there is no chunk of this model.
        """
        keeping = asyncio.create_task(self._keep(model_id, model, number, content, arrived))
        try:
            # In a task of its own, for which the store is patient: of all requests this one costs most to repeat.
            written = await asyncio.create_task(self._put(before, model_id, model, number, content))
        finally:
            await keeping
        self.kept.mark(model_id, number, (written.primary_term, written.seq_no))

    async def _put(self, before: Document | None, model_id: str, model: Model, number: int, content: bytes) -> Written:
        if before is not None and before.source.get("model_id") != model_id:
            raise Conflict(f"[{before.id}], the id of this chunk, is the id of another document; use another model id")
        document: dict[str, Any] = {
            "algorithm": model.algorithm,
            "model_group_id": model.model_group_id,
            "model_version": model.model_version,
            "model_id": model_id,
            "model_format": model.model_format,
            "chunk_number": number,
            "total_chunks": model.total_chunks,
        }
        # Where a write is refreshed, the refresh of a chunk costs as much again as to write it.
        return await self._store.put(MODELS, chunk_id(model_id, number), document, content=content, at_once=False)

    async def _keep(self, model_id: str, model: Model, number: int, content: bytes, arrived: Arrived | None) -> None:
        beginning = await self.kept.keep(model_id, number, content)
        if beginning is not None and arrived is not None:
            arrived(model, beginning)

    async def content(self, model_id: str, number: int) -> bytes | None:
        """Return the bytes of a chunk as they are stored, or None where it is not there."""
        return await self._store.content(MODELS, chunk_id(model_id, number))

    async def remove(self, model_id: str, number: int) -> None:
        """Delete one chunk."""
        await self._store.delete(MODELS, chunk_id(model_id, number))

    async def present(self, model_id: str) -> set[int]:
        """Return the numbers of the chunks that are there."""
        body = {
            "query": {"bool": {"filter": [exactly("model_id", model_id), {"exists": {"field": "chunk_number"}}]}},
            "size": 0,
            # To show a field of a hit a cluster reads all of it, content included.
            "aggs": {"numbers": {"terms": {"field": "chunk_number", "size": 10_000}}},
        }
        answer = await self._store.search(MODELS, body)
        return {int(bucket["key"]) for bucket in answer["aggregations"]["numbers"]["buckets"]}

    async def marks(self, model_id: str) -> Marks:
        """Return what changes when a chunk is written, of all of them, by their ids."""
        body = {
            "query": {"bool": {"filter": [exactly("model_id", model_id), {"exists": {"field": "chunk_number"}}]}},
            "size": 10_000,
            "_source": False,
            "seq_no_primary_term": True,
        }
        hits = found(await self._store.search(MODELS, body))
        return {str(hit["_id"]): (int(hit["_primary_term"]), int(hit["_seq_no"])) for hit in hits}

    def own_marks(self, model_id: str, model: Model) -> Marks | None:
        """Return the marks of all chunks as they were when this process had stored the last of them.

        None where it did not store them all, or anything else was written to the index since the first: a sequence
        number counts the index's writes.
        """
        marks = {chunk_id(model_id, number): mark for number, mark in self.kept.marks(model_id).items()}
        wanted = {chunk_id(model_id, number) for number in range(model.total_chunks or 0)}
        (first_term, first), (last_term, last) = (
            min(marks.values(), default=(0, 0)),
            max(marks.values(), default=(0, 0)),
        )
        is_run = first_term == last_term and last - first == len(marks) - 1
        return marks if is_run and marks.keys() == wanted else None

    async def missing(self, model_id: str, model: Model) -> list[int]:
        """Return the numbers of the chunks that are not there, ascending."""
        return sorted(set(range(model.total_chunks or 0)) - await self.present(model_id))

    async def shortfall(self, model_id: str, model: Model) -> str:
        """Return the sentence that says what keeps a model from being registered."""
        if model.register_task_id is not None:
            return f"Model {model_id} is not registered yet: task {model.register_task_id} fetches its content"
        missing = await self.missing(model_id, model)
        if not missing:
            return (
                f"Model {model_id} is not registered, though its chunks are all there:"
                f" {model.state_reason or 'they are being verified'}; upload those that are wrong again"
            )
        shown = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
        return (
            f"Model {model_id} is not registered yet: of its {model.total_chunks} chunks {len(missing)} are missing:"
            f" [{shown}]. Send each to POST /_plugins/_ml/models/{model_id}/upload_chunk/<number>"
        )

    async def read(self, model_id: str, model: Model) -> AsyncIterator[bytes]:
        """Yield the chunks in order; one that this process stored, and nobody since, from its copy.

        Raises:
            InvalidModel: one is missing.
        """
        marks = await self.marks(model_id) if model_id in self.kept else {}
        for number in range(model.total_chunks or 0):
            content = await self.kept.read(model_id, number, marks.get(chunk_id(model_id, number)))
            if content is None:
                content = await self.content(model_id, number)
            if content is None:
                raise InvalidModel(f"chunk {number} of model {model_id} is missing; upload it again")
            yield content

    async def verify(
        self, model_id: str, model: Model, copy_to: Path | None = None, marks: Marks | None = None
    ) -> None:
        """Compare the size and the SHA-256 of the whole content with what the model's document says.

        With ``copy_to`` the content is written to that file on the way; memory holds one chunk at a time. ``marks`` are
        those of the chunks, where they are known.

        Raises:
            InvalidModel: a chunk is missing, or the size or the hash differs; the text names both values.
        """
        size, digest = await self._measure(model_id, model, copy_to, marks)
        wanted = model.model_content_size_in_bytes
        if wanted is not None and size != wanted:
            raise InvalidModel(
                f"model content changed: model_content_size_in_bytes is {wanted}, the chunks have {size}"
            )
        if digest != (model.model_content_hash_value or "").lower():
            raise InvalidModel(
                f"model content changed: model_content_hash_value is {model.model_content_hash_value},"
                f" the SHA-256 of the chunks is {digest}"
            )

    async def _measure(self, model_id: str, model: Model, copy_to: Path | None, marks: Marks | None) -> tuple[int, str]:
        """Return the size and the SHA-256 of the whole content, which was hashed already if all of it came here."""
        if copy_to is None and model_id in self.kept:
            marks = await self.marks(model_id) if marks is None else marks
            numbers = {chunk_id(model_id, number): number for number in range(model.total_chunks or 0)}
            whole = self.kept.whole(model_id, {numbers[one]: mark for one, mark in marks.items() if one in numbers})
            if whole is not None and whole.chunks == model.total_chunks:
                return whole.size, whole.digest
        digest, size = hashlib.sha256(), 0
        async for content in self.read(model_id, model):
            size += len(content)
            await asyncio.to_thread(digest.update, content)
            if copy_to is not None:
                await asyncio.to_thread(_append, copy_to, content)
        return size, digest.hexdigest()

    async def split(self, model_id: str, model: Model, archive: Path) -> None:
        """Store a file as chunks; memory holds one at a time."""
        for number in range(model.total_chunks or 0):
            await self.put(model_id, model, number, await asyncio.to_thread(_part, archive, number))

    async def delete(self, model_id: str) -> None:
        """Delete every chunk of a model."""
        await self.kept.drop(model_id)
        present = await self.present(model_id)
        await self._store.bulk([Delete(MODELS, chunk_id(model_id, number)) for number in sorted(present)])

    async def sweep(self) -> int:
        """Delete chunks whose model is gone, left by a process that died between two writes; return how many."""
        body = {
            "query": {"exists": {"field": "chunk_number"}},
            "size": 0,
            "aggs": {"models": {"terms": {"field": "model_id", "size": 10_000}}},
        }
        answer = await self._store.search(MODELS, body)
        owners = [str(bucket["key"]) for bucket in answer["aggregations"]["models"]["buckets"]]
        swept = 0
        for model_id in owners:
            if await self._store.get(MODELS, model_id) is None:
                swept += await self._store.delete_by_query(MODELS, exactly("model_id", model_id))
        return swept


# A file is opened for each chunk: one that stays open over an await is left open when the caller is cancelled.


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def _part(path: Path, number: int) -> bytes:
    with path.open("rb") as file:
        file.seek(number * CHUNK_SIZE)
        return file.read(CHUNK_SIZE)

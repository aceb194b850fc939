"""Models: their registration in pieces, reading, changing and deleting them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from mlcommons_py.errors import (
    BadRequest,
    Conflict,
    NotFound,
    ResourceNotFound,
    VersionConflict,
)
from mlcommons_py.models.chunks import Chunks
from mlcommons_py.models.documents import MODELS, SEARCHED, Model
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.kept import KeptChunks
from mlcommons_py.models.membership import Membership
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.states import ModelState
from mlcommons_py.store import CONTENT, Document, Put, Store, Written, new_id
from mlcommons_py.store.client_search import api_body
from mlcommons_py.store.recent import Recent
from mlcommons_py.store.record import change, now


class Models:
    """The models of a store.

    Attributes:
        membership: how they join groups.
        chunks: their content.
    """

    def __init__(self, store: Store, groups: Groups, kept: KeptChunks | None = None) -> None:
        self._store = store
        self.membership = Membership(store, groups.names)
        self.chunks = Chunks(store, KeptChunks(None) if kept is None else kept)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._recent = Recent(self.model)

    async def create(self, registration: Registration, *, task_id: str | None = None) -> str:
        """Store the meta document of a model that is being registered, and return its id.

        The model takes the next version of its group; without a group it joins that of its own name, or founds it.
        ``task_id`` is the task that fetches its content; None where a client uploads it.

        Raises:
            NotFound: the group does not exist.
            Conflict: ``model_id`` is taken.
        """
        if registration.model_id is None:
            return await self._create(new_id(), registration, task_id)
        async with self.turn(registration.model_id):  # not while a model of the same id is being deleted
            if await self._store.get(MODELS, registration.model_id) is not None:
                raise Conflict(f"model id '{registration.model_id}' already exists")
            await self.chunks.delete(registration.model_id)  # that a deletion left when it was cut off
            return await self._create(registration.model_id, registration, task_id)

    async def _create(self, model_id: str, registration: Registration, task_id: str | None) -> str:
        def member(group_id: str, version: int) -> Put:
            model = replace(registration.model(group_id, version), register_task_id=task_id)
            return Put(MODELS, model_id, model.to_json(), create=True)

        group_id, name, description = registration.model_group_id, registration.name, registration.description
        try:
            await self.membership.join(group_id, name, description, member)
        except VersionConflict as fault:
            raise Conflict(f"model id '{model_id}' already exists") from fault
        return model_id

    def turn(self, model_id: str) -> asyncio.Lock:
        """Return the lock that is held by who changes a model's content, or takes it away."""
        return self._locks.setdefault(model_id, asyncio.Lock())

    async def registered(self, model_id: str, known: Document | None = None) -> Written | None:
        """Note that a model's content is there and right; return None if it is not this call that did it.

        ``known`` is its document as it was read a moment ago, where it was.
        """
        at = now()

        def make(model: Model) -> Model | None:
            if not model.state.is_incomplete:
                return None
            return replace(
                model,
                model_state=ModelState.REGISTERED,
                register_task_id=None,
                state_reason=None,
                last_registered_time=at,
                last_updated_time=at,
            )

        changed = await self.change(model_id, make, known)
        return None if changed is None else changed[1]

    async def document(self, model_id: str) -> Document | None:
        """Return a model's meta document, or None where there is none of that id."""
        document = await self._store.get(MODELS, model_id)
        if document is None or "chunk_number" in document.source:
            return None
        return document

    async def model(self, model_id: str) -> Model:
        """Return a model.

        Raises:
            ResourceNotFound: there is none of that id.
        """
        return found(await self.document(model_id))

    async def recent(self, model_id: str) -> Model:
        """Return a model as it was at most a second ago, or as this process last changed it.

        While the store does not answer it is the model as it was last known: what is deployed goes on being served.

        Raises:
            ResourceNotFound: there is none of that id.
        """
        return await self._recent.get(model_id)

    async def called(self, model_id: str) -> Model:
        """Return a model for a call of it, as :meth:`recent` does.

        Raises:
            NotFound: there is none of that id.
        """
        try:
            return await self.recent(model_id)
        except ResourceNotFound as fault:
            raise NotFound("Failed to find model") from fault

    async def get(self, model_id: str) -> dict[str, Any]:
        """Return a model's document as the API shows it: the credential of its own connector is left out.

        Raises:
            NotFound: there is none of that id.
        """
        document = await self.document(model_id)
        if document is None:
            raise NotFound(f"Failed to find model with the provided model id: {model_id}")
        source = document.source
        if isinstance(own := source.get("connector"), Mapping):
            source["connector"] = {key: value for key, value in own.items() if key != "credential"}
        return source

    async def change(
        self, model_id: str, make: Callable[[Model], Model | None], known: Document | None = None
    ) -> tuple[Model, Written] | None:
        """Replace a model by what ``make`` makes of it, again until no other writer comes between.

        ``known`` is its document as it was read a moment ago, where it was. Returns what was stored, or None where
        there is no such model, or ``make`` declined by returning None.
        """

        def checked(model: Model) -> Model | None:
            return None if "chunk_number" in model.other else make(model)

        changed = None
        try:
            changed = await change(self._store, MODELS, model_id, Model, checked, known=known)
        finally:
            self._recent.changed(model_id, None if changed is None else changed[0])
        return changed

    async def delete(self, model_id: str) -> tuple[Model, Written]:
        """Delete a model and its chunks; return what it was.

        Raises:
            NotFound: there is no such model.
            BadRequest: it is deployed.
        """
        async with self.turn(model_id):
            return await self._delete(model_id)

    async def _delete(self, model_id: str) -> tuple[Model, Written]:
        tried: tuple[Model, Written] | None = None
        while (document := await self.document(model_id)) is not None:
            model = Model.from_json(document.source)
            if model.state.is_deployed:
                raise BadRequest(
                    "Model cannot be deleted in deploying or deployed state. Try undeploy model first then delete"
                )
            try:
                # The meta document goes first: chunks that a crash leaves behind are found and swept at the next start.
                written = await self._store.delete(
                    MODELS, model_id, if_seq_no=document.seq_no, if_primary_term=document.primary_term
                )
            except VersionConflict:
                # If it is gone at the next look it was this deletion, whose answer was lost, or another one.
                at = document.seq_no, document.primary_term
                tried = model, Written(MODELS, model_id, "deleted", document.version + 1, *at)
                continue
            finally:
                self._recent.changed(model_id)
            self._recent.gone(model_id)
            await self.chunks.delete(model_id)
            return model, written
        await self.chunks.delete(model_id)
        if tried is None:
            raise NotFound("Failed to find model")
        return tried

    async def search(self, body: Mapping[str, Any], *, dashboards: bool = False) -> dict[str, Any]:
        """Return the answer to a client's search; ``dashboards`` shows what only Dashboards keeps and reads."""
        hidden = [CONTENT, "content"] if dashboards else [CONTENT, "content", "ui_metadata"]
        shaped = api_body(body, hidden=hidden, concealed=["connector.credential"], searched=SEARCHED)
        return await self._store.search(MODELS, shaped)

    async def count(self) -> int:
        """Return how many models there are."""
        body = {"query": {"bool": {"must_not": [{"exists": {"field": "chunk_number"}}]}}, "size": 0}
        return int((await self._store.search(MODELS, body))["hits"]["total"]["value"])

    async def matching(self, query: Mapping[str, Any]) -> list[tuple[str, Model]]:
        """Return the models, without their chunks, that a query finds, with their ids."""
        body = {
            "query": {"bool": {"filter": [query], "must_not": [{"exists": {"field": "chunk_number"}}]}},
            "size": 10_000,
        }
        hits = (await self._store.search(MODELS, body))["hits"]["hits"]
        return [(hit["_id"], Model.from_json(hit["_source"])) for hit in hits]


def found(document: Document | None) -> Model:
    """Return the model that a document holds.

    Raises:
        ResourceNotFound: there is no document.
    """
    if document is None:
        raise ResourceNotFound("Failed to find model")
    return Model.from_json(document.source)

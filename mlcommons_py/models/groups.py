"""Model groups: the versions of one model, under one name."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py import fields
from mlcommons_py.errors import (
    Conflict,
    IllegalArgument,
    NotFound,
    VersionConflict,
)
from mlcommons_py.identifiers import MAX_DESCRIPTION, MAX_NAME, check_id, check_length, check_safe_text
from mlcommons_py.models.documents import GROUPS, MODELS, ModelGroup
from mlcommons_py.models.names import Names
from mlcommons_py.store import Store, Written, new_id
from mlcommons_py.store.client_search import api_body, exactly, found
from mlcommons_py.store.record import now

_TRIES = 5
ACCESS_FIELDS = ("access_mode", "backend_roles", "add_all_backend_roles")
_NO_ACCESS_CONTROL = (
    "You cannot specify model access control parameters because the Security plugin or model access control is"
    " disabled on your cluster."
)


def refuse_access_fields(body: Mapping[str, Any]) -> None:
    """Refuse access fields while there is nobody whose access they could govern.

    Raises:
        IllegalArgument: the body has one.
    """
    if any(body.get(field) is not None for field in ACCESS_FIELDS):
        raise IllegalArgument(_NO_ACCESS_CONTROL)


def _check_lengths(name: str | None, description: str | None) -> None:
    check_length("name", name, MAX_NAME)
    check_length("description", description, MAX_DESCRIPTION)


class Groups:
    """The model groups of a store.

    Attributes:
        names: their names.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.names = Names(store)

    async def register(self, body: Mapping[str, Any]) -> str:
        """Create a group and return its id.

        Raises:
            IllegalArgument: the name is missing or taken, or an access field is given.
            ValidationFailed: the name has characters that it may not have.
            Conflict: ``model_group_id`` is taken.
        """
        name = fields.text(body, "name")
        if name is None:
            raise IllegalArgument("model group name must not be null")
        description = fields.text(body, "description")
        _check_lengths(name, description)
        check_safe_text("Model group name", name)
        if description is not None:
            check_safe_text("Model group description", description)
        refuse_access_fields(body)
        chosen = body.get("model_group_id")
        group_id = None if chosen is None else check_id("model group id", chosen)
        async with self.names.turn:
            chosen_id, taken = await self._create(group_id, name, description)
        if taken:
            raise IllegalArgument(f"The name you provided is already being used by a model group with ID: {chosen_id}.")
        return chosen_id

    async def _create(self, group_id: str | None, name: str, description: str | None) -> tuple[str, bool]:
        """Create a group, or return the one that has the name, and whether that is so."""
        own_id = new_id() if group_id is None else group_id
        if group_id is not None and await self.exists(group_id):
            raise Conflict(f"model group id '{group_id}' already exists")
        at = now()
        group = ModelGroup(name=name, description=description, created_time=at, last_updated_time=at)
        while True:
            if (taken := await self.names.take(name, own_id)) is not None:
                return taken, True
            try:
                await self._store.put(GROUPS, own_id, group.to_json(), create=True)
            except VersionConflict as fault:
                await self.names.release(name, own_id)
                raise Conflict(f"model group id '{group_id}' already exists") from fault
            if await self.names.holds(name, own_id):
                return own_id, False
            await self._store.delete(GROUPS, own_id)  # another service took the name over, as if this one had died

    async def get(self, group_id: str) -> dict[str, Any]:
        """Return a group's document.

        Raises:
            NotFound: there is none of that id.
        """
        document = await self._store.get(GROUPS, group_id)
        if document is None:
            raise NotFound(f"Failed to find model group with the provided model group id: {group_id}")
        return document.source

    async def exists(self, group_id: str) -> bool:
        """Return whether there is a group of that id."""
        return await self._store.get(GROUPS, group_id) is not None

    async def update(self, group_id: str, body: Mapping[str, Any]) -> None:
        """Change a group's name or description; what is missing, null or blank stays.

        Raises:
            NotFound: there is no such group.
            IllegalArgument: the name is taken, or an access field is given.
        """
        name, description = fields.text(body, "name"), fields.text(body, "description")
        _check_lengths(name, description)
        document = await self._store.get(GROUPS, group_id)
        if document is None:
            raise NotFound(f"Failed to find model group with the provided model group id: {group_id}")
        refuse_access_fields(body)
        changes: dict[str, Any] = {}
        if description is not None and description.strip():
            changes["description"] = check_safe_text("Model group description", description)
        async with self.names.turn:
            if name is not None and name.strip() and name != document.source["name"]:
                check_safe_text("Model group name", name)
                if (taken := await self.names.take(name, group_id)) is not None:
                    raise IllegalArgument(
                        f"The name you provided is already being used by another model with ID: {taken}."
                        " Please provide a different name"
                    )
                changes["name"] = name
            if await self._store.update(GROUPS, group_id, {**changes, "last_updated_time": now()}) is None:
                raise NotFound(f"Failed to find model group with the provided model group id: {group_id}")
            if "name" in changes:
                await self.names.release(document.source["name"], group_id)

    async def delete(self, group_id: str) -> Written:
        """Delete a group without models; an unknown one is ``not_found``.

        Raises:
            Conflict: it has models.
        """
        document = await self._store.get(GROUPS, group_id)
        models = {"filter": [exactly("model_group_id", group_id)], "must_not": [{"exists": {"field": "chunk_number"}}]}
        if found(await self._store.search(MODELS, {"query": {"bool": models}, "size": 1})):
            raise Conflict("Cannot delete the model group when it has associated model versions")
        if document is None:
            return await self._store.delete(GROUPS, group_id)
        try:
            written = await self._store.delete(
                GROUPS, group_id, if_seq_no=document.seq_no, if_primary_term=document.primary_term
            )
        except VersionConflict as fault:  # a model has taken a version since
            raise Conflict("Cannot delete the model group when it has associated model versions") from fault
        await self.names.release(document.source["name"], group_id)
        return written

    async def search(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a client's search."""
        return await self._store.search(GROUPS, api_body(body))

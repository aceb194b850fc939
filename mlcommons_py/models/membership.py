"""Membership: a new model takes the next version of its group, or founds the group of its own name.

A group that a model founds is stored with the model, in one request to the store, so that a kill leaves both or none:
nobody would miss a group without models. Which model founded a group is kept with its name; where the registration
comes to nothing, the group goes too.
"""

from collections.abc import Callable
from dataclasses import replace

from mlcommons_py.errors import MLCommonsError, NotFound, VersionConflict
from mlcommons_py.models.documents import GROUPS, Model, ModelGroup
from mlcommons_py.models.names import Names
from mlcommons_py.store import Document, Put, Store, Written, new_id
from mlcommons_py.store.record import change, now

_TRIES = 5

Member = Callable[[str, int], Put]
"""Returns the write that creates a model, given the id of its group and its version there."""


class Membership:
    """Lets models join groups."""

    def __init__(self, store: Store, names: Names) -> None:
        self._store = store
        self._names = names

    async def join(self, group_id: str | None, name: str, description: str | None, member: Member) -> None:
        """Store a model as the newest version of a group; without one, of the group of its own name.

        Raises:
            NotFound: the group does not exist.
            VersionConflict: the model's id is taken.
        """
        for _ in range(_TRIES):
            chosen = group_id or await self._named_or_founded(name, description, member)
            if chosen is None:
                return
            version = await self.next_version(chosen)
            if version is not None:
                await self._join(chosen, version, member(chosen, version))
                return
            if group_id:
                break  # else it was deleted a moment ago, and another is founded
        raise NotFound("Model group not found")

    async def _join(self, group_id: str, version: int, model: Put) -> None:
        try:
            await self._store.put(model.index, model.id, model.source, create=True)
        except BaseException:
            await self._give_back(group_id, version)
            raise
        if await self._store.get(GROUPS, group_id) is None:  # deleted between the version and the model
            await self._store.delete(model.index, model.id)
            raise NotFound("Model group not found")

    async def _named_or_founded(self, name: str, description: str | None, member: Member) -> str | None:
        """Return the id of the group of a name; None where there was none, and it is founded with its first model."""
        async with self._names.turn:
            if (existing := await self._names.group(name)) is not None:
                return existing.id
            group_id, at = new_id(), now()
            model = member(group_id, 1)
            group = ModelGroup(
                name=name, description=description, latest_version=1, created_time=at, last_updated_time=at
            )
            while True:
                if (taken := await self._names.take(name, group_id, founder=model.id)) is not None:
                    return taken
                stored = await self._found(Put(GROUPS, group_id, group.to_json(), create=True), name, model)
                if await self._names.holds(name, group_id):
                    return None
                # Another service took the name over, as if this one had died.
                await self._take_back(stored)

    async def _found(self, group: Put, name: str, model: Put) -> list[Written]:
        outcomes = await self._store.bulk([group, model])
        stored = [one for one in outcomes if isinstance(one, Written)]
        faults = [one for one in outcomes if isinstance(one, MLCommonsError)]
        if faults:
            if await self._take_back(stored):
                await self._names.release(name, group.id)
            raise faults[0]
        return stored

    async def _take_back(self, stored: list[Written]) -> bool:
        """Delete what was stored a moment ago; return whether all of it is gone: a group that others joined stays."""
        is_gone = True
        for one in stored:
            try:
                await self._store.delete(one.index, one.id, if_seq_no=one.seq_no, if_primary_term=one.primary_term)
            except VersionConflict:
                is_gone = False
        return is_gone

    async def next_version(self, group_id: str) -> int | None:
        """Count a group's version up by one and return it; None where there is no such group.

        Registrations that race for a version all get one, each its own.
        """

        def make(group: ModelGroup) -> ModelGroup:
            return replace(group, latest_version=int(group.latest_version) + 1, last_updated_time=now())

        changed = await change(self._store, GROUPS, group_id, ModelGroup, make)
        return None if changed is None else changed[0].latest_version

    async def leave(self, model_id: str, model: Model) -> None:
        """Undo that a model joined, before it is deleted: its version can be had again, and a group it founded goes.

        A kill in between leaves the model, which is undone again then.
        """
        if model.model_group_id is None or model.model_version is None:
            return
        group_id, version = model.model_group_id, int(model.model_version)
        document = await self._latest(group_id, version)
        if document is None:
            return
        name = str(document.source["name"])
        if version > 1 or await self._names.founder(name, group_id) != model_id:
            await self._give_back(group_id, version)
            return
        try:
            await self._store.delete(GROUPS, group_id, if_seq_no=document.seq_no, if_primary_term=document.primary_term)
        except VersionConflict:
            return  # another model joined it
        await self._names.release(name, group_id)

    async def _give_back(self, group_id: str, version: int) -> None:
        """Undo a version that no model took."""
        document = await self._latest(group_id, version)
        if document is None:
            return
        before = replace(ModelGroup.from_json(document.source), latest_version=version - 1).to_json()
        term = document.primary_term
        try:
            await self._store.put(GROUPS, group_id, before, if_seq_no=document.seq_no, if_primary_term=term)
        except VersionConflict:
            return  # somebody took the next version meanwhile: a gap in the numbers harms nobody

    async def _latest(self, group_id: str, version: int) -> Document | None:
        """Return a group whose latest version is this one; None where it is another, or the group is gone."""
        document = await self._store.get(GROUPS, group_id)
        if document is None or int(ModelGroup.from_json(document.source).latest_version) != version:
            return None
        return document

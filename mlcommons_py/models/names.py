"""Names of model groups, each taken once, also when several services take it at the same time.

A name is taken by creating the document whose id is the name's hash: a store lets only one create it. A service that
dies between that and the creation of its group leaves a name behind that nobody uses; whoever wants it takes it over.
"""

import asyncio
import hashlib

from mlcommons_py.errors import VersionConflict
from mlcommons_py.models.documents import GROUPS
from mlcommons_py.store import Document, Store
from mlcommons_py.store.client_search import exactly, found

NAMES = ".plugins-ml-name"

_LOOKS = 10
_PAUSE = 0.1


class Names:
    """The names of the groups of a store.

    Attributes:
        turn: held by who looks a name up and then takes it: two of this process must not pass each other in between.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.turn = asyncio.Lock()

    async def group(self, name: str) -> Document | None:
        """Return the group of that very name, or None."""
        for hit in found(await self._store.search(GROUPS, {"query": exactly("name.keyword", name), "size": 1})):
            return await self._store.get(GROUPS, hit["_id"])
        return None

    async def take(self, name: str, group_id: str, founder: str | None = None) -> str | None:
        """Take a name for a group; return None, or the id of the group that has it.

        The caller stores its group and asks :meth:`holds` then: who was slow may have lost the name meanwhile.
        ``founder`` is the model that the group is made for, if it is.
        """
        taken = await self._take(name, group_id, founder)
        if taken is None and (existing := await self.group(name)) is not None and existing.id != group_id:
            taken = existing.id  # ML Commons made it, or an older version of this service
            await self.release(name, group_id)
        return taken

    async def _take(self, name: str, group_id: str, founder: str | None) -> str | None:
        source = {"group_id": group_id} if founder is None else {"group_id": group_id, "founder": founder}
        while True:
            try:
                await self._store.put(NAMES, _key(name), source, create=True)
            except VersionConflict:
                document = await self._store.get(NAMES, _key(name))
            else:
                return None
            if document is None:
                continue
            owner = str(document.source["group_id"])
            if owner != group_id and await self._uses(owner, name):
                return owner
            try:
                await self._store.put(
                    NAMES, _key(name), source, if_seq_no=document.seq_no, if_primary_term=document.primary_term
                )
            except VersionConflict:
                continue
            return None

    async def _uses(self, group_id: str, name: str) -> bool:
        """Return whether a group has a name; one that was taken a moment ago is given time to be stored."""
        for _ in range(_LOOKS):
            group = await self._store.get(GROUPS, group_id)
            if group is not None and group.source["name"] == name:
                return True
            await asyncio.sleep(_PAUSE)
        return False

    async def holds(self, name: str, group_id: str) -> bool:
        """Return whether a name is a group's."""
        document = await self._store.get(NAMES, _key(name))
        return document is not None and document.source["group_id"] == group_id

    async def founder(self, name: str, group_id: str) -> str | None:
        """Return the model that a group was made for; None where a client made it."""
        document = await self._store.get(NAMES, _key(name))
        if document is None or document.source["group_id"] != group_id:
            return None
        founder: str | None = document.source.get("founder")
        return founder

    async def release(self, name: str, group_id: str) -> None:
        """Give a name back, if the group has it."""
        document = await self._store.get(NAMES, _key(name))
        if document is None or document.source["group_id"] != group_id:
            return
        try:
            await self._store.delete(
                NAMES, _key(name), if_seq_no=document.seq_no, if_primary_term=document.primary_term
            )
        except VersionConflict:
            return  # somebody took it over


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()

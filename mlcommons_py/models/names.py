"""Names of model groups, each taken once, also when several services take it at the same time.

A name is taken by creating the document whose id is the name's hash: a store lets only one create it. A service that
dies between that and the creation of its group leaves a name behind that nobody uses; whoever wants it takes it over.
"""

import asyncio
import hashlib

from mlcommons_py.errors import VersionConflict
from mlcommons_py.models.documents import GROUPS
from mlcommons_py.store import Store

NAMES = ".plugins-ml-name"

_LOOKS = 10
_PAUSE = 0.1


class Names:
    """The names of the groups of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def take(self, name: str, group_id: str) -> str | None:
        """Take a name for a group; return None, or the id of the group that has it.

        The caller stores its group and asks :meth:`holds` then: who was slow may have lost the name meanwhile.
        """
        while True:
            try:
                await self._store.put(NAMES, _key(name), {"group_id": group_id}, create=True)
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
                    NAMES,
                    _key(name),
                    {"group_id": group_id},
                    if_seq_no=document.seq_no,
                    if_primary_term=document.primary_term,
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

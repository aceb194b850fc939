"""Encrypting every credential anew, with a new key or for the sake of one, while they are in use.

The order makes it safe to be killed anywhere and run again: the old key is put aside before the new one takes its
place, all readers know both, and the old one goes when nothing needs it any more.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlcommons_py.errors import CredentialUnreadable, VersionConflict
from mlcommons_py.remote.keys import CONFIG, MASTER_KEY, PREVIOUS, Holder, Key
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.store import Document, Store
from mlcommons_py.store.record import now

_PAGE = 10_000


Target = Callable[[], Awaitable[Key]]
"""Returns the key that everything shall be encrypted with; another run may change it meanwhile."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did.

    Attributes:
        key: id of the key that everything is encrypted with now.
        changed: how many documents got new ciphertexts.
        unreadable: what could not be decrypted, by owner, each with the reason; the old key is kept then.
    """

    key: str
    changed: int
    unreadable: Mapping[str, str]


async def renew(store: Store, secrets: Secrets, holder: Holder, doc_id: str, target: Target) -> bool:
    """Encrypt the credential of one document anew, until it is bound to the key wanted; return whether there was need.

    Raises:
        CredentialUnreadable: it cannot be decrypted.
    """
    owner, changed = holder.owner(doc_id), False
    while (document := await store.get(holder.index, doc_id)) is not None:
        credential, key = _at(document, holder), await target()
        if not credential or secrets.is_bound(credential, owner, key):
            break
        sealed = await secrets.encrypt(await secrets.decrypt(credential, owner), owner, key=key)
        try:
            await store.put(
                holder.index,
                doc_id,
                _with(document.source, holder.path, sealed),
                if_seq_no=document.seq_no,
                if_primary_term=document.primary_term,
            )
        except VersionConflict:
            continue
        changed = True
    return changed


async def settle(store: Store, secrets: Secrets, kind: str, doc_id: str) -> None:
    """Encrypt a credential again that was stored while the key was rotated, and so passed by.

    ``kind`` is that of its holder, such as ``connector``.
    """
    (holder,) = (one for one in secrets.keys.holders if one.kind == kind)
    await renew(store, secrets, holder, doc_id, secrets.keys.current)


class Rotation:
    """Rotates the key of a store's credentials."""

    def __init__(self, store: Store, secrets: Secrets) -> None:
        self._store = store
        self._secrets = secrets
        self._keys = secrets.keys

    async def run(self, *, to_cluster: bool = False) -> Rotated:
        """Encrypt every credential anew, and return what was done.

        Where the operator gives keys, the first of them is the one to encrypt with. Else the cluster gets a new key, or
        the one that an earlier run that was cut off has made. With ``to_cluster`` the cluster's key takes the place of
        the operator's.

        Raises:
            CredentialUnreadable: the cluster's key is lost.
        """
        if not to_cluster and not self._keys.given:
            await self._renew()
        aside = await self._store.get(CONFIG, PREVIOUS)
        await self._keys.all(anew=True)
        target = partial(self._keys.of_cluster, make=True) if to_cluster else self._keys.current
        changed = 0
        while True:
            done, unreadable = await self._pass(target)
            changed += done
            if not done:
                break
        if not unreadable and aside is not None:
            with suppress(VersionConflict):  # another run has done so, and perhaps put another key aside
                term = aside.primary_term
                await self._store.delete(CONFIG, PREVIOUS, if_seq_no=aside.seq_no, if_primary_term=term)
        return Rotated((await target()).id, changed, unreadable)

    async def _renew(self) -> None:
        """Put a new key in the place of the cluster's, the old one aside; go on where an earlier run was cut off."""
        while True:
            await self._keys.of_cluster()
            document = await self._store.get(CONFIG, MASTER_KEY)
            if document is None:
                continue
            # Both are of one reading: what is put aside is what will be replaced, or the replacement fails.
            old, aside = self._keys.read(document), await self._keys.previous()
            if aside is not None and aside != old:
                return  # the cluster's is the new one already
            try:
                if aside is None:
                    put_aside = {"master_key": old.text, "create_time": now()}
                    await self._store.put(CONFIG, PREVIOUS, put_aside, create=True)
                await self._store.put(
                    CONFIG,
                    MASTER_KEY,
                    {**document.source, "master_key": Key.random().text, "create_time": now()},
                    if_seq_no=document.seq_no,
                    if_primary_term=document.primary_term,
                )
            except VersionConflict:  # another run
                continue
            return

    async def _pass(self, target: Target) -> tuple[int, dict[str, str]]:
        """Look at every credential once; return how many were encrypted anew, and what could not be."""
        changed, unreadable = 0, {}
        for holder in self._keys.holders:
            async for doc_id in self._ids(holder):
                try:
                    changed += await renew(self._store, self._secrets, holder, doc_id, target)
                except CredentialUnreadable as fault:
                    unreadable[holder.owner(doc_id)] = fault.reason
        return changed, unreadable

    async def _ids(self, holder: Holder) -> AsyncIterator[str]:
        """Yield the ids of the documents that have a credential."""
        seen: set[str] = set()
        filters: list[dict[str, Any]] = [{"exists": {"field": ".".join(holder.path)}}]
        while True:
            body = {
                "query": {"bool": {"filter": filters}},
                "size": _PAGE,
                "sort": [{"created_time": {"order": "asc", "unmapped_type": "date"}}],
                "_source": ["created_time"],
            }
            hits = (await self._store.search(holder.index, body))["hits"]["hits"]
            fresh = [hit for hit in hits if hit["_id"] not in seen]
            for hit in fresh:
                seen.add(hit["_id"])
                yield hit["_id"]
            if len(hits) < _PAGE or not fresh:
                return
            filters = [filters[0], {"range": {"created_time": {"gte": hits[-1]["_source"]["created_time"]}}}]


def _at(document: Document, holder: Holder) -> Mapping[str, str]:
    value: Any = document.source
    for step in holder.path:
        value = value.get(step) or {}
    found: Mapping[str, str] = value
    return found


def _with(source: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {**source, first: _with(source[first], tuple(rest), value) if rest else value}

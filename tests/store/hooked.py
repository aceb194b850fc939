"""A store that stops at a chosen operation, so that a test can do something at that very moment."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mlcommons_py.errors import MLCommonsError, Unavailable
from mlcommons_py.store import Document, Operation, Put, Source, Store, Written


@dataclass(frozen=True)
class Call:
    """One operation of a store: ``put``, ``get``, ``search`` and so on."""

    name: str
    index: str
    doc_id: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict)


Choice = Callable[[Call], bool]


@dataclass
class Stop:
    """A stop that an operation may have reached."""

    choice: Choice
    after: bool
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)


class HookedStore:
    """Another store, with stops."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stops: list[Stop] = []
        self._is_cut = False
        self.listed: frozenset[str] = frozenset()
        """Nodes that have ML Commons' plugin, as a cluster would list them."""

    def cut(self) -> None:
        """Let nothing through any more, as if the process had been killed."""
        self._is_cut = True

    def mend(self) -> None:
        """Let everything through again."""
        self._is_cut = False

    @asynccontextmanager
    async def stopped(self, choice: Choice, *, after: bool = False) -> AsyncIterator[Stop]:
        """Hold the first operation that ``choice`` picks, before it or ``after`` it, to the end of the block."""
        stop = Stop(choice, after)
        self._stops.append(stop)
        try:
            yield stop
        finally:
            stop.go.set()

    async def _pass(self, call: Call, *, after: bool) -> None:
        for stop in self._stops:
            if stop.after is after and not stop.reached.is_set() and stop.choice(call):
                stop.reached.set()
                await stop.go.wait()
        if self._is_cut:
            raise Unavailable("cut off")

    async def exists(self, index: str) -> bool:
        """As the other store does."""
        await self._pass(Call("exists", index), after=False)
        return await self._store.exists(index)

    async def get(self, index: str, doc_id: str) -> Document | None:
        """As the other store does."""
        await self._pass(Call("get", index, doc_id), after=False)
        document = await self._store.get(index, doc_id)
        await self._pass(Call("get", index, doc_id), after=True)
        return document

    async def put(self, index: str, doc_id: str | None, source: Source, **options: Any) -> Written:
        """As the other store does."""
        call = Call("put", index, doc_id, source)
        await self._pass(call, after=False)
        written = await self._store.put(index, doc_id, source, **options)
        await self._pass(call, after=True)
        return written

    async def update(self, index: str, doc_id: str, changes: Source, **options: Any) -> Written | None:
        """As the other store does."""
        await self._pass(Call("update", index), after=False)
        return await self._store.update(index, doc_id, changes, **options)

    async def delete(self, index: str, doc_id: str, **options: Any) -> Written:
        """As the other store does."""
        await self._pass(Call("delete", index, doc_id), after=False)
        written = await self._store.delete(index, doc_id, **options)
        await self._pass(Call("delete", index, doc_id), after=True)
        return written

    async def content(self, index: str, doc_id: str) -> bytes | None:
        """As the other store does."""
        await self._pass(Call("content", index), after=False)
        return await self._store.content(index, doc_id)

    async def search(self, index: str, body: Mapping[str, Any], *, latest: bool = True) -> dict[str, Any]:
        """As the other store does."""
        call = Call("search", index, None, body)
        await self._pass(call, after=False)
        answer = await self._store.search(index, body, latest=latest)
        await self._pass(call, after=True)
        return answer

    async def bulk(self, operations: Sequence[Operation]) -> list[Written | MLCommonsError]:
        """As the other store does; each document that is stored counts as a ``put``, too."""
        await self._pass(Call("bulk", ""), after=False)
        for one in operations:
            if isinstance(one, Put):
                await self._pass(Call("put", one.index, one.id, one.source), after=False)
        return await self._store.bulk(operations)

    async def delete_by_query(self, index: str, query: Mapping[str, Any]) -> int:
        """As the other store does."""
        await self._pass(Call("delete_by_query", index), after=False)
        return await self._store.delete_by_query(index, query)

    async def settle(self) -> None:
        """As the other store does; one that is cut off does nothing, as where a cluster cannot be reached."""
        if not self._is_cut:
            await self._store.settle()

    async def nodes_with(self, plugin: str) -> frozenset[str]:
        """As the other store does."""
        await self._pass(Call("nodes_with", plugin), after=False)
        return self.listed | await self._store.nodes_with(plugin)

    async def close(self) -> None:
        """As the other store does."""
        await self._store.close()

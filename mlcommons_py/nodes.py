"""The nodes of the service: processes that share one store, each with what it runs.

A node writes its document again and again; one whose document stays as it is over several looks is gone, and one whose
document says that it left is gone at once. Clocks are never compared, and looks that fail do not count, so that neither
a wrong clock nor an outage of the store makes a node seem gone.

Nodes of the cluster that run ML Commons' own plugin are foreign: they live as long as the cluster lists them, and what
they run is theirs.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mlcommons_py.errors import MLCommonsError, Unavailable
from mlcommons_py.node import Node
from mlcommons_py.store import Store
from mlcommons_py.store.record import Record

NODES = ".plugins-ml-node"
PLUGIN = "opensearch-ml"
"""What the cluster calls ML Commons' own plugin."""

PATIENCE = 5
"""Looks without a sign of life after which a node is gone."""

_PAUSE = 0.2
_FRESH = 0.5
APART = 0.2
"""Seconds between looks that calls of models give rise to."""

_RECOGNISED = 15
"""Looks after which the cluster is asked again which of its nodes have the plugin."""

_FORGOTTEN = 100
"""Looks after which the document of a node that is gone is deleted."""


@dataclass(frozen=True, kw_only=True)
class NodeDocument(Record):
    """A node's document.

    Attributes:
        address: URL at which the other nodes reach it; None where it told none.
        running: ids of the models that are there.
        idle: those of them that nobody called there for as long as they may stay.
        left: whether the node was stopped; it writes again when it is started.
    """

    name: str
    address: str | None = None
    running: Sequence[str] = ()
    idle: Sequence[str] = ()
    left: bool | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A node's document as it was last read.

    Attributes:
        looks: which look found it new.
        lives: whether it was written since this node looks.
    """

    document: NodeDocument
    seq_no: int
    looks: int
    lives: bool


class Nodes:
    """This node among the others."""

    def __init__(
        self,
        store: Store,
        node: Node,
        running: Callable[[], Collection[str]],
        idle: Callable[[], Collection[str]] = tuple,
        *,
        alone: bool,
        address: str | None = None,
    ) -> None:
        """Keep the table of nodes; ``alone`` says that nobody else uses the store, so that nothing is written."""
        self._store = store
        self._node = node
        self._running = running
        self._idle = idle
        self._alone = alone
        self.address = address
        self._peers: dict[str, _Seen] = {}
        self._unknown: dict[str, int] = {}
        self._foreign: frozenset[str] = frozenset()
        self._recognised = -_RECOGNISED
        self._looks = 0
        self._looked_at = 0.0
        self._looking = asyncio.Lock()
        self._tried = -math.inf

    @property
    def alone(self) -> bool:
        """Whether nobody else uses the store."""
        return self._alone

    @property
    def foreign(self) -> frozenset[str]:
        """The nodes of the cluster that run ML Commons' own plugin, as it last told."""
        return self._foreign

    async def beat(self) -> None:
        """Tell the others that this node lives, and what it runs."""
        if self._alone:
            return
        document = NodeDocument(
            name=self._node.name, address=self.address, running=sorted(self._running()), idle=sorted(self._idle())
        )
        await self._store.put(NODES, self._node.id, document.to_json(), at_once=False)  # it is only searched for

    async def look(self, *, ages: bool = True) -> None:
        """Read what the others tell; with ``ages`` those that tell nothing new grow older by one look."""
        if self._alone:
            return
        answer = await self._store.search(NODES, {"size": 1000, "seq_no_primary_term": True})
        self._looks += int(ages)
        is_first, self._looked_at = not self._looked_at, time.monotonic()
        peers: dict[str, _Seen] = {}
        for hit in answer["hits"]["hits"]:
            node_id, seq_no = str(hit["_id"]), int(hit["_seq_no"])
            if node_id == self._node.id:
                continue
            before = self._peers.get(node_id)
            if before is not None and before.seq_no == seq_no:
                peers[node_id] = before
            else:
                peers[node_id] = _Seen(NodeDocument.from_json(hit["_source"]), seq_no, self._looks, not is_first)
        for node_id in self._peers.keys() - peers.keys():  # who is gone stays so when its document goes
            self._unknown[node_id] = self._looks - PATIENCE * int(self.is_gone(node_id))
        self._peers = peers
        self._unknown = {node_id: looks for node_id, looks in self._unknown.items() if node_id not in peers}

    async def recognise(self, *, now: bool = True) -> None:
        """Ask the cluster which of its nodes have ML Commons' plugin; not ``now``, only if that is a while ago.

        To be called before anything is made of a node's being gone: it may be one of those.

        Raises:
            Unavailable: the cluster cannot be asked.
        """
        if self._alone or self._recognised == self._looks or not (now or self._looks - self._recognised > _RECOGNISED):
            return
        self._foreign = await self._store.nodes_with(PLUGIN)
        self._recognised = self._looks

    async def until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Look at the others until something holds, for so many seconds at most."""
        until = time.monotonic() + seconds
        while not holds() and time.monotonic() < until:
            await asyncio.sleep(_PAUSE)
            await self.look(ages=False)

    async def leave(self) -> None:
        """Tell the others that this node ends, and runs nothing any more."""
        if not self._alone:
            left = NodeDocument(name=self._node.name, left=True)
            await self._store.put(NODES, self._node.id, left.to_json(), at_once=False)

    async def forget(self) -> None:
        """Delete the documents of nodes that are gone for long."""
        for node_id, seen in list(self._peers.items()):
            if self.is_gone(node_id) and self._looks - seen.looks >= _FORGOTTEN:
                with suppress(MLCommonsError):  # the next call does it
                    await self._store.delete(NODES, node_id)

    def alive(self) -> list[str]:
        """Return the ids of the nodes that live, this one among them, in an order that all agree on."""
        return sorted([self._node.id, *(node_id for node_id in self._peers if not self.is_gone(node_id))])

    def leads(self) -> bool:
        """Return whether this node does what one of them has to do; for a moment two may think so, or none."""
        return self.alive()[0] == self._node.id

    def is_gone(self, node_id: str) -> bool:
        """Return whether a node left, or gave no sign of life for :data:`PATIENCE` looks."""
        if node_id == self._node.id or node_id in self._foreign:
            return False
        seen = self._peers.get(node_id)
        if seen is not None and seen.document.left:
            return True
        since = seen.looks if seen is not None else self._unknown.setdefault(node_id, self._looks)
        return self._looks - since >= PATIENCE

    def unsure(self) -> list[str]:
        """Return the nodes that count as living though none of them did anything since this node looks.

        There are some in the first moments of this node only: their next sign of life, or its lack, says what they are.
        """
        return sorted(node_id for node_id, seen in self._peers.items() if not (seen.lives or self.is_gone(node_id)))

    def running(self, model_id: str) -> list[str]:
        """Return the nodes that live and run a model, as far as this node knows."""
        here = [self._node.id] if model_id in self._running() else []
        return sorted([*here, *(one for one, _ in self._elsewhere(model_id))])

    def idle(self) -> list[str]:
        """Return the models that are idle on every node that has them."""
        tables = [(set(self._running()), set(self._idle()))]
        for node_id, seen in self._peers.items():
            if not self.is_gone(node_id):
                tables.append((set(seen.document.running), set(seen.document.idle)))
        idle = set().union(*(idle for _, idle in tables))
        busy = set().union(*(running - idle for running, idle in tables))
        return sorted(idle - busy)

    async def addresses(self, model_id: str) -> list[str]:
        """Return where other nodes that run a model can be reached, after another look if none is known."""
        if not self._elsewhere(model_id):
            await self._look_again()
        return [address for _, address in self._elsewhere(model_id) if address is not None]

    async def chosen(self, names: Collection[str]) -> dict[str, str | None]:
        """Return where the nodes that live can be reached, by id: those that ids or names pick, or all.

        As in OpenSearch's APIs, ``_local`` is this node, ``_all`` is every one, and a name may have ``*`` in it.
        """
        await self._freshen()
        living = {self._node.id: (self._node.name, self.address)}
        for node_id, seen in sorted(self._peers.items()):
            if not self.is_gone(node_id):
                living[node_id] = seen.document.name, seen.document.address

        def is_chosen(node_id: str, name: str) -> bool:
            local = node_id == self._node.id and "_local" in names
            return local or "_all" in names or node_id in names or any(fnmatchcase(name, one) for one in names)

        return {one: address for one, (name, address) in living.items() if not names or is_chosen(one, name)}

    async def _freshen(self) -> None:
        """Take another look where the last is a while ago and the store answers."""
        if not self._alone and time.monotonic() - self._looked_at > _FRESH:
            with suppress(TimeoutError, Unavailable):
                async with asyncio.timeout(_FRESH):
                    await self.look(ages=False)

    async def _look_again(self) -> None:
        """Take a look that begins after this call, if the store answers; all who ask within a moment share one.

        Who was just told that a model is deployed may ask for it here before this node looked again by itself.
        """
        asked = time.monotonic()
        async with self._looking:
            if self._alone or self._tried > asked:
                return
            await asyncio.sleep(max(0.0, self._tried + APART - asked))
            began = time.monotonic()
            with suppress(TimeoutError, Unavailable):
                async with asyncio.timeout(_FRESH):
                    await self.look(ages=False)
            self._tried = began  # a look that was cancelled, as its client went away, is nobody's

    def _elsewhere(self, model_id: str) -> list[tuple[str, str | None]]:
        return [
            (node_id, seen.document.address)
            for node_id, seen in self._peers.items()
            if model_id in seen.document.running and not self.is_gone(node_id)
        ]

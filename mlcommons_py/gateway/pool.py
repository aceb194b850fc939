"""The connections to the cluster's nodes, kept for the next request."""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from mlcommons_py.errors import Rejected, Unavailable
from mlcommons_py.settings import Operator
from mlcommons_py.store.link import link_of
from mlcommons_py.upstream import Upstream

CONNECTIONS = 512
"""Requests that may be under way at the cluster."""

IDLE = 64
"""Connections that one node keeps for later requests."""

CONNECT_SECONDS = 0.8
"""How long all nodes together may take to accept a connection."""

_QUEUE_SECONDS = 1.0
_AVOID_SECONDS = 2.0


@dataclass(slots=True)
class Node:
    """One address of the cluster, or the path of a Unix socket.

    Attributes:
        authority: what ``Host`` says.
        idle: connections that wait for a request, the last used at the end.
        avoided: until when, by the monotonic clock, the others go first.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    authority: bytes
    idle: list[Upstream] = field(default_factory=list)
    avoided: float = 0.0
    path: str | None = None


def node(url: str, tls: ssl.SSLContext | None) -> Node:
    """Return the node behind an address such as ``https://host:9200``, or ``unix:/path``."""
    if url.startswith("unix:"):
        return Node("", 0, None, b"localhost", path=url.removeprefix("unix:"))
    parts = urlsplit(url)
    assert parts.hostname is not None
    usual = 443 if parts.scheme == "https" else 80
    port = parts.port or usual
    authority = parts.netloc.removesuffix(f":{usual}").encode()
    return Node(parts.hostname, port, tls if parts.scheme == "https" else None, authority)


def pool_of(operator: Operator) -> "Pool":
    """Return the pool for the cluster that an operator chose.

    It knows the authorities that the cluster's certificate may be from, and none of the service's credentials: a
    client certificate would make every client the service's own user.

    Raises:
        IllegalArgument: the file of the authorities cannot be used.
    """
    nobody = replace(
        operator,
        store_user="",
        store_password="",
        store_password_file=None,
        store_token="",
        store_token_file=None,
        store_client_cert=None,
        store_client_key=None,
    )
    link = link_of(nobody)
    return Pool(link.urls, link.tls)


class Pool:
    """Connections to every node; the nodes take turns, and one that is down is left out while another is up."""

    def __init__(self, urls: Sequence[str], tls: ssl.SSLContext | None, most: int = CONNECTIONS) -> None:
        self._urls = tuple(urls)
        self._nodes = [node(url, tls) for url in urls]
        self._turn = 0
        self._most = most
        self._places = most
        self._queue: deque[asyncio.Future[None]] = deque()

    def entered(self) -> bool:
        """Take one of the places for requests under way, if there is one; who took one leaves it."""
        if not self._places:
            return False
        self._places -= 1
        return True

    async def enter(self) -> None:
        """Wait for a place, and take it.

        Raises:
            Rejected: there has been none for a second.
        """
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(_QUEUE_SECONDS):
                await place
        except BaseException as fault:
            if place.done() and not place.cancelled():
                self.leave()  # it came at the same moment
            if isinstance(fault, TimeoutError):
                raise Rejected(f"{self._most} requests are under way at the cluster; try again later") from fault
            raise

    def leave(self) -> None:
        """Give the place back, to who has waited longest for one."""
        while self._queue:
            if not (place := self._queue.popleft()).done():
                place.set_result(None)
                return
        self._places += 1

    def kept(self) -> Upstream | None:
        """Return a connection that was used before, the last used first, or None where there is none."""
        self._turn = (self._turn + 1) % len(self._nodes)
        for one in self._order():
            while one.idle:
                if (kept := one.idle.pop()).idle:
                    return kept
            if one.avoided <= time.monotonic():
                return None
        return None

    async def connect(self) -> Upstream:
        """Return a new connection.

        Raises:
            Unavailable: no node accepts one.
        """
        nodes = self._order()
        deadline = time.monotonic() + CONNECT_SECONDS
        faults = []
        for left, one in zip(range(len(nodes), 0, -1), nodes, strict=True):
            try:
                async with asyncio.timeout((deadline - time.monotonic()) / left):
                    return await self._connect(one)
            except (OSError, TimeoutError) as fault:
                one.avoided = time.monotonic() + _AVOID_SECONDS
                faults.append(str(fault) or "no answer in time")
        raise Unavailable(f"the cluster at {', '.join(self._urls)} cannot be reached: {'; '.join(faults)}")

    def _order(self) -> list[Node]:
        """Return the nodes, the one whose turn it is first, those that were down last."""
        if len(self._nodes) == 1:
            return self._nodes
        turned = self._nodes[self._turn :] + self._nodes[: self._turn]
        now = time.monotonic()
        return sorted(turned, key=lambda one: one.avoided > now)

    @staticmethod
    async def _connect(one: Node) -> Upstream:
        loop = asyncio.get_running_loop()

        def upstream() -> Upstream:
            return Upstream(one.authority, one.idle)

        if one.path is not None:
            return (await loop.create_unix_connection(upstream, one.path))[1]
        _, made = await loop.create_connection(
            upstream,
            one.host,
            one.port,
            ssl=one.tls,
            server_hostname=one.host if one.tls is not None else None,
        )
        one.avoided = 0.0
        return made

    def give_back(self, used: Upstream) -> None:
        """Keep a connection for the next request, or hang up where it cannot serve one."""
        if used.reusable and len(used.home) < IDLE:
            used.home.append(used)
        else:
            used.abort("it is not needed any more")

    def close(self) -> None:
        """Hang up on every node."""
        for one in self._nodes:
            while one.idle:
                one.idle.pop().abort("the service ends")

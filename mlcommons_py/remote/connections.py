"""Connections to providers: to addresses that were checked, in time, and kept for the next request."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mlcommons_py.deadline import Deadline
from mlcommons_py.remote import faults
from mlcommons_py.remote.addresses import Address
from mlcommons_py.remote.endpoint import Endpoint
from mlcommons_py.remote.resolver import Lookup
from mlcommons_py.remote.trust import Target, Trust
from mlcommons_py.upstream import Upstream

_KEPT_SECONDS = {"http": 4.0, "https": 30.0}
"""How long a connection waits for the next request. Servers without TLS, mostly one's own, often hang up after five
seconds, and a request that meets that is lost; to connect to them anew costs next to nothing."""

_NEXT_SECONDS = 0.25
"""How long one address of a name is waited for before another is tried beside it (RFC 8305, section 8)."""


class Line(Upstream):
    """A connection to a provider.

    Attributes:
        is_late: whether it was given up because what was to come did not come in time.
    """

    lenient = True

    def __init__(self, authority: bytes) -> None:
        super().__init__(authority, [])
        self.is_late = False
        self._ended: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._deadline = Deadline(self._loop, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so to whoever waits, and to whoever keeps it."""
        self._deadline.cancel()
        super().connection_lost(exc)
        if self._ended is not None:
            self._ended()

    def keep_in(self, home: list[Upstream], ended: Callable[[], None]) -> None:
        """Name the list that it waits in, and who is told when it is lost."""
        self.home = home
        self._ended = ended

    def expect(self, seconds: float | None) -> None:
        """Hang up in so many seconds, unless told otherwise before; None waits for ever."""
        self._deadline.set(seconds)
        self._deadline.watch()

    def now(self) -> float:
        """Return the time by the loop's clock."""
        return self._loop.time()

    def _give_up(self) -> None:
        self.is_late = True
        self.abort("nothing came in time")


@dataclass(slots=True)
class _Kept:
    """The connections that may serve each other's requests: those that wait, the last used at the end, and all."""

    idle: list[Upstream] = field(default_factory=list)
    lines: set[Line] = field(default_factory=set)


AddrInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""An address as :func:`socket.getaddrinfo` has it."""

_Key = tuple[str, int, ssl.SSLContext | None]
"""Origin, reach and certificates: who may not go to private addresses, or shows or believes other certificates, shares
no connection with who does."""


class Connections:
    """The connections to all providers."""

    def __init__(self, lookup: Lookup, trust: Trust, kept: float | None = None) -> None:
        """Connect to nothing yet.

        Args:
            lookup: finds the addresses of a host; it is asked anew for each connection.
            trust: decides whether these may be called; the connection is to one that it saw.
            kept: how many seconds a connection waits for the next request; None for what suits its scheme.
        """
        self._lookup = lookup
        self._trust = trust
        self._seconds = kept
        self._kept: dict[_Key, _Kept] = {}

    def kept(self, target: Target, tls: ssl.SSLContext | None) -> Line | None:
        """Return a connection that was used before, the last used first; None where there is none."""
        kept = self._kept.get((target.endpoint.origin, target.reach, tls))
        while kept is not None and kept.idle:
            line = kept.idle.pop()
            if line.idle:
                assert isinstance(line, Line)
                return line
        return None

    async def connect(self, target: Target, tls: ssl.SSLContext | None, seconds: float) -> Line:
        """Return a new connection, to one of the addresses of a host, all of which are checked.

        Raises:
            IllegalArgument: one of them may not be called.
            RemoteFailed: there is no connection within so many seconds, or the certificate cannot be trusted.
        """
        endpoint = target.endpoint
        try:
            async with asyncio.timeout(seconds):
                line = await self._connected(endpoint, await self._addresses(target), tls)
        except TimeoutError as fault:
            raise faults.unreachable_in_time(endpoint, seconds) from fault
        if line.lost is None:
            self._keep(line, (endpoint.origin, target.reach, tls))
        return line

    def give_back(self, line: Line, scheme: str, *, reusable: bool) -> None:
        """Keep a connection for the next request if it is reusable, or hang up."""
        line.release()
        if not reusable:
            line.abort("it is not needed any more")
            return
        line.expect(_KEPT_SECONDS[scheme] if self._seconds is None else self._seconds)
        line.home.append(line)

    def close(self) -> None:
        """Hang up on every provider."""
        for kept in [*self._kept.values()]:
            for line in [*kept.lines]:
                line.abort("the service ends")

    def _keep(self, line: Line, key: _Key) -> None:
        kept = self._kept.setdefault(key, _Kept())
        kept.lines.add(line)

        def ended() -> None:
            kept.lines.remove(line)
            if line in kept.idle:
                kept.idle.remove(line)
            if not kept.lines:
                del self._kept[key]

        line.keep_in(kept.idle, ended)

    async def _addresses(self, target: Target) -> Sequence[Address]:
        endpoint = target.endpoint
        if endpoint.address is not None:  # it was checked with the URL
            return [endpoint.address]
        try:
            found = [
                ipaddress.ip_address(one.partition("%")[0]) for one in await self._lookup(endpoint.host, endpoint.port)
            ]
            if not found:
                raise OSError(f"{endpoint.host} has no address")
        except OSError as fault:
            raise faults.unknown_host(endpoint, fault) from fault
        self._trust.admit(endpoint.host, found, target.reach)
        return found

    @staticmethod
    async def _connected(endpoint: Endpoint, addresses: Sequence[Address], tls: ssl.SSLContext | None) -> Line:
        """Return a connection to the first address that has one; where TLS does not come about, the next is tried."""
        import aiohappyeyeballs

        left = [_place(one, endpoint.port) for one in addresses]
        places: dict[socket.socket, AddrInfo] = {}

        def opened(place: AddrInfo) -> socket.socket:
            wire = socket.socket(*place[:3])
            places[wire] = place
            return wire

        fault: OSError | None = None
        while left:
            try:
                wire = await aiohappyeyeballs.start_connection(
                    left, happy_eyeballs_delay=_NEXT_SECONDS, interleave=1, socket_factory=opened
                )
            except OSError as refused:
                fault = fault or refused
                break
            try:
                _, line = await asyncio.get_running_loop().create_connection(
                    lambda: Line(endpoint.authority.encode()),
                    sock=wire,
                    ssl=tls,
                    server_hostname=None if tls is None else endpoint.host,
                )
            except OSError as broken:  # so are the faults of TLS
                fault = fault or broken
                left.remove(places[wire])
            else:
                return line
        assert fault is not None
        raise faults.unreachable(endpoint, fault) from fault


def _place(address: Address, port: int) -> AddrInfo:
    if address.version == 4:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port)
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port, 0, 0)

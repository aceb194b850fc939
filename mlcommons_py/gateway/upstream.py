"""A connection to the cluster: one request after another, both bodies as streams."""

import asyncio
import socket
from dataclasses import dataclass, field

import httptools

from mlcommons_py.gateway.headers import tokens, values

_HIGH = 256 << 10
_SILENCE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Lost(Exception):
    """The connection ended before the answer did, or what came on it is no HTTP."""


@dataclass(slots=True)
class Head:
    """The head of an answer.

    Attributes:
        length: how long the body is, None where only its end says so.
        in_chunks: whether the body came in chunks.
        trailers: fields after a chunked body, known when the body has ended.
    """

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    length: int | None
    in_chunks: bool
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Upstream(asyncio.Protocol):
    """One connection; :meth:`begin` and :meth:`write` send a request, :meth:`head` and :meth:`read` get its answer.

    Attributes:
        continued: set when the cluster says that the body may come (status 100), and when its answer comes instead.
        served: how many requests it has had.
        home: the list that it waits in when it has nothing to do.
    """

    def __init__(self, authority: bytes, home: "list[Upstream]") -> None:
        self.authority = authority
        self.home = home
        self.continued = asyncio.Event()
        self.served = 0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._lost: str | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._came = asyncio.Event()
        self._paused = False
        self._forget("GET")
        self._complete = True

    def _forget(self, method: str) -> None:
        self._method = method
        self._head: Head | None = None
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._buffered = 0
        self._complete = False
        self._keep = False
        self._extra = False
        self.continued.clear()
        self._came.clear()

    # what the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Have the system notice a peer that vanished without a word."""
        self._transport = transport
        wire = transport.get_extra_info("socket")
        if wire is not None and wire.family != socket.AF_UNIX:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _SILENCE:
                wire.setsockopt(socket.IPPROTO_TCP, option, value)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._complete:
            self.abort("the cluster sent more than was asked for")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            self.abort(f"the cluster's answer is no HTTP: {fault}")
            return
        if self._buffered > _HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Take the end for the answer's where nothing else says it, and hang up."""
        head = self._head
        if head is not None and head.length is None and not head.in_chunks:
            self._complete = True
            self._came.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self._lost = self._lost or (str(exc) if exc else "the cluster hung up")
        self._may_write.set()
        self._came.set()
        self.continued.set()

    def pause_writing(self) -> None:
        """Have the sender wait."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Have the sender go on."""
        self._may_write.set()

    # what the parser calls

    def on_message_begin(self) -> None:
        """Refuse a second answer in the same breath."""
        if self._complete:
            self._keep, self._extra = False, True

    def on_status(self, reason: bytes) -> None:
        """Keep the reason."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field; behind the body it is a trailer."""
        if self._extra:
            return
        (self._headers if self._head is None else self._head.trailers).append((name, value))

    def on_headers_complete(self) -> None:
        """Know the answer's head; one of status 1xx is none yet."""
        status = self._parser.get_status_code()
        self.continued.set()
        if status < 200 or self._extra:
            return
        in_chunks = tokens(self._headers, b"transfer-encoding")[-1:] == [b"chunked"]
        lengths = values(self._headers, b"content-length")
        bodiless = self._method == "HEAD" or status in (204, 304)
        length = 0 if bodiless else int(lengths[0]) if lengths and not in_chunks else None
        self._keep = self._parser.should_keep_alive() and (length is not None or in_chunks)
        self._head = Head(status, self._reason, self._headers, length, in_chunks and not bodiless)
        if self._method == "HEAD":
            # The parser would wait for a body; none comes.
            self._parser = httptools.HttpResponseParser(self)
            self._keep = b"close" not in tokens(self._headers, b"connection")
            self._complete = True
        self._came.set()

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body until it is read."""
        if self._method == "HEAD" or self._extra:
            self._keep = False
            return
        self._body.append(data)
        self._buffered += len(data)
        self._came.set()

    def on_message_complete(self) -> None:
        """Know the answer's end."""
        if self._head is None:
            self._reason, self._headers = b"", []
            return
        self._keep = self._keep and not self._extra
        self._complete = True
        self._came.set()

    # what the gateway calls

    @property
    def idle(self) -> bool:
        """Whether it can take a request."""
        return self._complete and self._lost is None and self._transport is not None

    @property
    def reusable(self) -> bool:
        """Whether it can take another request once this answer is read."""
        return self.idle and self._keep and not self._body

    def begin(self, method: str, data: bytes) -> None:
        """Send the head of a request, with what there is of its body.

        Raises:
            Lost: it is gone; nothing was sent.
        """
        if self._lost is not None or self._transport is None or self._transport.is_closing():
            raise Lost(self._lost or "the cluster hung up")
        self._forget(method)
        self.served += 1
        self._transport.write(data)

    async def write(self, data: bytes) -> None:
        """Send a part of the body; waits while the cluster does not read.

        Raises:
            Lost: it is gone.
        """
        await self._may_write.wait()
        if self._lost is not None or self._transport is None:
            raise Lost(self._lost or "the cluster hung up")
        self._transport.write(data)

    async def head(self) -> Head:
        """Return the head of the answer.

        Raises:
            Lost: there is none.
        """
        while self._head is None:
            if self._lost is not None:
                raise Lost(self._lost)
            await self._came.wait()
            self._came.clear()
        return self._head

    def taken(self) -> bytes:
        """Return what came of the body and was not read yet."""
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    @property
    def answered(self) -> bool:
        """Whether the head of the answer came."""
        return self._head is not None

    async def read(self) -> bytes:
        """Return a part of the body, or nothing at its end.

        Raises:
            Lost: the connection ended in the middle.
        """
        while not self._body and not self._complete:
            if self._lost is not None:
                raise Lost(self._lost)
            self._came.clear()
            await self._came.wait()
        return self.taken()

    def abort(self, reason: str) -> None:
        """Hang up at once."""
        self._lost = self._lost or reason
        self._keep = False
        self._came.set()
        self.continued.set()
        self._may_write.set()
        if self._transport is not None:
            self._transport.abort()

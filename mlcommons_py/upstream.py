"""A connection to a server, the cluster's or a provider's: one request after another, both bodies as streams."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from mlcommons_py.header_fields import Fields

HEAD_BYTES = 256 << 10
"""How long the head of an answer may be, and what stands between two parts of its body or behind it."""

_SILENCE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


def notice_silence(wire: socket.socket) -> None:
    """Have the system notice a peer that vanished without a word."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _SILENCE:
        wire.setsockopt(socket.IPPROTO_TCP, option, value)


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
    fields: Fields
    length: int | None
    in_chunks: bool
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)


def _nothing() -> None:
    pass


class Upstream(asyncio.Protocol):
    """One connection; :meth:`begin` and :meth:`write` send a request, and who began it is called when something came.

    There is one call for all that came together: most answers cost one.

    Attributes:
        home: the list that it waits in when it has nothing to do.
        served: how many requests it has had.
        continued: whether the server said that the body may come (status 100).
        head: the head of the answer, once it came.
        complete: whether all of the answer came; what was not taken of it is still here.
        held: bytes of the body that came and were not taken yet.
        lost: why it is gone, if it is.
        misread: what was wrong with an answer that is no HTTP.
        may_write: whether the server reads what is sent.
        lenient: whether a header field of an answer may go on in a second line, or have control characters in it.
    """

    lenient = False

    def __init__(self, authority: bytes, home: "list[Upstream]") -> None:
        self.authority = authority
        self.home = home
        self.served = 0
        self.lost: str | None = None
        self.misread: Exception | None = None
        self.may_write = True
        self._transport: asyncio.Transport | None = None
        self._parser = _parser(self)
        self._paused = False
        self._forget("GET")
        self.complete = True
        self.release()

    def _forget(self, method: str) -> None:
        self._is_head = method == "HEAD"
        self.head: Head | None = None
        self.complete = False
        self.continued = False
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._body: list[bytes] = []
        self.held = 0
        self._keep = False
        self._extra = False

    # what the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Have the system notice a peer that vanished without a word."""
        self._transport = transport
        if (wire := transport.get_extra_info("socket")) is not None and wire.family != socket.AF_UNIX:
            notice_silence(wire)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self.complete:
            self.misread = httptools.HttpParserError("something came that was not asked for")
            self.abort("the server sent more than was asked for")
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if self._head_bytes > HEAD_BYTES and not self.complete:
                raise httptools.HttpParserError(f"more than {HEAD_BYTES} bytes came beside its body")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            is_other = isinstance(fault, httptools.HttpParserUpgrade)
            self.misread = httptools.HttpParserError("the server changes to another protocol") if is_other else fault
            self.abort(f"the server's answer is no HTTP: {self.misread}")
        self._came()

    def eof_received(self) -> None:
        """Take the end for the answer's where nothing else says it, and hang up."""
        head = self.head
        if head is not None and head.length is None and not head.in_chunks:
            self.complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so to whoever waits."""
        if exc is None and self.lost is None:
            self.eof_received()  # TLS may end without a word
        self.lost = self.lost or (str(exc) if exc else "the server hung up")
        self._came()

    def pause_writing(self) -> None:
        """Have the sender wait."""
        self.may_write = False

    def resume_writing(self) -> None:
        """Have the sender go on."""
        self.may_write = True
        self._resumed()

    # what the parser calls

    def on_message_begin(self) -> None:
        """Refuse a second answer in the same breath."""
        if self.complete:
            self._keep, self._extra = False, True

    def on_status(self, reason: bytes) -> None:
        """Keep the reason."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field; behind the body it is a trailer."""
        if self._extra:
            return
        (self._headers if self.head is None else self.head.trailers).append((name, value))

    def on_headers_complete(self) -> None:
        """Know the answer's head; one of status 1xx is none yet."""
        status = self._parser.get_status_code()
        if status < 200 or self._extra:
            self.continued = self.continued or status == 100
            return
        fields = Fields(self._headers)
        in_chunks = fields.tokens(b"transfer-encoding")[-1:] == [b"chunked"]
        lengths = fields.values(b"content-length")
        bodiless = self._is_head or status in (204, 304)
        length = 0 if bodiless else int(lengths[0]) if lengths and not in_chunks else None
        self._keep = self._parser.should_keep_alive() and (length is not None or in_chunks)
        if status == 204 and (in_chunks or lengths not in ([], [b"0"])):
            self._keep = False  # what it must not have may follow all the same
        self._head_bytes = 0
        self.head = Head(status, self._reason, fields, length, in_chunks and not bodiless)
        if self._is_head:
            # The parser would wait for a body; none comes.
            self._parser = _parser(self)
            self._keep = b"close" not in fields.tokens(b"connection")
            self.complete = True

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body until it is taken."""
        if self._is_head or self._extra or self.head is None:
            self._keep = False
            return
        self._head_bytes = 0
        self._body.append(data)
        self.held += len(data)

    def on_message_complete(self) -> None:
        """Know the answer's end."""
        if self.head is None:
            self._reason, self._headers = b"", []
            return
        self._keep = self._keep and not self._extra
        self.complete = True

    # what its user calls

    @property
    def idle(self) -> bool:
        """Whether it can take a request."""
        return self.complete and self.lost is None and self._transport is not None and not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether it can take another request once this answer is read."""
        if not self._keep or self._body or not self.idle or self._transport is None:
            return False
        return not self._transport.get_write_buffer_size()  # else it was answered early, and may never read the rest

    def begin(self, method: str, data: bytes, came: Callable[[], None], resumed: Callable[[], None] = _nothing) -> None:
        """Send the head of a request, with what there is of its body, on a connection that is idle.

        ``came`` is called when something of the answer came, or the connection was lost; ``resumed`` when the server
        reads again after :attr:`may_write` was False.
        """
        assert self._transport is not None
        self._forget(method)
        self.served += 1
        self._came, self._resumed = came, resumed
        self._transport.write(data)

    def write(self, data: bytes) -> None:
        """Send a part of the body."""
        assert self._transport is not None
        self._transport.write(data)

    def taken(self) -> bytes:
        """Return what came of the body and was not taken yet."""
        body = self._body
        if not body:
            return b""
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self.held = 0
        return data

    @property
    def is_paused(self) -> bool:
        """Whether the server waits with the rest of its answer."""
        return self._paused

    def pause_reading(self) -> None:
        """Have the server wait with the rest of its answer."""
        if not self._paused and not self.complete and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Have it go on."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def release(self) -> None:
        """Call nobody any more."""
        self._came = self._resumed = _nothing

    def abort(self, reason: str) -> None:
        """Hang up at once."""
        self.lost = self.lost or reason
        self._keep = False
        if self._transport is not None:
            self._transport.abort()


def _parser(target: Upstream) -> httptools.HttpResponseParser:
    """Return what reads answers; lines may end without CR, and blanks may follow the size of a chunk."""
    parser = httptools.HttpResponseParser(target)
    parser.set_dangerous_leniencies(
        lenient_headers=target.lenient, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
    )
    return parser

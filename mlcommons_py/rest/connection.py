"""A connection: HTTP/1.1 as uvicorn and httptools speak it, with bounds on what a client may keep us waiting for."""

import asyncio
from collections import deque

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mlcommons_py.gateway.exchange import EXTENSION, Exchange

HEAD_SECONDS = 30.0
"""How long a request's line and header may take to arrive, once begun or once connected."""

HEAD_BYTES = 64 << 10
"""How long they may be."""

REST_SECONDS = 30.0
"""How long the rest of a body may still come after its answer; a client that reads only then gets to see it."""


_SWITCHING = frozenset({b"upgrade", b"http2-settings"})


class Connection(HttpToolsProtocol):
    """uvicorn's protocol; it closes connections of clients that stop in the middle of a request.

    It also reads the body of a request that offers to switch to another protocol, as Java's client does by default;
    httptools takes what follows such a head for that protocol.
    """

    head_seconds = HEAD_SECONDS
    rest_seconds = REST_SECONDS

    _waiting: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _in_message = False
    _has_body = False
    _spelled: list[tuple[bytes, bytes]]
    _last: Exchange
    _under_way: deque[Exchange]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its time to begin."""
        super().connection_made(transport)
        self._under_way = deque()
        self._wait(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was waited for."""
        self._wait(None)
        super().connection_lost(exc)
        for one in self._under_way:
            one.lose()

    def data_received(self, data: bytes) -> None:
        """Read on; what is no HTTP, and a head without end, is refused."""
        self._unset_keepalive_if_required()
        if not self._in_message:
            data = _escaped(data)
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self.send_400_response(f"the request's line and header are longer than {HEAD_BYTES} bytes")

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            head = [b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
            head += [b"%s: %s\r\n" % field for field in self._spelled if field[0].lower() not in _SWITCHING]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"".join(head) + b"\r\n" + data[offer.args[0] :])

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        super().on_message_begin()
        self._in_message = self._in_head = True
        self._spelled = []
        self._has_body = False
        self._head_bytes = 0
        self._wait(self.head_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field as it was spelled; behind the body it is a trailer, which is no part of the head."""
        if self._in_head:
            self._spelled.append((name, value))
            super().on_header(name, value)
        else:
            self._last.trailers.append((name, value))

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the application does."""
        if self.parser.should_upgrade():
            return
        self._in_head = False
        self._wait(None)
        super().on_headers_complete()
        version = self.parser.get_http_version()
        self._last = Exchange(self.url, self._spelled, version, self.cycle, self.transport, self.flow)
        self._under_way.append(self._last)
        self.scope["extensions"] = {EXTENSION: {"exchange": self._last}}

    def on_body(self, body: bytes) -> None:
        """Note that the body comes."""
        self._has_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that nothing of the request is missing."""
        if self.parser.should_upgrade():
            return
        self._in_message = False
        self._wait(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Let a client send the rest of what was refused, for a while, so that it reads the answer."""
        self._under_way.popleft()
        pipelined = bool(self.pipeline)
        super().on_response_complete()
        if pipelined or not self._in_message or self._in_head:
            return
        if self.expect_100_continue and not self._has_body:
            # Whether the body comes although it was refused is for the client alone to know.
            self.transport.close()
        else:
            self._wait(self.rest_seconds)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and hang up."""
        content = orjson.dumps({"error": msg, "status": 400})
        head = b"content-type: application/json; charset=UTF-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[400] + head % len(content) + content)
        self.transport.close()

    def _wait(self, seconds: float | None) -> None:
        """Hang up in so many seconds, unless told otherwise before."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = None if seconds is None else self.loop.call_later(seconds, self.transport.close)


def _escaped(data: bytes) -> bytes:
    r"""Return the beginning of a request with its line in ASCII: curl sends ``/ä`` as it is, which the parser refuses.

    >>> _escaped("GET /ä?q=ö HTTP/1.1\r\nX: ü".encode()).decode()
    'GET /%C3%A4?q=%C3%B6 HTTP/1.1\r\nX: ü'
    """
    line, end, rest = data.partition(b"\n")
    if line.isascii():
        return data
    return b"".join(b"%c" % byte if byte < 128 else b"%%%02X" % byte for byte in line) + end + rest

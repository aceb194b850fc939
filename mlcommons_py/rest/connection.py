"""A connection: HTTP/1.1 as uvicorn and httptools speak it, with bounds on what a client may keep us waiting for."""

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_SECONDS = 30.0
"""How long a request's line and header may take to arrive, once begun or once connected."""

HEAD_BYTES = 64 << 10
"""How long they may be."""

REST_SECONDS = 30.0
"""How long the rest of a body may still come after its answer; a client that reads only then gets to see it."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol; it closes connections of clients that stop in the middle of a request."""

    _waiting: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _in_message = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its time to begin."""
        super().connection_made(transport)
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was waited for."""
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a head without end is refused."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the request's line and header are longer than {HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        super().on_message_begin()
        self._in_message = self._in_head = True
        self._head_bytes = 0
        self._wait(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the application does."""
        self._in_head = False
        self._wait(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that nothing of the request is missing."""
        self._in_message = False
        self._wait(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Let a client send the rest of what was refused, for a while, so that it reads the answer."""
        pipelined = bool(self.pipeline)
        super().on_response_complete()
        if pipelined or not self._in_message or self._in_head:
            return
        if self.cycle.waiting_for_100_continue:
            # The body was never asked for: whether it comes nevertheless is for the client alone to know.
            self.transport.close()
        else:
            self._wait(REST_SECONDS)

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

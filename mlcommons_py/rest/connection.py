"""A connection: HTTP/1.1 as uvicorn and httptools speak it, with bounds on what a client may keep us waiting for."""

import asyncio
from collections import deque
from typing import Protocol, runtime_checkable

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mlcommons_py.errors import MLCommonsError
from mlcommons_py.gateway.exchange import Exchange

HEAD_SECONDS = 30.0
"""How long a request's line and header may take to arrive, once begun or once connected."""

HEAD_BYTES = 64 << 10
"""How long they may be."""

REST_SECONDS = 30.0
"""How long the rest of a body may still come after its answer; a client that reads only then gets to see it."""

_SWITCHING = frozenset({b"upgrade", b"http2-settings"})


@runtime_checkable
class Passing(Protocol):
    """An ASGI application some of whose requests are for another server, and do not go through ASGI."""

    def passes(self, path: str, method: str) -> bool:
        """Return whether a request is the other server's."""

    def pass_on(self, exchange: Exchange) -> None:
        """Pass one on; the exchange is driven from then on."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol; it closes connections of clients that stop in the middle of a request.

    It also reads the body of a request that offers to switch to another protocol, as Java's client does by default;
    httptools takes what follows such a head for that protocol. Requests that an application passes on get an
    :class:`Exchange` in place of uvicorn's cycle, scope and task.
    """

    head_seconds = HEAD_SECONDS
    rest_seconds = REST_SECONDS

    address = "unknown"
    _app: Passing | None = None
    _passing: Exchange | None = None
    _starting: Exchange | None = None
    _deadline: float | None = None
    _alarm: asyncio.TimerHandle | None = None
    _alarm_at = 0.0
    _head_bytes = 0
    _in_head = True
    _in_message = False
    _has_body = False
    _spelled: list[tuple[bytes, bytes]]
    _under_way: "deque[RequestResponseCycle | Exchange]"

    # what the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its time to begin."""
        super().connection_made(transport)
        self._under_way = deque()
        if isinstance(self.config.app, Passing):
            self._app = self.config.app
        if self.client is not None:
            self.address = self.client[0]
        self._wait(self.head_seconds)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was waited for, and tell who works on what is under way."""
        if self._alarm is not None:
            self._alarm.cancel()
        if isinstance(self.cycle, Exchange):
            self.cycle = None  # type: ignore[assignment]  # as before the first request
        super().connection_lost(exc)
        for one in self._under_way:
            if isinstance(one, Exchange):
                one.lose()
            else:
                one.disconnected = True
                one.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Read on; what is no HTTP, and a head without end, is refused."""
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
        # Once for all that came together, so that head and body of most requests are one write.
        if self._starting is not None:
            self._pass_on(self._starting)
        elif self._passing is not None and self._passing.driven is not None:
            self._passing.driven.came()
        self._watch()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            head = [b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
            head += [b"%s: %s\r\n" % field for field in self._spelled if field[0].lower() not in _SWITCHING]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"".join(head) + b"\r\n" + data[offer.args[0] :])

    def resume_writing(self) -> None:
        """Have the answer go on."""
        super().resume_writing()
        if self._passing is not None and self._passing.driven is not None:
            self._passing.driven.resumed()

    # what the parser calls

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        self.url = b""
        self._in_message = self._in_head = True
        self._spelled = []
        self._has_body = False
        self._head_bytes = 0
        self._wait(self.head_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field as it was spelled; behind the body it is a trailer, which is no part of the head."""
        if self._in_head:
            self._spelled.append((name, value))
        elif isinstance(self.cycle, Exchange):
            self.cycle.trailers.append((name, value))

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the application does."""
        if self.parser.should_upgrade():
            return
        self._in_head = False
        self._wait(None)
        if self._app is not None:
            method = self.parser.get_method()
            path = httptools.parse_url(self.url).path or b"/"
            if self._app.passes(path.decode("latin-1"), method.decode("ascii")):
                self._take(method)
                return
        url = self.url
        super().on_message_begin()
        self.url = url
        self.headers += [(name.lower(), value) for name, value in self._spelled]
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )
        super().on_headers_complete()
        self._under_way.append(self.cycle)

    def _take(self, method: bytes) -> None:
        """Take a request that is passed on, as uvicorn does those that are not: in the order they came in."""
        version = self.parser.get_http_version()
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        exchange = Exchange(self, method, self.url, self._spelled, version, keep_alive=keep_alive)
        self.expect_100_continue = exchange.expects_continue
        waits = self.cycle is not None and not self.cycle.response_complete
        self.cycle = exchange  # type: ignore[assignment]  # what uvicorn asks of a cycle, it can be asked
        self._under_way.append(exchange)
        if waits:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]
        else:
            self._starting = exchange

    def _pass_on(self, exchange: Exchange) -> None:
        assert self._app is not None
        self._starting = None
        self._passing = exchange
        self._app.pass_on(exchange)

    def on_body(self, body: bytes) -> None:
        """Note that the body comes."""
        self._has_body = True
        cycle = self.cycle
        if not isinstance(cycle, Exchange):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.hold(body)

    def on_message_complete(self) -> None:
        """Note that nothing of the request is missing."""
        if self.parser.should_upgrade():
            return
        self._in_message = False
        cycle = self.cycle
        self._wait(self.timeout_keep_alive if cycle.response_complete else None)
        if isinstance(cycle, Exchange):
            cycle.more_body = False
        else:
            super().on_message_complete()

    # what is done with answers

    def on_response_complete(self) -> None:
        """Let a client send the rest of what was refused, for a while, so that it reads the answer."""
        self._under_way.popleft()
        self._passing = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            if isinstance(cycle, Exchange):
                self._pass_on(cycle)
            else:
                self._start_asgi_task(cycle, app)
        elif not self._in_message:
            self._wait(self.timeout_keep_alive)
            self._watch()
        elif self._in_head:
            return
        elif self.expect_100_continue and not self._has_body:
            # Whether the body comes although it was refused is for the client alone to know.
            self.transport.close()
        else:
            self._wait(self.rest_seconds)
            self._watch()

    def give_up(self, fault: MLCommonsError) -> None:
        """End what is passed on: answer with the fault where nothing was answered yet, else hang up."""
        if self._passing is not None and self._passing.driven is not None:
            self._passing.driven.give_up(fault)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and hang up."""
        content = orjson.dumps({"error": msg, "status": 400})
        head = b"content-type: application/json; charset=UTF-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[400] + head % len(content) + content)
        self.transport.close()

    # what is waited for

    def _wait(self, seconds: float | None) -> None:
        """Hang up in so many seconds, unless told otherwise before."""
        self._deadline = None if seconds is None else self.loop.time() + seconds

    def _watch(self) -> None:
        """Have somebody look at the deadline when it comes; there are far more deadlines than ever come."""
        if self._deadline is None or (self._alarm is not None and self._alarm_at <= self._deadline):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._deadline
        self._alarm = self.loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._alarm = None
        if self._deadline is not None and self._deadline <= self._alarm_at:
            self.transport.close()
        else:
            self._watch()


def _escaped(data: bytes) -> bytes:
    r"""Return the beginning of a request with its line in ASCII: curl sends ``/ä`` as it is, which the parser refuses.

    >>> _escaped("GET /ä?q=ö HTTP/1.1\r\nX: ü".encode()).decode()
    'GET /%C3%A4?q=%C3%B6 HTTP/1.1\r\nX: ü'
    """
    end = data.find(b"\n")
    line = data if end < 0 else data[:end]
    if line.isascii():
        return data
    return b"".join(b"%c" % byte if byte < 128 else b"%%%02X" % byte for byte in line) + data[len(line) :]

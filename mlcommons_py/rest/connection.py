"""A connection: HTTP/1.1 as uvicorn and httptools speak it, with bounds on what a client may keep us waiting for."""

import asyncio
from collections import deque
from functools import partial
from typing import Protocol, runtime_checkable

import httptools
import orjson
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mlcommons_py.errors import MLCommonsError, StatusError
from mlcommons_py.gateway.exchange import EXTENSION, Exchange
from mlcommons_py.rest.pace import BODY_SECONDS, Pace

HEAD_SECONDS = 30.0
"""How long a request's line and header may take to arrive, once begun or once connected."""

HEAD_BYTES = 64 << 10
"""How long they may be, and what stands between two parts of a body or behind it."""

SLOWEST = 1 << 10
"""Bytes a second that a body must bring that is passed on: fewer than one of ours, whose memory it does not take."""

REST_SECONDS = 30.0
"""How long the rest of a body may still come after its answer; a client that reads only then gets to see it."""

_SWITCHING = frozenset({b"upgrade", b"http2-settings"})

_Fields = list[tuple[bytes, bytes]]
_Read = tuple[bytes, bytes, _Fields, _Fields, str, bool]
"""Method, target, header fields, trailers, version, and whether the connection is kept."""


class Way(Protocol):
    """The way to another server."""

    def pass_on(self, exchange: Exchange) -> None:
        """Pass a request on; the exchange is driven from then on."""


@runtime_checkable
class Parted(Protocol):
    """An ASGI application some of whose requests are for another server, and do not go through ASGI."""

    def way(self, path: str, method: str) -> Way | None:
        """Return the way of a request that is another server's, or None."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol; it closes connections of clients that stop in the middle of a request.

    It also reads the body of a request that offers to switch to another protocol, as Java's client does by default;
    httptools takes what follows such a head for that protocol. Requests that an application passes on get an
    :class:`Exchange` in place of uvicorn's cycle, scope and task.
    """

    head_seconds = HEAD_SECONDS
    rest_seconds = REST_SECONDS
    body_seconds = BODY_SECONDS
    slowest: float = SLOWEST

    _parted: Parted | None = None
    _passing: Exchange | None = None
    _starting: tuple[Exchange, Way] | None = None
    _deadline: float | None = None
    _alarm: asyncio.TimerHandle | None = None
    _alarm_at = 0.0
    _unread: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _body_bytes = 0
    _pace: Pace | None = None
    _in_head = True
    _in_message = False
    _has_body = False
    _spelled: _Fields
    _trailers: _Fields
    _under_way: "deque[RequestResponseCycle | Exchange]"

    # what the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its time to begin."""
        super().connection_made(transport)
        self._under_way = deque()
        if isinstance(self.config.app, Parted):
            self._parted = self.config.app
        self._wait(self.head_seconds)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was waited for, and tell who works on what is under way."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._unread is not None:
            self._unread.cancel()
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
        self._head_bytes += len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._in_message and self._head_bytes > HEAD_BYTES:
            self.send_400_response(f"the request's line and header are longer than {HEAD_BYTES} bytes")
            return
        # Once for all that came together, so that head and body of most requests are one write.
        if self._starting is not None:
            starting, self._starting = self._starting, None
            self._pass_on(*starting)
        elif self._passing is not None and self._passing.driven is not None:
            self._passing.driven.came()
        self._await_body()
        self._watch()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            line = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
            head = [b"%s %s HTTP/%s\r\n" % line]
            head += [b"%s: %s\r\n" % field for field in self._spelled if field[0].lower() not in _SWITCHING]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"".join(head) + b"\r\n" + data[offer.args[0] :])

    def pause_writing(self) -> None:
        """Have the answer wait, and see to it that the client reads some of it."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Have the answer go on."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if self._starting is not None:
            starting, self._starting = self._starting, None
            self._pass_on(*starting)
        elif self._passing is not None and self._passing.driven is not None:
            self._passing.driven.resumed()

    # what the parser calls

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        self.url = b""
        self._in_message = self._in_head = True
        self._spelled, self._trailers = [], []
        self._has_body = False
        self._head_bytes = 0
        self._pace = None
        self._wait(self.head_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field as it was spelled; behind the body it is a trailer, which is no part of the head."""
        if self._in_head:
            self._spelled.append((name, value))
        else:
            self._trailers.append((name, value))

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the application does."""
        if self.parser.should_upgrade():
            return
        self._in_head = False
        self._wait(None)
        if self._parted is not None:
            method = self.parser.get_method().decode("ascii")
            path = httptools.parse_url(self.url).path or b"/"
            if (way := self._parted.way(path.decode("latin-1"), method)) is not None:
                self._take(way)
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
        if self._parted is not None:
            out = partial(self._take_out, self.cycle, self._read())
            self.scope["extensions"] = {EXTENSION: {"exchange": out}}

    def _read(self) -> _Read:
        version = self.parser.get_http_version()
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        return self.parser.get_method(), self.url, self._spelled, self._trailers, version, keep_alive

    def _exchange(self, read: _Read) -> Exchange:
        address = self.client[0] if self.client is not None else "unknown"
        return Exchange(self, *read, address, self.scheme or "http")

    def _take(self, way: Way) -> None:
        """Take a request that is passed on, as uvicorn does those that are not: in the order they came in."""
        exchange = self._exchange(self._read())
        self.expect_100_continue = exchange.expects_continue
        waits = self.cycle is not None and not self.cycle.response_complete
        self.cycle = exchange  # type: ignore[assignment]  # what uvicorn asks of a cycle, it can be asked
        self._under_way.append(exchange)
        if waits:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, way))  # type: ignore[arg-type]
        else:
            self._starting = exchange, way

    def _take_out(self, cycle: RequestResponseCycle, read: _Read) -> Exchange:
        """Take a request that is under way out of ASGI's hands."""
        exchange = self._exchange(read)
        exchange.keep_alive = cycle.keep_alive
        exchange.expects_continue = cycle.waiting_for_100_continue
        exchange.disconnected = cycle.disconnected
        exchange.more_body = cycle.more_body
        exchange.hold(bytes(cycle.body))
        cycle.disconnected = True
        cycle.message_event.set()
        if self._under_way and self._under_way[0] is cycle:
            self._under_way[0] = self._passing = exchange
        if self.cycle is cycle:
            self.cycle = exchange  # type: ignore[assignment]
            self._await_body()
            self._watch()
        return exchange

    def _pass_on(self, exchange: Exchange, way: Way) -> None:
        # Nobody holds up an answer that comes whole: a client that does not read could ask for any number of them.
        if self.flow.write_paused:
            self._starting = exchange, way
            return
        self._passing = exchange
        way.pass_on(exchange)

    def on_body(self, body: bytes) -> None:
        """Note that the body comes."""
        self._has_body = True
        self._head_bytes = 0
        self._body_bytes += len(body)
        cycle = self.cycle
        if not isinstance(cycle, Exchange):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.hold(body)
            if cycle.driven is None and cycle.held > HIGH_WATER_LIMIT:
                self.flow.pause_reading()

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

    # what is done with a body that is passed on

    def pause_reading(self) -> None:
        """Have the client wait with the rest of a body, for as long as the cluster takes."""
        self.flow.pause_reading()
        self._await_body()

    def resume_reading(self) -> None:
        """Have it go on."""
        if self.flow.read_paused:
            self.flow.resume_reading()
            self._await_body()
            self._watch()

    def _sending(self) -> Exchange | None:
        """Return the request whose body is coming, if it is passed on and not answered yet."""
        cycle = self.cycle
        if isinstance(cycle, Exchange) and self._in_message and not self._in_head and not cycle.response_complete:
            return cycle
        return None

    def _await_body(self) -> None:
        """Give a client its time for the next part of a body that is passed on, unless it is not to send any."""
        if self._sending() is None:
            return
        if self.flow.read_paused:
            self._pace = self._deadline = None  # what it waits for is not its fault: it begins anew
            return
        now = self.loop.time()
        if self._pace is None:
            self._pace = Pace(self.body_seconds, self.slowest, now)
        else:
            self._pace.came(self._body_bytes, now)
        self._body_bytes = 0
        self._deadline = self._pace.due

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
            cycle, way = self.pipeline.pop()
            if isinstance(cycle, Exchange):
                self._pace = None
                self._await_body()
                self._watch()
                self._pass_on(cycle, way)  # type: ignore[arg-type]  # it was put there with its way
            else:
                self._start_asgi_task(cycle, way)
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
        for one in self._under_way:
            one.keep_alive = False  # what waits behind it is not begun any more
        if self._passing is not None and self._passing.driven is not None:
            self._passing.driven.give_up(fault)
        elif self.flow.write_paused:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and hang up; where an answer is under way this one would be taken for it."""
        if self._under_way and not self._is_first():
            self.transport.abort()
            return
        content = orjson.dumps({"error": msg, "status": 400})
        head = b"content-type: application/json; charset=UTF-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[400] + head % len(content) + content)
        self.transport.close()

    def _is_first(self) -> bool:
        """Return whether nothing is under way but the request whose body is being read, and it is not answered yet."""
        if len(self._under_way) > 1 or not self._in_message or self._in_head:
            return False
        one = self._under_way[0]
        return not (one.started if isinstance(one, Exchange) else one.response_started)

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
        if self._deadline is None or self._deadline > self._alarm_at:
            self._watch()
            return
        sending = self._sending()
        if sending is None:
            self.transport.close()
        elif sending.driven is None:
            self._pace = None  # before its turn it keeps nobody from anything
            self._await_body()
            self._watch()
        else:
            self._deadline = None
            least = f"{self.slowest:.0f} bytes a second, over {self.body_seconds:.0f} s"
            text = f"the body came too slowly: send at least {least}"
            sending.driven.give_up(StatusError(text, 408))

    def _await_reader(self) -> None:
        """Hang up on a client that reads nothing of its answer for so long."""
        before = self.transport.get_write_buffer_size()

        def look() -> None:
            if self.transport.get_write_buffer_size() < before:
                self._await_reader()
            else:
                self.transport.abort()

        self._unread = self.loop.call_later(self.body_seconds, look)


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

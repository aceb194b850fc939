"""A connection: HTTP/1.1 as uvicorn and httptools speak it, with bounds on what a client may keep us waiting for."""

import asyncio
from functools import partial
from typing import Protocol, runtime_checkable

import httptools
import orjson
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from mlcommons_py.deadline import Deadline
from mlcommons_py.errors import MLCommonsError, StatusError
from mlcommons_py.gateway.exchange import EXTENSION, Exchange
from mlcommons_py.rest.pace import BODY_SECONDS, Pace
from mlcommons_py.rest.reading import Head, Reading
from mlcommons_py.rest.under_way import UnderWay, Way
from mlcommons_py.rest.unread import Unread
from mlcommons_py.rest.waiting import EXTENSION as CLIENT
from mlcommons_py.rest.waiting import Client, waiting_for

HEAD_SECONDS = 30.0
"""How long a request's line and header may take to arrive, once begun or once connected."""

SLOWEST = 1 << 10
"""Bytes a second that a body must bring that is passed on: fewer than one of ours, whose memory it does not take."""

REST_SECONDS = 30.0
"""How long the rest of a body may still come after its answer; a client that reads only then gets to see it."""


@runtime_checkable
class Parted(Protocol):
    """An ASGI application some of whose requests are for another server, and do not go through ASGI."""

    def way(self, path: str, method: str) -> Way | None:
        """Return the way of a request that is another server's, or None."""


class Connection(Reading):
    """A connection that is closed where the client stops in the middle of a request.

    Requests that an application passes on get an :class:`Exchange` in place of uvicorn's cycle, scope and task.
    """

    head_seconds = HEAD_SECONDS
    rest_seconds = REST_SECONDS
    body_seconds = BODY_SECONDS
    slowest: float = SLOWEST

    _parted: Parted | None = None
    _unread: Unread | None = None
    _pace: Pace | None = None
    _body_bytes = 0
    _deadline: Deadline
    _under_way: UnderWay

    # what the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its time to begin."""
        super().connection_made(transport)
        self._under_way = UnderWay()
        self._deadline = Deadline(self.loop, self._waited)
        if isinstance(self.config.app, Parted):
            self._parted = self.config.app
        self._wait(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was waited for, and tell who works on what is under way."""
        self._deadline.cancel()
        if self._unread is not None:
            self._unread.cancel()
        if isinstance(self.cycle, Exchange):
            self.cycle = None  # type: ignore[assignment]  # as before the first request
        super().connection_lost(exc)
        self._under_way.lose()

    def data_received(self, data: bytes) -> None:
        """Read on; what is no HTTP, and a head without end, is refused."""
        if (wrong := self.read_on(data)) is not None:
            self.send_400_response(wrong)
            return
        # Once for all that came together, so that head and body of most requests are one write.
        self._under_way.came(paused=self.flow.write_paused)
        self._await_body()
        self._deadline.watch()

    def pause_writing(self) -> None:
        """Have the answer wait, and see to it that the client reads some of it."""
        super().pause_writing()
        self._see_it_read()

    def resume_writing(self) -> None:
        """Have the answer go on."""
        super().resume_writing()
        if self._unread is not None and not self.transport.is_closing():
            self._unread.cancel()
            self._unread = None
        self._under_way.resumed()

    # what the parser calls

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        super().on_message_begin()
        self._pace = None
        self._deadline.set(self.head_seconds)

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the application does."""
        if self.parser.should_upgrade():
            return
        self._in_head = False
        self._deadline.set(None)
        if self._parted is not None:
            method = self.parser.get_method().decode("ascii")
            path = httptools.parse_url(self.url).path or b"/"
            if (way := self._parted.way(path.decode("latin-1"), method)) is not None:
                self._take(way)
                return
        self.start_cycle()
        self._under_way.add(self.cycle)
        self.scope["extensions"] = {CLIENT: {"client": Client(self.cycle, self.flow)}}
        if self._parted is not None:
            out = partial(self._take_out, self.cycle, self.head())
            self.scope["extensions"][EXTENSION] = {"exchange": out}

    def _exchange(self, head: Head) -> Exchange:
        address = self.client[0] if self.client is not None else "unknown"
        return Exchange(self, *head, address, self.scheme or "http")

    def _take(self, way: Way) -> None:
        """Take a request that is passed on, as uvicorn does those that are not: in the order they came in."""
        exchange = self._exchange(self.head())
        self.expect_100_continue = exchange.expects_continue
        waits = self.cycle is not None and not self.cycle.response_complete
        self.cycle = exchange  # type: ignore[assignment]  # what uvicorn asks of a cycle, it can be asked
        self._under_way.add(exchange)
        if waits:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, way))  # type: ignore[arg-type]
        else:
            self._under_way.start(exchange, way)

    def _take_out(self, cycle: RequestResponseCycle, head: Head) -> Exchange:
        """Take a request that is under way out of ASGI's hands."""
        exchange = self._exchange(head)
        exchange.keep_alive = cycle.keep_alive
        exchange.expects_continue = cycle.waiting_for_100_continue
        exchange.disconnected = cycle.disconnected
        exchange.more_body = cycle.more_body
        exchange.hold(bytes(cycle.body))
        cycle.disconnected = True
        cycle.message_event.set()
        self._under_way.replace(cycle, exchange)
        if self.cycle is cycle:
            self.cycle = exchange  # type: ignore[assignment]
            self._await_body()
            self._deadline.watch()
        return exchange

    def on_body(self, body: bytes) -> None:
        """Note that the body comes."""
        self._has_body = True
        self._head_bytes = 0
        self._body_bytes += len(body)
        cycle = self.cycle
        if not isinstance(cycle, Exchange):
            if not cycle.response_complete:
                self._add(cycle, body)
        elif not cycle.response_complete:
            cycle.hold(body)
            if cycle.driven is None and cycle.held > HIGH_WATER_LIMIT:
                self.flow.pause_reading()

    def _add(self, cycle: RequestResponseCycle, body: bytes) -> None:
        """Keep a part until it is asked for, as uvicorn does, which copies each of them twice."""
        if not cycle.body:
            cycle.body = body  # type: ignore[assignment]
        else:
            if isinstance(cycle.body, bytes):
                cycle.body = bytearray(cycle.body)
            cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Note that nothing of the request is missing."""
        if self.parser.should_upgrade():
            return
        self._in_message = False
        cycle = self.cycle
        self._deadline.set(self.timeout_keep_alive if cycle.response_complete else None)
        if isinstance(cycle, Exchange):
            cycle.more_body = False
        else:
            if (client := waiting_for(cycle)) is not None:
                client.has_sent = True
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
            self._deadline.watch()

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
            self._pace = self._deadline.due = None  # what it waits for is not its fault: it begins anew
            return
        now = self.loop.time()
        if self._pace is None:
            self._pace = Pace(self.body_seconds, self.slowest, now)
        else:
            self._pace.came(self._body_bytes, now)
        self._body_bytes = 0
        self._deadline.due = self._pace.due

    # what is done with answers

    def on_response_complete(self) -> None:
        """Let a client send the rest of what was refused, for a while, so that it reads the answer."""
        self._under_way.done()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._hang_up()
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, way = self.pipeline.pop()
            if isinstance(cycle, Exchange):
                self._pace = None
                self._await_body()
                self._deadline.watch()
                paused = self.flow.write_paused
                self._under_way.pass_on(cycle, way, paused=paused)  # type: ignore[arg-type]  # it was put there with its way
            else:
                self._start_asgi_task(cycle, way)
        elif not self._in_message:
            self._wait(self.timeout_keep_alive)
        elif self._in_head:
            return
        elif self.expect_100_continue and not self._has_body:
            # Whether the body comes although it was refused is for the client alone to know.
            self._hang_up()
        else:
            self._wait(self.rest_seconds)

    def give_up(self, fault: MLCommonsError) -> None:
        """End what is passed on: answer with the fault where nothing was answered yet, else hang up."""
        if not self._under_way.give_up(fault) and self.flow.write_paused:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and hang up; where an answer is under way this one would be taken for it."""
        if self._under_way and not self._is_first():
            self.transport.abort()
            return
        content = orjson.dumps({"error": msg, "status": 400})
        head = b"content-type: application/json; charset=UTF-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[400] + head % len(content) + content)
        self._hang_up()

    def _is_first(self) -> bool:
        """Return whether nothing is under way but the request whose body is being read, and it is not answered yet."""
        if len(self._under_way) > 1 or not self._in_message or self._in_head:
            return False
        return not self._under_way.is_answered()

    def _hang_up(self) -> None:
        """Close the connection once the client has read what is written."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._see_it_read()

    def _see_it_read(self) -> None:
        """Hang up on the client at once where it reads nothing more of what is written."""
        if self._unread is None:
            self._unread = Unread(self.transport, self.body_seconds)

    # what is waited for

    def _wait(self, seconds: float) -> None:
        """Hang up in so many seconds, unless told otherwise before."""
        self._deadline.set(seconds)
        self._deadline.watch()

    def _waited(self) -> None:
        """Hang up, or refuse what is passed on and came too slowly."""
        sending = self._sending()
        if sending is None:
            self._hang_up()
        elif sending.driven is None:
            self._pace = None  # before its turn it keeps nobody from anything
            self._await_body()
            self._deadline.watch()
        else:
            self._deadline.set(None)
            least = f"{self.slowest:.0f} bytes a second, over {self.body_seconds:.0f} s"
            text = f"the body came too slowly: send at least {least}"
            sending.driven.give_up(StatusError(text, 408))

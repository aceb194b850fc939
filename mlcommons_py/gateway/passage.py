"""One request on its way to the cluster, and its answer on its way back, both as streams."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

from mlcommons_py.errors import MLCommonsError, StatusError, Unavailable
from mlcommons_py.gateway.exchange import Exchange
from mlcommons_py.gateway.headers import chunk, chunked, last_chunk, origin, render
from mlcommons_py.gateway.pool import Pool
from mlcommons_py.header_fields import Fields, Headers
from mlcommons_py.upstream import Head, Upstream

log = logging.getLogger(__name__)

Ended = Callable[[Exchange, int | MLCommonsError], None]
"""Called with the answer's status, 0 where the client or the cluster went away in the middle; or with what went wrong
while nothing was written: then the client still waits for an answer."""


class Dress(Protocol):
    """Makes the header fields of a request that is passed on of those that came."""

    def __call__(self, fields: Fields, client: str, scheme: str, authority: bytes, *, in_chunks: bool) -> Headers:
        """Return the fields; ``client`` is the client's address, ``authority`` that of who gets the request."""


REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that change nothing, so that a request may be sent again when a connection broke (RFC 9110, 9.2.2)."""

_REPLAY = 64 << 10
_HIGH = 64 << 10
_CONTINUE_SECONDS = 1.0


class Passage:
    """Passes one request on.

    No task runs for it: it goes on when the client sends something (:meth:`came`), when the cluster does
    (:meth:`_answer`), and when one of them reads again. Only finding a connection is awaited, where none is idle.
    """

    __slots__ = (
        "_dress",
        "_ended",
        "_entered",
        "_exchange",
        "_first",
        "_fresh",
        "_held_back",
        "_in_chunks",
        "_out_in_chunks",
        "_pool",
        "_replay",
        "_seeking",
        "_sent_whole",
        "_timer",
        "_upstream",
    )

    def __init__(
        self,
        pool: Pool,
        dress: Dress,
        exchange: Exchange,
        ended: Ended,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Make a passage that ends with the fault that ``first`` raises, if that does, before anything is sent."""
        self._pool = pool
        self._dress = dress
        self._exchange = exchange
        self._ended = ended
        self._first = first
        self._upstream: Upstream | None = None
        self._seeking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._entered = False
        self._fresh = False
        self._held_back = exchange.expects_continue
        self._in_chunks = False
        self._out_in_chunks = False
        self._sent_whole = False
        self._replay: bytes | None = b"" if exchange.method in REPEATABLE else None

    def start(self) -> None:
        """Send what came of the request on, at once where a connection is idle."""
        self._exchange.driven = self
        try:
            self._in_chunks = chunked(self._exchange.fields)
        except MLCommonsError as fault:
            self._fail(fault)
            return
        if self._first is not None:
            self._seek()
            return
        self._entered = self._pool.entered()
        if self._entered and (kept := self._pool.kept()) is not None:
            self._begin(kept)
        else:
            self._seek()

    def _seek(self) -> None:
        self._seeking = asyncio.get_running_loop().create_task(self._find())

    async def _find(self) -> None:
        try:
            found = None
            if self._first is not None:
                await self._first()
                self._first = None
            if not self._entered:
                if not self._pool.entered():
                    await self._pool.enter()
                self._entered = True
                found = self._pool.kept()
            found = found or await self._pool.connect()
            self._seeking = None
            self._begin(found)
        except MLCommonsError as fault:
            self._seeking = None
            self._fail(fault)
        except Exception:
            number = secrets.token_hex(4)
            log.exception("a request to the cluster failed [%s]", number)
            self._seeking = None
            self._fail(MLCommonsError(f"the service failed on this request; its log says why, under [{number}]"))

    # to the cluster

    def _begin(self, upstream: Upstream) -> None:
        """Send the head, with what there is of the body: one write for the most of requests."""
        exchange = self._exchange
        self._upstream = upstream
        headers = self._dress(
            exchange.fields, exchange.address, exchange.scheme, upstream.authority, in_chunks=self._in_chunks
        )
        head = render(b"%b %b HTTP/1.1" % (exchange.method, origin(exchange.target)), headers)
        body = (self._replay or b"") + (b"" if self._held_back else self._next())
        upstream.begin(exchange.method.decode(), head + body, self._answer, self._send)
        if self._held_back:
            self._timer = asyncio.get_running_loop().call_later(_CONTINUE_SECONDS, self._go_on)
        elif body or not self._sent_whole:
            self._send()

    def came(self) -> None:
        """Send on what came of the body; what has nowhere to go yet is held, and not much of it."""
        if self._upstream is not None and not self._held_back:
            if not self._sent_whole:
                self._send()
        elif self._exchange.held > _HIGH:
            self._exchange.pause_reading()

    def _send(self) -> None:
        """Send what is held; the client waits while the cluster does not read."""
        upstream = self._upstream
        if upstream is None or self._held_back:
            return
        if data := self._next():
            upstream.write(data)
        if upstream.may_write:
            self._exchange.resume_reading()
        else:
            self._exchange.pause_reading()

    def _next(self) -> bytes:
        """Return, framed, what came of the body and was not sent yet."""
        exchange = self._exchange
        if self._sent_whole:
            return b""
        data = exchange.taken()
        self._sent_whole = not exchange.more_body
        if self._in_chunks:
            data = chunk(data)
            if self._sent_whole:
                data += last_chunk(exchange.trailers)
        if data and self._replay is not None:
            self._replay = self._replay + data if len(self._replay) + len(data) <= _REPLAY else None
        return data

    def _go_on(self) -> None:
        """Have a client that waits for it send the body: the cluster said so, or says nothing for a while."""
        self._stop_waiting()
        self._held_back = False
        self._exchange.go_on()
        self._send()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # back to the client

    def _answer(self) -> None:
        """Write on what came of the answer: one write for the most of them."""
        upstream, exchange = self._upstream, self._exchange
        assert upstream is not None
        head = upstream.head
        if head is None:
            if upstream.lost is not None:
                self._lose(upstream, upstream.lost)
            elif upstream.continued and self._held_back:
                self._go_on()
            return
        data = upstream.taken()
        if not exchange.started:
            if head.fields.tokens(b"transfer-encoding") not in ([], [b"chunked"]):
                self.give_up(StatusError("the cluster's answer comes in another [Transfer-Encoding] than chunked", 502))
                return
            exchange.started = True
            self._stop_waiting()
            first = self._head(head)
            data = first + chunk(data) if self._out_in_chunks else first + data
        elif self._out_in_chunks:
            data = chunk(data)
        if upstream.complete:
            if self._out_in_chunks:
                data += last_chunk(head.trailers)
            exchange.write(data)
            self._finish(upstream, head.status)
            return
        if data:
            exchange.write(data)
        if upstream.lost is not None:
            self._lose(upstream, upstream.lost)
        elif exchange.write_paused:
            upstream.pause_reading()

    def _head(self, head: Head) -> bytes:
        exchange = self._exchange
        is_head = exchange.method == b"HEAD"
        bodiless = is_head or head.status in (204, 304)
        framed = head.length is not None or exchange.version == "1.0"
        headers = head.fields.end_to_end()
        self._out_in_chunks = not bodiless and not framed
        if self._out_in_chunks or (is_head and b"transfer-encoding" in head.fields.names):
            headers.append((b"Transfer-Encoding", b"chunked"))
        if not exchange.keep_alive:
            headers.append((b"Connection", b"close"))
        return render(b"HTTP/1.1 %d %b" % (head.status, head.reason), headers)

    def resumed(self) -> None:
        """Have the cluster go on with its answer: the client reads again."""
        if self._upstream is not None:
            self._upstream.resume_reading()

    # how it ends

    def _finish(self, upstream: Upstream, status: int) -> None:
        self._leave()
        if self._sent_whole:
            self._pool.give_back(upstream)
        else:
            upstream.abort("answered early")
        self._exchange.finish()
        self._ended(self._exchange, status)

    def _lose(self, upstream: Upstream, reason: str) -> None:
        """Send the request again where that does no harm, and is likely to help."""
        exchange = self._exchange
        upstream.release()
        upstream.abort("lost")
        self._upstream = None
        self._stop_waiting()
        if exchange.started:
            log.warning("%s: the answer broke off: %s", exchange.method.decode(), reason)
            self._leave()
            exchange.cut()
            self._ended(exchange, 0)
        elif self._replay is not None and not self._fresh and upstream.served > 1:
            self._fresh = True
            self._seek()
        else:
            self._fail(
                Unavailable(f"the cluster did not answer ({reason}); whether it did what was asked for is unknown")
            )

    def left(self) -> None:
        """Give the request up: the client went away."""
        upstream = self._upstream
        self._leave()
        if upstream is not None:
            upstream.abort("the client went away")
        self._ended(self._exchange, 0)

    def give_up(self, fault: MLCommonsError) -> None:
        """Break off, and answer with a fault where nothing was written yet."""
        upstream = self._upstream
        if upstream is not None:
            upstream.release()
            upstream.abort("given up")
        if self._exchange.started:
            self._leave()
            self._exchange.cut()
            self._ended(self._exchange, 0)
        else:
            self._fail(fault)

    def _fail(self, fault: MLCommonsError) -> None:
        self._leave()
        self._ended(self._exchange, fault)

    def _leave(self) -> None:
        """Let go of everything, so that nothing that comes later finds its way here."""
        self._exchange.driven = None
        self._stop_waiting()
        if self._seeking is not None:
            self._seeking.cancel()
            self._seeking = None
        if self._upstream is not None:
            self._upstream.release()
            self._upstream = None
        if self._entered:
            self._entered = False
            self._pool.leave()

"""Passing a request on to the cluster, and the answer back, both as streams."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mlcommons_py.errors import Unavailable
from mlcommons_py.gateway.exchange import Exchange, Headers
from mlcommons_py.gateway.headers import asked, chunked, end_to_end, origin, render, tokens, values
from mlcommons_py.gateway.pool import Pool
from mlcommons_py.gateway.upstream import Head, Lost, Upstream

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Any]]

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing, so that a request may be sent again when a connection broke (RFC 9110, 9.2.2)."""

_REPLAY = 64 << 10
_CONTINUE_SECONDS = 1.0
_ANSWER_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: what the cluster is told of a client.

    Attributes:
        address: the client's address.
        scheme: how it reached the service, ``http`` or ``https``.
    """

    method: str
    address: str
    scheme: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the cluster."""

    status: int
    headers: Headers
    body: bytes


class Dress(Protocol):
    """Makes the header fields of a request that is passed on of those that came."""

    def __call__(self, headers: Headers, client: str, scheme: str, authority: bytes, *, in_chunks: bool) -> Headers:
        """Return the fields; ``client`` is the client's address, ``authority`` that of who gets the request."""


class Gateway:
    """Passes requests on, each in its client's own name: the service's credentials are not known here."""

    def __init__(self, pool: Pool, dress: Dress = asked) -> None:
        self._pool = pool
        self._dress = dress

    async def pass_on(self, exchange: Exchange, receive: Receive, asker: Asker) -> int:
        """Pass one request on and its answer back; return the answer's status, 0 where the client went away.

        Raises:
            Unavailable: no node can be reached, or the connection broke before an answer; nothing was written then.
            Rejected: too many requests are under way.
            BadRequest: it is not clear where the request ends.
        """
        body = _Body(exchange, receive, in_chunks=chunked(exchange.headers))
        await self._pool.enter()
        try:
            return await self._tried(exchange, body, asker)
        finally:
            exchange.on_gone = None
            self._pool.leave()

    async def _tried(self, exchange: Exchange, body: "_Body", asker: Asker) -> int:
        fresh = False
        while True:
            upstream = await self._pool.take(fresh=fresh)
            try:
                return await self._once(upstream, exchange, body, asker)
            except Lost as fault:
                upstream.abort("lost")
                if exchange.gone:
                    return 0
                if exchange.started:
                    log.warning("%s: the answer broke off: %s", asker.method, fault)
                    exchange.cut()
                    return 0
                stale = not fresh and upstream.served > (1 if body.sent else 0)
                harmless = not body.sent or asker.method in REPEATABLE
                if not (stale and harmless and body.replay is not None):
                    raise Unavailable(
                        f"the cluster did not answer ({fault}); whether it did what was asked for is unknown"
                    ) from fault
                fresh = True
            except BaseException:
                upstream.abort("given up")
                raise

    async def _once(self, upstream: Upstream, exchange: Exchange, body: "_Body", asker: Asker) -> int:
        exchange.on_gone = lambda: upstream.abort("the client went away")
        headers = self._dress(
            exchange.headers, asker.address, asker.scheme, upstream.authority, in_chunks=body.in_chunks
        )
        first = b"%s %s HTTP/1.1" % (asker.method.encode(), origin(exchange.target))
        upstream.begin(asker.method, render(first, headers) + await body.at_hand())
        body.sent = True
        sending = None if body.ended else asyncio.create_task(body.send(upstream))
        try:
            head = await upstream.head()
            await _answer(upstream, head, exchange, asker.method)
        finally:
            if sending is not None and not sending.done():
                # An early answer: the rest of the body is for nobody.
                sending.cancel()
                await asyncio.wait((sending,))
        if body.ended:
            self._pool.give_back(upstream)
        else:
            upstream.abort("answered early")
        exchange.finish()
        return head.status

    async def ask(
        self, asker: Asker, target: str, headers: Headers, body: bytes = b"", *, content_type: bytes = b""
    ) -> Reply:
        """Ask the cluster something in a client's name, whose credentials are in ``headers``; return all it answers.

        Raises:
            Unavailable: it cannot be reached, or breaks off.
            Rejected: too many requests are under way.
        """
        own = [(name, value) for name, value in end_to_end(headers) if name.lower() not in _OF_THE_BODY]
        if body:
            own += [(b"Content-Type", content_type or b"application/json"), (b"Content-Length", b"%d" % len(body))]
        await self._pool.enter()
        try:
            return await self._asked(asker, target, own, body)
        finally:
            self._pool.leave()

    async def _asked(self, asker: Asker, target: str, headers: Headers, body: bytes) -> Reply:
        fresh = False
        while True:
            upstream = await self._pool.take(fresh=fresh)
            sent = self._dress(headers, asker.address, asker.scheme, upstream.authority, in_chunks=False)
            try:
                return await self._whole(upstream, asker.method, render(_first(asker, target), sent) + body)
            except Lost as fault:
                upstream.abort("lost")
                if fresh or upstream.served < 2 or asker.method not in REPEATABLE:
                    raise Unavailable(f"the cluster did not answer: {fault}") from fault
                fresh = True
            except BaseException:
                upstream.abort("given up")
                raise

    async def _whole(self, upstream: Upstream, method: str, request: bytes) -> Reply:
        upstream.begin(method, request)
        head = await upstream.head()
        parts, length = [], 0
        while part := await upstream.read():
            parts.append(part)
            length += len(part)
            if length > _ANSWER_LIMIT:
                raise Lost("its answer is too long")
        self._pool.give_back(upstream)
        return Reply(head.status, head.headers, b"".join(parts))

    def close(self) -> None:
        """Hang up on the cluster."""
        self._pool.close()


_OF_THE_BODY = frozenset(
    {b"content-length", b"content-type", b"content-encoding", b"expect", b"accept", b"accept-encoding"}
)


def _first(asker: Asker, target: str) -> bytes:
    return b"%s %s HTTP/1.1" % (asker.method.encode(), target.encode())


class _Body:
    """A request's body on its way.

    Attributes:
        ended: whether its last byte was sent.
        sent: whether any of the request may have reached the cluster.
        replay: what was sent of it, to send it again; None once that is too much.
    """

    def __init__(self, exchange: Exchange, receive: Receive, *, in_chunks: bool) -> None:
        self._exchange = exchange
        self._receive = receive
        self.in_chunks = in_chunks
        length = values(exchange.headers, b"content-length")
        self.ended = not in_chunks and (not length or int(length[0]) == 0)
        self.sent = False
        self.replay: bytes | None = b""

    async def at_hand(self) -> bytes:
        """Return, framed, what came already; what was sent once comes again."""
        if self.replay:
            return self.replay
        if self.ended or self._exchange.expects_continue or not self._exchange.has_more:
            return b""
        return await self._next()

    async def send(self, upstream: Upstream) -> None:
        """Send the rest of it as it comes."""
        with contextlib.suppress(Lost):
            if self._exchange.expects_continue:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CONTINUE_SECONDS):
                        await upstream.continued.wait()
                if upstream.answered:
                    return
            while not self.ended:
                data = await self._next()
                await upstream.write(data)

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Lost("the client went away")
        data: bytes = message["body"]
        self.ended = not message["more_body"]
        if self.in_chunks:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if self.ended:
                data += render(b"0", [*_sound(self._exchange.trailers)])
        if self.replay is not None:
            self.replay = self.replay + data if len(self.replay) + len(data) <= _REPLAY else None
        return data


def _sound(trailers: Headers) -> list[tuple[bytes, bytes]]:
    """Return trailers without those that would say where a message ends, or who sent it (RFC 9110, 6.5.1)."""
    return [one for one in end_to_end(trailers) if one[0].lower() not in _NEVER_BEHIND]


_NEVER_BEHIND = frozenset(
    {b"content-length", b"host", b"authorization", b"cookie", b"content-encoding", b"content-type"}
)


async def _answer(upstream: Upstream, head: Head, exchange: Exchange, method: str) -> None:
    """Write the answer as it comes."""
    bodiless = method == "HEAD" or head.status in (204, 304)
    framed = head.length is not None or exchange.version == "1.0"
    headers = list(end_to_end(head.headers))
    in_chunks = not bodiless and not framed
    if in_chunks or (method == "HEAD" and tokens(head.headers, b"transfer-encoding")):
        headers.append((b"Transfer-Encoding", b"chunked"))
    if not exchange.keep_alive or (not framed and exchange.version == "1.0"):
        headers.append((b"Connection", b"close"))
    data = render(b"HTTP/1.1 %d %b" % (head.status, head.reason), headers)
    exchange.start()
    part = upstream.taken()
    while True:
        await exchange.write(data + (b"%x\r\n%b\r\n" % (len(part), part) if in_chunks and part else part))
        data = b""
        part = await upstream.read()
        if not part:
            break
    if in_chunks:
        await exchange.write(render(b"0", _sound(head.trailers)))

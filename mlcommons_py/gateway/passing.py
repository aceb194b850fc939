"""The way to the cluster: passing a client's request on, or asking something in its name."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mlcommons_py.errors import Unavailable
from mlcommons_py.gateway.exchange import Exchange
from mlcommons_py.gateway.headers import asked, render
from mlcommons_py.gateway.passage import REPEATABLE, Dress, Ended, Passage
from mlcommons_py.gateway.pool import Pool
from mlcommons_py.header_fields import Fields, Headers
from mlcommons_py.upstream import Lost, Upstream

ASKED_AT_ONCE = 16
"""Questions of the service's that may be under way at the cluster besides the requests that are passed on."""

_ANSWER_LIMIT = 64 << 20
_OF_THE_BODY = frozenset(
    {b"content-length", b"content-type", b"content-encoding", b"expect", b"accept", b"accept-encoding"}
)


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


class Gateway:
    """Passes requests on, each in its client's own name: the service's credentials are not known here."""

    def __init__(self, pool: Pool, dress: Dress = asked) -> None:
        self._pool = pool
        self._dress = dress
        self._places = ASKED_AT_ONCE
        self._condition: Callable[[], Awaitable[None]] | None = None
        self._finding_out: asyncio.Future[None] | None = None

    def require(self, condition: Callable[[], Awaitable[None]]) -> None:
        """Pass nothing on until ``condition`` has once raised nothing; it may ask the cluster."""
        self._condition = condition

    async def permitted(self) -> None:
        """Return when something may be passed on; all who wait for that share one look at it.

        Raises:
            MLCommonsError: it may not.
        """
        if self._condition is None:
            return
        if self._finding_out is None:
            self._finding_out = asyncio.ensure_future(self._condition())
            self._finding_out.add_done_callback(self._found_out)
        await asyncio.shield(self._finding_out)

    def _found_out(self, found: asyncio.Future[None]) -> None:
        self._finding_out = None
        if not found.cancelled() and found.exception() is None:  # nobody need wait for it any more
            self._condition = None

    def pass_on(self, exchange: Exchange, ended: Ended) -> None:
        """Pass one request on and its answer back, as they come; ``ended`` is called once when that is over.

        What it is called with where nothing was written: :class:`Unavailable` when no node can be reached, or the
        connection broke before an answer; :class:`Rejected` when too many requests are under way;
        :class:`BadRequest` when it is not clear where the request ends; what :meth:`permitted` raises.
        """
        first = None if self._condition is None else self.permitted
        Passage(self._pool, self._dress, exchange, ended, first).start()

    async def ask(
        self, asker: Asker, target: str, headers: Headers, body: bytes = b"", *, content_type: bytes = b""
    ) -> Reply:
        """Ask the cluster something in a client's name, whose credentials are in ``headers``; return all it answers.

        Raises:
            Unavailable: it cannot be reached, or breaks off.
            Rejected: too many requests are under way.
        """
        own = [pair for pair in Fields(headers).end_to_end() if pair[0].lower() not in _OF_THE_BODY]
        if body:
            own += [(b"Content-Type", content_type or b"application/json"), (b"Content-Length", b"%d" % len(body))]
        # Who calls is to be found out however many uploads stand still.
        if has_own_place := self._places > 0:
            self._places -= 1
        elif not self._pool.entered():
            await self._pool.enter()
        try:
            return await self._asked(asker, target, Fields(own), body)
        finally:
            if has_own_place:
                self._places += 1
            else:
                self._pool.leave()

    async def _asked(self, asker: Asker, target: str, fields: Fields, body: bytes) -> Reply:
        method = asker.method.encode()
        fresh = False
        while True:
            upstream = (None if fresh else self._pool.kept()) or await self._pool.connect()
            sent = self._dress(fields, asker.address, asker.scheme, upstream.authority, in_chunks=False)
            try:
                head = render(b"%b %b HTTP/1.1" % (method, target.encode()), sent)
                return await self._whole(upstream, asker.method, head + body)
            except Lost as fault:
                upstream.abort("lost")
                if fresh or upstream.served < 2 or method not in REPEATABLE:
                    raise Unavailable(f"the cluster did not answer: {fault}") from fault
                fresh = True
            except BaseException:
                upstream.abort("given up")
                raise

    async def _whole(self, upstream: Upstream, method: str, request: bytes) -> Reply:
        came = asyncio.Event()
        parts, length = [], 0
        upstream.begin(method, request, came.set)
        try:
            while upstream.head is None or not upstream.complete:
                if upstream.lost is not None:
                    raise Lost(upstream.lost)
                await came.wait()
                came.clear()
                parts.append(upstream.taken())
                length += len(parts[-1])
                if length > _ANSWER_LIMIT:
                    raise Lost("its answer is too long")
        finally:
            upstream.release()
        self._pool.give_back(upstream)
        return Reply(upstream.head.status, upstream.head.fields.pairs, b"".join(parts))

    def close(self) -> None:
        """Hang up on the cluster."""
        if self._finding_out is not None:
            self._finding_out.cancel()
        self._pool.close()

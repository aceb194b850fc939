"""Whether the cluster knows who calls: it decides, by the credentials that the client sends."""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import orjson

from mlcommons_py.errors import Forbidden, IllegalArgument, Rejected, Unavailable
from mlcommons_py.gateway.passing import Asker, Gateway, Reply
from mlcommons_py.header_fields import Fields, Headers
from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.asked import Asked
from mlcommons_py.rest.asking import relayed
from mlcommons_py.rest.binding import is_private
from mlcommons_py.settings import Operator

log = logging.getLogger(__name__)

PATH = "/_plugins/_security/authinfo"
"""Answers 200 to whoever the cluster knows, 401 to others; a cluster without the security plugin has no such path."""

FRESH_SECONDS = 5.0
"""How long an answer holds before the cluster is asked again."""

WAITED_SECONDS = 10.0
"""How long nobody waits for its next answer: so long may somebody go on whom the cluster does not know any more."""

DOWN_SECONDS = 300.0
"""How long it holds while the cluster cannot be asked, so that deployed models go on answering."""

ASK_SECONDS = 10.0
"""How long the cluster may take to say who somebody is: to hash a password takes a loaded one seconds."""

_PATIENCE_SECONDS = 2.0
_NOBODY_KNOWN = (
    "the cluster has no security plugin, so that nobody knows who calls, and other machines can reach this service;"
    " listen on 127.0.0.1, or allow it with --insecure"
)
_AWAY_SECONDS = 2 * ASK_SECONDS  # by then it was asked again
_ATTEMPTS = 4
_ATTEMPTS_SECONDS = 0.5  # a node that is down is said to be within a second
_MOST = 10_000
_SHOWN = (b"authorization", b"cookie", b"x-forwarded-for", b"x-proxy-user", b"x-proxy-roles", b"securitytenant")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        user: the name that the cluster knows them by; None where it has no security plugin.
    """

    user: str | None


@dataclass(slots=True)
class _Known:
    """Who the cluster said somebody is, when it last did, and when it was last asked."""

    since: float
    asked: float
    user: str | None = None

    def fresh(self, now: float) -> bool:
        """Return whether the cluster need not be asked again."""
        return now - self.asked < FRESH_SECONDS and self.holds_unasked(now)

    def holds(self, now: float) -> bool:
        """Return whether nobody need wait for the cluster's next answer."""
        return now - self.since < WAITED_SECONDS

    def holds_unasked(self, now: float) -> bool:
        """Return whether the answer holds if the cluster cannot be asked."""
        return now - self.since < DOWN_SECONDS


class Identity:
    """Asks the cluster who a client is, once every few seconds for the same credentials.

    Who is known is not kept waiting for it: the question runs beside the request, unless the last answer is too old.
    """

    def __init__(
        self,
        gateway: Gateway,
        clock: Callable[[], float] = time.monotonic,
        seconds: float = ASK_SECONDS,
        patience: float = _PATIENCE_SECONDS,
        *,
        anonymous: bool = True,
    ) -> None:
        """Wait so many seconds for an answer at most, and no longer than ``patience`` if somebody was known before.

        ``anonymous`` says whether everybody is let in where the cluster knows nobody, having no security plugin.
        """
        self._anonymous = anonymous
        self._gateway = gateway
        self._clock = clock
        self._seconds = seconds
        self._patience = patience
        self._known: dict[bytes, _Known] = {}
        self._everybody: _Known | None = None
        self._asking: dict[bytes, asyncio.Task[Caller | Answer]] = {}
        self._away_until = -math.inf

    async def of(self, request: Asked) -> Caller | Answer:
        """Return who a client is, or the cluster's answer to one that it does not know.

        Raises:
            Unavailable: the cluster cannot be asked, and was not lately.
            Forbidden: it knows nobody, and that does not do.
            Rejected: so it is, because too many requests are under way there.
        """
        now = self._clock()
        if self._everybody is not None and self._everybody.fresh(now):  # then it does not matter who it is
            return Caller(self._everybody.user)
        headers = [field for field in Fields(request.headers.raw).end_to_end() if field[0].lower() in _SHOWN]
        who = Asker("GET", request.address or "unknown", request.scheme)
        key = hashlib.sha256(repr((who.address, headers)).encode()).digest()
        known = self._everybody or self._known.get(key)
        if known is not None and known.fresh(now):
            return Caller(known.user)
        if (asking := self._asking.get(key)) is None:
            asking = self._asking[key] = asyncio.create_task(self._settle(who, headers, key, known, now))
            asking.add_done_callback(partial(self._settled, key))
        if known is None or not known.holds_unasked(now):
            # Others may wait for the same answer when this client goes away.
            return await asyncio.shield(asking)
        if not known.holds(now) and now >= self._away_until:
            answered, _ = await asyncio.wait((asking,), timeout=self._patience)
            if answered:
                return asking.result()
            self._away_until = self._clock() + _AWAY_SECONDS
        return Caller(known.user)

    def _settled(self, key: bytes, asking: "asyncio.Task[Caller | Answer]") -> None:
        del self._asking[key]
        if not asking.cancelled():
            asking.exception()  # whoever waits for it gets it; nobody need

    async def _settle(
        self, who: Asker, headers: Headers, key: bytes, known: _Known | None, now: float
    ) -> Caller | Answer:
        try:
            async with asyncio.timeout(self._seconds):
                reply = await self._ask(who, headers)
        except (Rejected, Unavailable, TimeoutError) as fault:
            self._away_until = self._clock() + _AWAY_SECONDS
            if known is not None and known.holds_unasked(now):
                known.asked = self._clock()
                return Caller(known.user)
            if isinstance(fault, TimeoutError):
                raise Unavailable(f"the cluster did not say within {self._seconds:g} s who calls") from fault
            raise
        self._away_until = -math.inf
        return self._heeded(reply, key, known, now)

    async def _ask(self, who: Asker, headers: Headers) -> Reply:
        """Ask the cluster, a few times if it is busy or breaks off: asking changes nothing."""
        from tenacity import (  # only who has a cluster needs it
            AsyncRetrying,
            retry_if_exception_type,
            retry_if_result,
            stop_after_attempt,
            stop_after_delay,
            wait_random_exponential,
        )

        again = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable) | retry_if_result(_passes),
            wait=wait_random_exponential(multiplier=0.05, max=0.4),
            stop=stop_after_attempt(_ATTEMPTS) | stop_after_delay(_ATTEMPTS_SECONDS),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        reply: Reply = await again(self._gateway.ask, who, PATH, headers)
        return reply

    def _heeded(self, reply: Reply, key: bytes, known: _Known | None, now: float) -> Caller | Answer:
        if _has_no_security(reply):
            if not self._anonymous:
                raise Forbidden(_NOBODY_KNOWN)
            if self._everybody is None:
                log.warning("the cluster has no security plugin: it lets everybody in, and so does the service")
            self._everybody = _Known(now, now)
            return Caller(None)
        if _passes(reply) and known is not None and known.holds_unasked(now):
            self._away_until = self._clock() + _AWAY_SECONDS
            known.asked = now
            return Caller(known.user)
        self._everybody = None
        if reply.status != 200:
            self._known.pop(key, None)
            return relayed(reply)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = _Known(now, now, _name(reply))
        return Caller(self._known[key].user)


def identity_of(gateway: Gateway, operator: Operator) -> Identity:
    """Return who says who calls.

    Where other machines can reach the service, nothing is passed on before the cluster told that it knows its users.
    """
    private = is_private(operator)
    if not private:

        async def has_users() -> None:
            if not await _knows_users(gateway):
                raise Forbidden(_NOBODY_KNOWN)

        gateway.require(has_users)
    return Identity(gateway, anonymous=private)


async def require_users(gateway: Gateway) -> None:
    """See to it that the cluster knows who calls; one that cannot be asked now is asked before it is sent anything.

    Raises:
        IllegalArgument: it has no security plugin.
    """
    with suppress(Rejected, Unavailable):
        if not await _knows_users(gateway):
            raise IllegalArgument(_NOBODY_KNOWN)


async def _knows_users(gateway: Gateway) -> bool:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            reply = await gateway.ask(Asker("GET", "unknown", "https"), PATH, [])
    except TimeoutError as fault:
        raise Unavailable(f"the cluster did not say within {ASK_SECONDS:g} s whether it knows its users") from fault
    if _passes(reply):
        raise Unavailable("the cluster cannot say yet whether it knows its users; try again later")
    return not _has_no_security(reply)


def _passes(reply: Reply) -> bool:
    """Return whether an answer tells of the cluster's trouble, not of the client."""
    return reply.status == 429 or reply.status >= 500


def _name(reply: Reply) -> str | None:
    """Return the name that the cluster tells of a client."""
    try:
        told = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None
    name = told.get("user_name") if isinstance(told, dict) else None
    return name if isinstance(name, str) else None


def _has_no_security(reply: Reply) -> bool:
    return reply.status in (400, 404, 405) and b"no handler found" in reply.body

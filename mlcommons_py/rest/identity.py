"""Whether the cluster knows who calls: it decides, by the credentials that the client sends."""

import hashlib
import logging
import time
from dataclasses import dataclass

from starlette.requests import Request as StarletteRequest

from mlcommons_py.errors import Unavailable
from mlcommons_py.gateway.headers import end_to_end
from mlcommons_py.gateway.passing import Asker, Gateway, Reply
from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.asking import relayed

log = logging.getLogger(__name__)

PATH = "/_plugins/_security/authinfo"
"""Answers 200 to whoever the cluster knows, 401 to others; a cluster without the security plugin has no such path."""

FRESH_SECONDS = 5.0
"""How long an answer holds: so long may somebody go on whom the cluster does not know any more."""

DOWN_SECONDS = 300.0
"""How long it holds while the cluster cannot be asked, so that deployed models go on answering."""

_MOST = 10_000
_SHOWN = (b"authorization", b"cookie", b"x-forwarded-for", b"x-proxy-user", b"x-proxy-roles", b"securitytenant")


@dataclass(frozen=True, slots=True)
class _Known:
    since: float


class Identity:
    """Asks the cluster who a client is, once every few seconds for the same credentials."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known: dict[bytes, _Known] = {}
        self._warned = False

    async def refuse(self, request: StarletteRequest) -> Answer | None:
        """Return the cluster's answer to a client that it does not know; None for one that it knows.

        Raises:
            Unavailable: the cluster cannot be asked, and was not lately.
        """
        headers = [field for field in end_to_end(request.headers.raw) if field[0].lower() in _SHOWN]
        client = request.client
        who = Asker("GET", client.host if client else "unknown", request.url.scheme)
        key = hashlib.sha256(repr((who.address, headers)).encode()).digest()
        known = self._known.get(key)
        now = time.monotonic()
        if known is not None and now - known.since < FRESH_SECONDS:
            return None
        try:
            reply = await self._gateway.ask(who, PATH, headers)
        except Unavailable:
            if known is not None and now - known.since < DOWN_SECONDS:
                return None
            raise
        if reply.status == 200 or self._has_no_security(reply):
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = _Known(now)
            return None
        self._known.pop(key, None)
        return relayed(reply)

    def _has_no_security(self, reply: Reply) -> bool:
        without = reply.status in (400, 404, 405) and b"no handler found" in reply.body
        if without and not self._warned:
            self._warned = True
            log.warning("the cluster has no security plugin: it lets everybody in, and so does the service")
        return without

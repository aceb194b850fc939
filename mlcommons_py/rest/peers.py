"""Handing a request to another node, one that runs the model or that has a part of the answer."""

import asyncio
import logging
import random
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpcore
import orjson

from mlcommons_py.errors import Unavailable
from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.request import Request

log = logging.getLogger(__name__)

HANDED_ON = "x-mlcommons-handed-on"
"""Marks a request that came from another node: it is not handed on again."""

_KEPT = (
    "authorization",
    "cookie",
    "x-proxy-user",
    "x-proxy-roles",
    "securitytenant",
    "content-type",
    "accept",
    "user-agent",
    "x-opaque-id",
)
_FAULTS = (
    httpcore.NetworkError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)
_CONNECT_SECONDS = 2.0
_CONNECTIONS = 64
_ASK_SECONDS = 3.0
"""How long an answer that needs every node waits for one of them."""


class Peers:
    """Connections to the other nodes."""

    def __init__(self, seconds: float, trusted: Sequence[Path] = ()) -> None:
        """Wait so many seconds for an answer; ``trusted`` are certificates to believe beside the system's authorities.

        The service's own is one of them: nodes of one cluster often share it, or who signed it.
        """
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._trusted = trusted
        self._waits = {"connect": _CONNECT_SECONDS, "read": seconds, "write": seconds, "pool": seconds}

    async def send(self, request: Request, addresses: Sequence[str]) -> Answer:
        """Return the answer of one of the nodes; one that does not answer is passed over for the next.

        Only for requests that change nothing: a node that broke off may have carried one out.

        Raises:
            Unavailable: none of them answers, or one takes too long.
        """
        headers = [(name, request.headers[name]) for name in _KEPT if name in request.headers]
        for address in random.sample(addresses, len(addresses)):
            try:
                answer = await self._opened().request(
                    request.method,
                    address.rstrip("/") + request.target,
                    headers=[*headers, (HANDED_ON, "1")],
                    content=request.body,
                    extensions={"timeout": self._waits},
                )
            except (httpcore.ReadTimeout, httpcore.WriteTimeout) as fault:
                # It is at it: another would do the same work again, and the client waits no longer anyway.
                raise Unavailable("the node that runs the model took too long") from fault
            except _FAULTS as fault:
                log.warning("node %s does not answer: %s", address, type(fault).__name__)
                continue
            sent = {name.decode().lower(): value.decode() for name, value in answer.headers}
            kept = {name: sent[name] for name in ("retry-after",) if name in sent}
            return Answer(answer.content, answer.status, kept, sent.get("content-type", "application/json"))
        raise Unavailable("none of the nodes that run the model answers")

    async def ask(self, request: Request, address: str) -> dict[str, Any]:
        """Return the JSON object that a node answers to a request's path and body, empty if it does not in time.

        The query is left out: how an answer is written, and which parts of it are shown, is for the node that puts it
        together.
        """
        headers = [(name, request.headers[name]) for name in _KEPT if name in request.headers and name != "accept"]
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                answer = await self._opened().request(
                    "GET",
                    address.rstrip("/") + request.path,
                    headers=[*headers, (HANDED_ON, "1")],
                    content=request.body,
                    extensions={"timeout": self._waits},
                )
            told = orjson.loads(answer.content) if answer.status == 200 else None
        except (TimeoutError, httpcore.ReadTimeout, httpcore.WriteTimeout, orjson.JSONDecodeError, *_FAULTS) as fault:
            log.warning("node %s is left out of an answer: %s", address, type(fault).__name__)
            return {}
        if not isinstance(told, dict):
            log.warning("node %s is left out of an answer: it answers %d", address, answer.status)
            return {}
        return told

    def _opened(self) -> httpcore.AsyncConnectionPool:
        """Return the connections; made when they are first needed, for a service without peers never needs them."""
        if self._pool is None:
            tls = ssl.create_default_context()
            for path in self._trusted:
                tls.load_verify_locations(path)
            self._pool = httpcore.AsyncConnectionPool(tls, max_connections=_CONNECTIONS, keepalive_expiry=30.0)
        return self._pool

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()

"""The door to the cluster: passes requests on whole, and turns what goes wrong on the way into a response."""

import asyncio
import logging
import time

from starlette.requests import Request as StarletteRequest
from starlette.types import Receive, Scope, Send

from mlcommons_py.errors import MLCommonsError, Unavailable
from mlcommons_py.gateway.exchange import EXTENSION, Exchange
from mlcommons_py.gateway.passing import Asker, Gateway
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.rest.answer import Form, error, respond

log = logging.getLogger(__name__)

_TEMPLATE = "cluster"
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})


class Through:
    """An ASGI application that is the cluster behind it; it needs the project's own server beneath.

    Without ``metrics`` who answers counts the requests, too.
    """

    def __init__(self, gateway: Gateway, metrics: Metrics | None) -> None:
        self._gateway = gateway
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        began = time.perf_counter()
        exchange: Exchange = scope["extensions"][EXTENSION]["exchange"]
        method: str = scope["method"]
        client = scope["client"]
        who = Asker(method, client[0] if client else "unknown", scope["scheme"])
        try:
            status = await self._gateway.pass_on(exchange, receive, who)
        except (MLCommonsError, asyncio.CancelledError) as fault:
            if exchange.started or exchange.gone:
                exchange.cut()
                return
            known = fault if isinstance(fault, MLCommonsError) else Unavailable("the service is shutting down")
            status = known.status
            request = StarletteRequest(scope)
            response = await respond(error(known), Form.of(method, request.headers))
            await response(scope, receive, send)
        if self._metrics is not None:
            self._metrics.request(
                _TEMPLATE, method if method in _METHODS else "other", status or 499, time.perf_counter() - began
            )

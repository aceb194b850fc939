"""The door to the cluster: passes requests on whole, and turns what goes wrong on the way into a response."""

import asyncio
import contextlib
import time
from email.utils import formatdate

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from mlcommons_py.errors import MLCommonsError
from mlcommons_py.gateway.exchange import EXTENSION, Exchange
from mlcommons_py.gateway.headers import render
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.rest.answer import Form, error, respond

_TEMPLATE = "cluster"
_METHODS = {name.encode(): name for name in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")}


class Through:
    """The way to another server, such as the cluster; it needs the project's own server beneath.

    Without ``metrics`` who answers counts the requests, too.
    """

    def __init__(self, gateway: Gateway, metrics: Metrics | None) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._refusing: set[asyncio.Task[None]] = set()

    def pass_on(self, exchange: Exchange) -> None:
        """Pass one request on."""
        self._gateway.pass_on(exchange, self._ended)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on that has begun as one of ASGI's."""
        del receive, send  # what they would say and hear the exchange does
        exchange: Exchange = scope["extensions"][EXTENSION]["exchange"]()
        over = asyncio.Event()

        def ended(exchange: Exchange, outcome: int | MLCommonsError) -> None:
            self._ended(exchange, outcome)
            over.set()

        # Only a shutdown cancels it, and then the connection gives up what is passed on.
        with contextlib.suppress(asyncio.CancelledError):
            # As the connection does with those that are no ASGI's: a client that does not read waits with the next.
            await exchange.drain()
            if exchange.disconnected:
                return
            self._gateway.pass_on(exchange, ended)
            await over.wait()

    def _ended(self, exchange: Exchange, outcome: int | MLCommonsError) -> None:
        if isinstance(outcome, MLCommonsError):
            task = asyncio.get_running_loop().create_task(_refuse(exchange, outcome))
            self._refusing.add(task)
            task.add_done_callback(self._refusing.discard)
            outcome = outcome.status
        if self._metrics is not None:
            seconds = time.perf_counter() - exchange.began
            self._metrics.request(_TEMPLATE, _METHODS.get(exchange.method, "other"), outcome or 499, seconds)


async def _refuse(exchange: Exchange, fault: MLCommonsError) -> None:
    fields = Headers(raw=list(zip(exchange.fields.names, (value for _, value in exchange.fields.pairs), strict=True)))
    response = await respond(error(fault), Form.of(exchange.method.decode(), fields))
    headers = [(b"date", formatdate(usegmt=True).encode()), *response.raw_headers]
    if not exchange.keep_alive:
        headers.append((b"connection", b"close"))
    exchange.started = True
    exchange.write(render(STATUS_LINE[response.status_code].rstrip(), headers) + bytes(response.body))
    exchange.finish()

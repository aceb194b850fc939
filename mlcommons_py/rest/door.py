"""The door of one path template: finds a request's handler, and turns what comes of it into a response."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mlcommons_py.errors import IllegalArgument, MLCommonsError, Unavailable
from mlcommons_py.models.documents import CHUNK_SIZE
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.rest.answer import Answer, Events, Form, error, plain_error, respond, stream
from mlcommons_py.rest.asked import Asked
from mlcommons_py.rest.body import Kind, Memory, read_body, refuse_type
from mlcommons_py.rest.identity import Caller, Identity
from mlcommons_py.rest.raw_body import raw_body
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.waiting import Client
from mlcommons_py.settings import Operator
from mlcommons_py.store.patience import awaited

log = logging.getLogger(__name__)

Handler = Callable[[Any, Request], Awaitable[object]]
"""Answers a request, with the :class:`Rooms` that its door was given."""


class Rooms(Protocol):
    """What handlers work with, as far as the door itself needs it."""

    @property
    def operator(self) -> Operator:
        """What the operator chose."""


EVERYWHERE = frozenset({"pretty", "filter_path", "human", "error_trace", "format"})
"""Query parameters that every route takes."""

_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT"})
BODIES_AT_ONCE = 8
"""Bodies of the greatest length that may be in memory at a time."""

TEXT = "text/plain; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    Attributes:
        methods: for instance ``GET,POST``; HEAD comes with GET.
        path: a template such as ``/models/{model_id}``.
        handler: returns a JSON value, an :class:`Answer` or :class:`Events`.
        query: query parameters it takes beside those that every route takes; with ``source`` among them, the body may
            come as that parameter.
        body: ``raw`` takes a chunk's bytes, ``yaml`` JSON and YAML, ``json`` JSON alone.
        abandon: whether the work stops when the client goes away.
        formed: whether the handler itself heeds ``format`` and ``pretty``.
    """

    methods: str
    path: str
    handler: Handler
    query: frozenset[str] = frozenset()
    body: Kind = "json"
    abandon: bool = False
    formed: bool = False


class Door:
    """What all answers have in common: an ASGI application around a function from a request to its answer."""

    def __init__(
        self,
        metrics: Metrics,
        template: str,
        answer: Callable[[Asked], Awaitable[Answer | Events | None]],
        *,
        formed: bool = False,
    ) -> None:
        self._formed = formed
        self._metrics = metrics
        self._template = template
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        request = Asked(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            response = None
        method = request.method if request.method in _METHODS else "other"
        if response is None:
            log.debug("%s %s: the client went away", method, self._template)
            return
        seconds = time.perf_counter() - began
        self._metrics.request(self._template, method, response.status_code, seconds)
        log.debug("%s %s %d %.1f ms", method, self._template, response.status_code, 1e3 * seconds)
        await response(scope, receive, send)

    async def _respond(self, request: Asked) -> Response | None:
        form = Form.of(request.method, request.headers)
        try:
            try:
                request.check_length()
                if not self._formed:
                    form = form.asked(request.query)
                answer = await self._answer(request)
            except MLCommonsError as fault:
                answer = error(fault)
            if isinstance(answer, Events):
                return stream(answer, form)
            return None if answer is None else await respond(answer, form)
        except ClientDisconnect:
            raise
        except asyncio.CancelledError:
            # Only a shutdown that waited long enough cancels a request; its client shall know.
            return await respond(error(Unavailable("the service is shutting down")), form)
        except Exception:
            number = secrets.token_hex(4)
            log.exception("%s %s failed [%s]", request.method, self._template, number)
            hidden = MLCommonsError(f"the service failed on this request; its log says why, under [{number}]")
            return await respond(error(hidden), form)


class Endpoint:
    """Everything under one path template."""

    def __init__(
        self,
        services: Rooms,
        routes: Iterable[Route],
        raw: asyncio.Semaphore,
        bodies: Memory,
        identity: Identity | None,
    ) -> None:
        self._services = services
        self._identity = identity
        self._raw = raw
        self._bodies = bodies
        self._by_method = {method: route for route in routes for method in route.methods.split(",")}

    async def answer(self, request: Asked) -> Answer | Events | None:
        """Return what comes of a request, or None where nobody waits for it any more."""
        caller = Caller(None) if self._identity is None else await self._identity.of(request)
        if isinstance(caller, Answer):
            return caller
        route = self._by_method.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            return self._wrong_method(request)
        self._check_query(route, request)
        announced = request.headers.get("content-length", "0").strip("0") != ""
        if announced and (refusal := refuse_type(route.body, request)) is not None:
            return refusal
        if route.body == "raw":
            directory = self._services.operator.data
            async with raw_body(request, CHUNK_SIZE, "Chunk size exceeds 10MB", directory, self._raw) as body:
                return await self._handle(route, request, body, caller, announced=announced)
        with self._bodies.share() as share:
            limit = self._services.operator.max_body_bytes
            too_long = f"the body is longer than {limit} bytes; send less, or start with a larger max_body_bytes"
            body = await read_body(request, limit, too_long, share)
            return await self._handle(route, request, body, caller, announced=announced)

    async def _handle(
        self, route: Route, request: Asked, body: bytes, caller: Caller, *, announced: bool
    ) -> Answer | Events | None:
        if body and not announced and (refusal := refuse_type(route.body, request)) is not None:
            return refusal
        if not body and "source" in route.query:
            body = request.query.get("source", "").encode()
        known = Request(
            method=request.method,
            path=request.path,
            target=request.target,
            params=request.params,
            query=request.query,
            headers=request.headers,
            body=body,
            client=request.address or "unknown",
            scheme=request.scheme,
            user=caller.user,
        )
        work = route.handler(self._services, known)
        client = request.client
        with awaited() as waiting:
            done = await (_abandonable(work, client) if route.abandon and client is not None else work)
            await waiting.settled()
        if done is _ABANDONED:
            return None
        return done if isinstance(done, Answer | Events) else Answer(done)

    def _check_query(self, route: Route, request: Asked) -> None:
        if request.query and (unknown := sorted(set(request.query) - EVERYWHERE - route.query)):
            listed = ", ".join(f"[{name}]" for name in unknown)
            plural = "s" if len(unknown) > 1 else ""
            raise IllegalArgument(f"request [{request.path}] contains unrecognized parameter{plural}: {listed}")

    def _wrong_method(self, request: Asked) -> Answer:
        allowed = sorted(self._by_method)
        headers = {"allow": ",".join(allowed)}
        if request.method == "OPTIONS":
            return Answer(b"", headers=headers, media_type=TEXT)
        text = f"Incorrect HTTP method for uri [{request.target}] and method [{request.method}]"
        if request.method not in _METHODS:
            text = "Unexpected HTTP method"
        return plain_error(f"{text}, allowed: [{', '.join(allowed)}]", 405, headers)


_ABANDONED = object()


async def _abandonable(work: Awaitable[object], client: Client) -> object:
    """Return what comes of the work, or :data:`_ABANDONED` if the client went away before."""
    worker = asyncio.current_task()
    assert worker is not None
    before = worker.cancelling()
    client.tell(worker.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if client.is_gone and worker.uncancel() <= before:
            return _ABANDONED
        raise
    finally:
        client.tell(None)

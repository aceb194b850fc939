"""The door: finds a request's handler in the table of routes, and turns what comes of it into a response."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from mlcommons_py.errors import IllegalArgument, MLCommonsError
from mlcommons_py.models.documents import CHUNK_SIZE
from mlcommons_py.rest.answer import Answer, error, plain_error, respond
from mlcommons_py.rest.request import Request, read_body
from mlcommons_py.rest.services import Services

log = logging.getLogger(__name__)

Handler = Callable[[Services, Request], Awaitable[object]]

EVERYWHERE = frozenset({"pretty", "filter_path", "human", "error_trace", "format", "source", "source_content_type"})
"""Query parameters that every route takes."""

_JSON_TYPES = frozenset({"application/json", "application/x-ndjson"})
_RAW_TYPES = _JSON_TYPES | {
    "application/octet-stream",
    "application/zip",
    "application/yaml",
    "application/cbor",
    "application/smile",
}
_RAW_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    Attributes:
        methods: for instance ``GET,POST``.
        path: a template such as ``/models/{model_id}``.
        query: query parameters it takes beside those that every route takes.
        body: ``raw`` takes a chunk's bytes, ``json`` all else.
        abandon: whether the work stops when the client goes away.
    """

    methods: str
    path: str
    handler: Handler
    query: frozenset[str] = frozenset()
    body: Literal["json", "raw"] = "json"
    abandon: bool = False


class Endpoint:
    """Everything under one path template: an ASGI application."""

    def __init__(self, path: str, routes: Iterable[Route], services: Services, raw: asyncio.Semaphore) -> None:
        self._path = path
        self._services = services
        self._raw = raw
        self._by_method = {method: route for route in routes for method in route.methods.split(",")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        request = StarletteRequest(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        if response is not None:
            self._services.metrics.request(
                self._path, request.method, response.status_code, time.perf_counter() - began
            )
            await response(scope, receive, send)

    async def _respond(self, request: StarletteRequest) -> Response | None:
        head = request.method == "HEAD"
        route = self._by_method.get("GET" if head else request.method)
        if route is None:
            return await respond(self._wrong_method(request), {}, request.headers, head=head)
        try:
            answer = await self._answer(route, request)
        except MLCommonsError as fault:
            answer = error(fault)
        except (ClientDisconnect, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, self._path)
            answer = error(MLCommonsError("the service failed on this request; its log says why"))
        if answer is None:
            return None
        return await respond(answer, request.query_params, request.headers, head=head)

    async def _answer(self, route: Route, request: StarletteRequest) -> Answer | None:
        path = request.url.path
        unknown = sorted(set(request.query_params) - EVERYWHERE - route.query)
        if unknown:
            listed = ", ".join(f"[{name}]" for name in unknown)
            raise IllegalArgument(
                f"request [{path}] contains unrecognized parameter{'s' if len(unknown) > 1 else ''}: {listed}"
            )
        refusal = _content_type(route, request)
        if refusal is not None:
            return refusal
        # Chunks are big: few are in memory at once, the others wait in their senders.
        async with self._raw if route.body == "raw" else contextlib.nullcontext():
            known = Request(
                method=request.method,
                path=path,
                params=request.path_params,
                query=request.query_params,
                headers=request.headers,
                body=await self._body(route, request),
            )
            work = route.handler(self._services, known)
            done = await (_abandonable(work, request) if route.abandon else work)
        if done is _ABANDONED:
            return None
        return done if isinstance(done, Answer) else Answer(done)

    async def _body(self, route: Route, request: StarletteRequest) -> bytes:
        if route.body == "raw":
            return await read_body(request, CHUNK_SIZE, "Chunk size exceeds 10MB")
        limit = self._services.operator.max_body_bytes
        body = await read_body(
            request, limit, f"the body is longer than {limit} bytes; send less, or start with a larger max_body_bytes"
        )
        if not body and "source" in request.query_params:
            return request.query_params["source"].encode()
        return body

    def _wrong_method(self, request: StarletteRequest) -> Answer:
        allowed = ", ".join(sorted(self._by_method))
        return plain_error(
            f"Incorrect HTTP method for uri [{_uri(request)}] and method [{request.method}], allowed: [{allowed}]",
            405,
            {"allow": allowed.replace(" ", "")},
        )


_ABANDONED = object()


async def _abandonable(work: Awaitable[object], request: StarletteRequest) -> object:
    """Return what comes of the work, or :data:`_ABANDONED` if the client went away before."""
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else _ABANDONED
    finally:
        leaving.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.wait((doing,))


async def _disconnected(request: StarletteRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _content_type(route: Route, request: StarletteRequest) -> Answer | None:
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    given = request.headers.get("content-type")
    if not has_body or (given is None and route.body == "raw"):
        return None
    if given is None:
        return plain_error("Content-Type header is missing", 406)
    kind = given.partition(";")[0].strip().lower()
    if kind in (_RAW_TYPES if route.body == "raw" else _JSON_TYPES):
        return None
    return plain_error(f"Content-Type header [{given}] is not supported", 406)


def _uri(request: StarletteRequest) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    request = StarletteRequest(scope, receive)
    text = f"no handler found for uri [{_uri(request)}] and method [{request.method}]"
    answer = plain_error(text, 400, bare=True)
    response = await respond(answer, {}, request.headers, head=request.method == "HEAD")
    await response(scope, receive, send)


class _Slashes:
    """A trailing slash means nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/" and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)


def web_app(services: Services, table: Iterable[Route]) -> ASGIApp:
    """Return the application of a table of routes."""
    raw = asyncio.Semaphore(_RAW_AT_ONCE)
    by_path: dict[str, list[Route]] = {}
    for route in table:
        by_path.setdefault(route.path, []).append(route)
    # A path without a variable goes before one with: /models/_search is no model.
    paths = sorted(by_path, key=lambda path: [part.startswith("{") for part in path.split("/")])
    routes: list[Any] = [
        StarletteRoute(path, Endpoint(path, by_path[path], services, raw), include_in_schema=False) for path in paths
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    app.router.default = _not_found
    return _Slashes(app)


Params = Mapping[str, str]

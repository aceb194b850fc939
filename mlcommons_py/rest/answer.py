"""What goes back to the client: a value as JSON or YAML, filtered, indented or compressed as it asked."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument, MLCommonsError, RemoteFailed
from mlcommons_py.rest.filter_path import FilterPath
from mlcommons_py.rest.notation import MEDIA_TYPES, Notation, notation_of, write
from mlcommons_py.rest.request import BIG, flag
from mlcommons_py.rest.waiting import client_of

COMPRESSIBLE = 1024
_LEVEL = 1
_GZIP = 31
"""Window bits with which the library writes gzip's head and end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is more than a JSON value with status 200.

    Attributes:
        body: a JSON value, which may hold numpy arrays, or bytes that go out as they are.
        media_type: what the bytes are.
        heavy: whether rendering takes so long that a thread should do it.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = MEDIA_TYPES["json"]
    heavy: bool = False


@dataclass(frozen=True, slots=True)
class Events:
    """An answer that goes out piece by piece, as server-sent events.

    Attributes:
        values: JSON values, each the data of an event; closed when the client goes away.
    """

    values: AsyncGenerator[Any]


@dataclass(frozen=True, slots=True)
class Form:
    """How a client wants its answer.

    Attributes:
        notation: what it is to be written in.
        filter_path: which parts it wants to see; never applied to an error.
        gzip: whether it understands gzip.
        opaque: its ``X-Opaque-Id``, which goes back to it.
        head: whether it wants the head alone.
    """

    notation: Notation = "json"
    pretty: bool = False
    filter_path: str = ""
    gzip: bool = False
    opaque: str | None = None
    head: bool = False

    @classmethod
    def of(cls, method: str, headers: Mapping[str, str]) -> "Form":
        """Return the form that a request's head asks for, its query not yet looked at."""
        return cls(
            notation_of({}, headers.get("accept", "")) or "json",
            gzip=accepts_gzip(headers.get("accept-encoding", "")),
            opaque=headers.get("x-opaque-id"),
            head=method == "HEAD",
        )

    def asked(self, query: Mapping[str, str]) -> "Form":
        """Return the form with what the query asks for.

        Raises:
            IllegalArgument: ``pretty`` or ``format`` has a value that cannot be.
        """
        if not query:
            return self
        notation = notation_of(query) or self.notation
        return Form(notation, flag(query, "pretty"), query.get("filter_path", ""), self.gzip, self.opaque, self.head)


def error(fault: MLCommonsError) -> Answer:
    """Return the answer that OpenSearch gives for an exception."""
    body = {"root_cause": [_described(_root(fault))], **_described(fault)}
    at, inner = body, fault
    while isinstance(cause := inner.__cause__, MLCommonsError):
        at["caused_by"] = _described(cause)
        at, inner = at["caused_by"], cause
    return Answer({"error": body, "status": fault.status}, status=fault.status, headers=fault.headers)


def _described(fault: MLCommonsError) -> dict[str, Any]:
    described: dict[str, Any] = {"type": fault.type, "reason": fault.reason}
    if isinstance(fault, RemoteFailed):
        described["remote"] = fault.remote
    return described


def _root(fault: MLCommonsError) -> MLCommonsError:
    """Return the innermost cause that is OpenSearch's own; an IllegalArgumentException is Java's."""
    cause = fault.__cause__
    if isinstance(cause, MLCommonsError) and not isinstance(cause, IllegalArgument):
        return _root(cause)
    return fault


def plain_error(text: str, status: int, headers: Mapping[str, str] | None = None, *, bare: bool = False) -> Answer:
    """Return the answer that OpenSearch gives before a handler is found: the error is a text."""
    body = {"error": text} if bare else {"error": text, "status": status}
    return Answer(body, status=status, headers=headers or {})


async def respond(answer: Answer, form: Form) -> Response:
    """Return the response for an answer in the form that the request asks for."""
    content = await asyncio.to_thread(_render, answer, form) if answer.heavy else _render(answer, form)
    fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    if len(content) > COMPRESSIBLE:
        fields.append((b"vary", b"accept-encoding"))
        if form.gzip:
            fields.append((b"content-encoding", b"gzip"))
            content = await asyncio.to_thread(_compress, content) if len(content) > BIG else _compress(content)
    fields.append((b"content-length", b"%d" % len(content)))
    if form.opaque is not None:
        fields.append((b"x-opaque-id", form.opaque.encode("latin-1")))
    media_type = answer.media_type if isinstance(answer.body, bytes) else MEDIA_TYPES[form.notation]
    fields.append((b"content-type", media_type.encode("latin-1")))
    return _Written(b"" if form.head else content, answer.status, fields)


class _Written(Response):
    """A response whose header fields are written already: Starlette's own reads each of them again."""

    def __init__(self, content: bytes, status: int, fields: list[tuple[bytes, bytes]]) -> None:
        self.body = content
        self.status_code = status
        self.raw_headers = fields
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write it at once if that can be."""
        client = client_of(scope)
        if client is None or not client.take(self.status_code, self.raw_headers, bytes(self.body)):
            await super().__call__(scope, receive, send)


def stream(events: Events, form: Form) -> Response:
    """Return the response for an answer that goes out piece by piece; what fails on the way is its last event."""
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    if form.opaque is not None:
        headers["x-opaque-id"] = form.opaque
    return StreamingResponse(_frames(events.values), 200, headers, "text/event-stream; charset=UTF-8")


async def _frames(values: AsyncGenerator[Any]) -> AsyncIterator[bytes]:
    async with aclosing(values):
        try:
            async for value in values:
                yield b"data: " + orjson.dumps(value) + b"\n\n"
        except MLCommonsError as fault:
            yield b"data: " + orjson.dumps({"error": fault.reason}) + b"\n\n"


def _compress(content: bytes) -> bytes:
    from isal import isal_zlib  # whose clients are all content with plain answers needs no memory for it

    return isal_zlib.compress(content, _LEVEL, _GZIP)


def _render(answer: Answer, form: Form) -> bytes:
    body = answer.body
    if isinstance(body, bytes):
        return body
    if form.filter_path and answer.status < 400:
        # Arrays and the like become plain lists first.
        body = FilterPath(form.filter_path).of(exact.loads(write(body)))
    return write(body, form.notation, pretty=form.pretty)


@lru_cache(maxsize=16)
def accepts_gzip(header: str) -> bool:
    """Return whether an ``Accept-Encoding`` field allows gzip.

    >>> accepts_gzip("gzip, deflate"), accepts_gzip("gzip;q=0"), accepts_gzip("br"), accepts_gzip("gzip;q=0, *")
    (True, False, False, False)
    """
    allowed: dict[str, bool] = {}
    for part in header.lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";")
        allowed[name] = not weight.startswith("q=") or weight.removeprefix("q=").strip("0.") != ""
    return allowed.get("gzip", allowed.get("x-gzip", allowed.get("*", False)))

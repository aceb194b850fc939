"""A request as handlers see it: its path and query read, its body whole and bounded."""

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.requests import Request as StarletteRequest

from mlcommons_py.errors import BadRequest, ContentTooLong, ParseFailed, ParsingFailed, StatusError

BIG = 64 << 10
"""Bodies longer than this are parsed and rendered in a thread: they would hold up the event loop."""

BODY_SECONDS = 60.0
"""How long a body may pause before it is given up."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Attributes:
        params: what the path template names.
        query: the query parameters, all of them known to the route.
        body: the body, decompressed.
    """

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    async def json(self, missing: str) -> dict[str, Any]:
        """Return the body's object.

        Raises:
            ParseFailed: there is no body; ``missing`` is the text.
            ParsingFailed: it is no JSON, or no object.
        """
        value = await self.json_or_none()
        if value is None:
            raise ParseFailed(missing)
        return value

    async def json_or_none(self) -> dict[str, Any] | None:
        """Return the body's object, or None where there is no body.

        Raises:
            ParsingFailed: it is no JSON, or no object.
        """
        if not self.body.strip():
            return None
        value = await asyncio.to_thread(_parse, self.body) if len(self.body) > BIG else _parse(self.body)
        if not isinstance(value, dict):
            token = {list: "START_ARRAY", str: "VALUE_STRING", bool: "VALUE_BOOLEAN", type(None): "VALUE_NULL"}
            raise ParsingFailed(
                "Failed to parse object: expecting token of type [START_OBJECT] but found"
                f" [{token.get(type(value), 'VALUE_NUMBER')}]"
            )
        return value

    def flag(self, name: str) -> bool:
        """Return whether a query parameter says true; it may stand without a value."""
        value = self.query.get(name, "false")
        if value not in ("", "true", "false"):
            raise BadRequest(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")
        return value != "false"


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise ParsingFailed(f"the body is no valid JSON: {fault}") from fault


async def read_body(request: StarletteRequest, limit: int, too_long: str) -> bytes:
    """Return a request's body, decompressed.

    Raises:
        ContentTooLong: it is longer than ``limit`` bytes; ``too_long`` is the text. Nothing more of it is read.
        StatusError: it stops arriving (408), or is compressed in a way that is not understood (415).
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise ContentTooLong(too_long)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise StatusError(f"Content-Encoding [{encoding}] is not supported; use gzip", 415)
    inflate = None if encoding in ("identity", "") else zlib.decompressobj(wbits=47)
    parts: list[bytes] = []
    size = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                part = await anext(stream, None)
        except TimeoutError as fault:
            raise StatusError(f"the body did not arrive within {BODY_SECONDS:.0f} s of waiting", 408) from fault
        if part is None:
            break
        if inflate is not None:
            part = _inflate(inflate, part, limit - size)
        size += len(part)
        if size > limit:
            raise ContentTooLong(too_long)
        parts.append(part)
    if inflate is not None and size and not inflate.eof:
        raise ParseFailed("the compressed body ends too early")
    return b"".join(parts)


def _inflate(inflate: "zlib._Decompress", part: bytes, room: int) -> bytes:
    try:
        # One byte more than there is room for is enough to know that it is too much.
        return inflate.decompress(part, room + 1)
    except zlib.error as fault:
        raise ParseFailed(f"the compressed body is broken: {fault}") from fault


__all__ = ["BIG", "ClientDisconnect", "Request", "read_body"]

"""What goes back to the client: a value as JSON, filtered, indented or compressed as it asked."""

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.responses import Response

from mlcommons_py.errors import MLCommonsError
from mlcommons_py.rest.filter_path import FilterPath

COMPRESSIBLE = 1024
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is more than a JSON value with status 200.

    Attributes:
        body: a JSON value, or bytes that go out as they are, with ``media_type``.
        heavy: whether rendering takes so long that a thread should do it.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json; charset=UTF-8"
    heavy: bool = False


def error(fault: MLCommonsError) -> Answer:
    """Return the answer that OpenSearch gives for an exception."""
    cause = fault.__cause__
    described: dict[str, Any] = {"type": fault.type, "reason": fault.reason}
    body = {"root_cause": [dict(described)], **described}
    if isinstance(cause, MLCommonsError):
        body["caused_by"] = {"type": cause.type, "reason": cause.reason}
    return Answer({"error": body, "status": fault.status}, status=fault.status, headers=fault.headers)


def plain_error(text: str, status: int, headers: Mapping[str, str] | None = None, *, bare: bool = False) -> Answer:
    """Return the answer that OpenSearch gives before a handler is found: the error is a text."""
    body = {"error": text} if bare else {"error": text, "status": status}
    return Answer(body, status=status, headers=headers or {})


async def respond(answer: Answer, query: Mapping[str, str], headers: Mapping[str, str], *, head: bool) -> Response:
    """Return the response for an answer, as the request's ``pretty``, ``filter_path`` and encodings ask for."""

    def render() -> tuple[bytes, bool]:
        content = answer.body if isinstance(answer.body, bytes) else _render(answer.body, query)
        compress = len(content) > COMPRESSIBLE and accepts_gzip(headers.get("accept-encoding", ""))
        return (gzip.compress(content, _LEVEL, mtime=0), True) if compress else (content, False)

    content, compressed = await asyncio.to_thread(render) if answer.heavy else render()
    sent = {**answer.headers, "content-length": str(len(content))}
    if compressed:
        sent.update({"content-encoding": "gzip", "vary": "accept-encoding"})
    if (opaque := headers.get("x-opaque-id")) is not None:
        sent["x-opaque-id"] = opaque
    return Response(b"" if head else content, answer.status, sent, answer.media_type)


def _render(body: Any, query: Mapping[str, str]) -> bytes:
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    if query.get("pretty", "false") != "false":
        option |= orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    wanted = query.get("filter_path")
    if wanted:
        body = FilterPath(wanted).of(orjson.loads(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)))
    return orjson.dumps(body, option=option)


def accepts_gzip(header: str) -> bool:
    """Return whether an ``Accept-Encoding`` field allows gzip.

    >>> accepts_gzip("gzip, deflate"), accepts_gzip("gzip;q=0"), accepts_gzip("br")
    (True, False, False)
    """
    for part in header.lower().split(","):
        name, _, weight = part.strip().partition(";")
        if name.strip() in ("gzip", "x-gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False

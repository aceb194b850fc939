"""A request as handlers see it: its path and query read, its body whole and bounded."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument, JsonParseFailed, ParseFailed, ParsingFailed

BIG = 64 << 10
"""Bodies longer than this are parsed and compressed in a thread: they would hold up the event loop."""

DEEPEST = 100
"""How deep objects and arrays may be nested; what walks a body does so by recursion."""

_COMMENTED = 1 << 20
"""Longest body whose comments are passed over: what people write by hand is shorter."""

_TEXT_OR_COMMENT = re.compile(rb'("(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z))|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
"""Matches to the end where something is not closed, so that the time it takes grows with the length alone."""

_TOKENS: Mapping[type, str] = {
    list: "START_ARRAY",
    str: "VALUE_STRING",
    bool: "VALUE_BOOLEAN",
    int: "VALUE_NUMBER",
    float: "VALUE_NUMBER",
    type(None): "VALUE_NULL",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Attributes:
        path: as it was sent, without the query.
        target: path and query, as they were sent.
        params: what the path template names.
        query: the query parameters, all of them known to the route.
        body: the body, decompressed.
        user: the name of who asks, as the cluster knows it; None without a cluster, or one that has no security plugin.
        client: the client's address.
        scheme: how it came, ``http`` or ``https``.
    """

    method: str
    path: str
    target: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    client: str = "unknown"
    scheme: str = "http"
    user: str | None = None

    async def json(self, missing: str, *, digits: bool = False) -> dict[str, Any]:
        """Return the body's object; with ``digits`` its numbers keep theirs, see :mod:`mlcommons_py.exact`.

        Raises:
            ParseFailed: there is no body; ``missing`` is the text.
            ParsingFailed: it is no JSON, or no object.
        """
        value = await self.json_or_none(digits=digits)
        if value is None:
            raise ParseFailed(missing)
        return value

    async def json_or_none(self, *, digits: bool = False) -> dict[str, Any] | None:
        """Return the body's object, or None where there is no body; ``digits`` as in :meth:`json`.

        Raises:
            ParsingFailed: it is no JSON, or no object.
        """
        if not self.body.strip():
            return None
        loads = partial(exact.loads, repairs=False) if digits else orjson.loads
        big = len(self.body) > BIG
        value = await asyncio.to_thread(_parse, self.body, loads) if big else _parse(self.body, loads)
        if not isinstance(value, dict):
            raise ParsingFailed(
                f"Failed to parse object: expecting token of type [START_OBJECT] but found [{_TOKENS[type(value)]}]"
            )
        return value

    def flag(self, name: str) -> bool:
        """Return whether a query parameter says true; it may stand without a value.

        Raises:
            IllegalArgument: it says neither true nor false.
        """
        return flag(self.query, name)


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return whether a query parameter says true; it may stand without a value.

    >>> flag({"pretty": ""}, "pretty"), flag({"pretty": "false"}, "pretty"), flag({}, "pretty")
    (True, False, False)

    Raises:
        IllegalArgument: it says neither true nor false.
    """
    value = query.get(name, "false")
    if value not in ("", "true", "false"):
        raise IllegalArgument(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")
    return value != "false"


def _parse(body: bytes, loads: Callable[[bytes], Any] = orjson.loads) -> Any:
    try:
        value = loads(body)
    except ValueError as fault:
        value = _without_comments(body, loads)
        if value is None:
            raise JsonParseFailed(f"the body is no valid JSON: {fault}") from fault
    if body.count(b"{") + body.count(b"[") > DEEPEST and _too_deep(value):
        raise ParsingFailed(f"the body nests objects and arrays more than {DEEPEST} deep")
    return value


def _without_comments(body: bytes, loads: Callable[[bytes], Any]) -> Any:
    """Return the value of a body that is JSON but for comments, which OpenSearch takes; None for any other."""
    if len(body) > _COMMENTED or (b"//" not in body and b"/*" not in body):
        return None
    try:
        return loads(_TEXT_OR_COMMENT.sub(lambda found: found[1] or b" ", body))
    except ValueError:
        return None


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True

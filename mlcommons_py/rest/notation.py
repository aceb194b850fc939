"""JSON values as text: compact, indented as OpenSearch indents, or as YAML."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import orjson

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument

Notation = Literal["json", "yaml"]

MEDIA_TYPES: Mapping[Notation, str] = {"json": "application/json; charset=UTF-8", "yaml": "application/yaml"}

_NAMES: Mapping[str, Notation] = {
    "json": "json",
    "application/json": "json",
    "yaml": "yaml",
    "application/yaml": "yaml",
}
_KEY = re.compile(rb'^( *"(?:[^"\\]|\\.)*"):', re.MULTILINE)
_EMPTY = re.compile(rb"(?:\{\}|\[\])(?=,?$)", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""What a reader of YAML takes for something else than a text where it has no quotes."""

_UNPRINTED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON has as they are and YAML must escape."""


def notation_of(query: Mapping[str, str], accept: str = "") -> Notation | None:
    """Return what a request asks for by ``format`` or, without it, by ``Accept``; None where it asks for nothing.

    An ``Accept`` field that names none of these is as good as none.

    Raises:
        IllegalArgument: ``format`` has another value.
    """
    asked = query.get("format", "")
    if not asked:
        return _NAMES.get(accept.partition(";")[0].strip().lower())
    if asked.lower() not in _NAMES:
        raise IllegalArgument(f"format [{asked}] is not supported; use json or yaml")
    return _NAMES[asked.lower()]


def write(value: Any, notation: Notation = "json", *, pretty: bool = False) -> bytes:
    """Return a JSON value, which may hold numpy arrays, as text.

    >>> print(write({"a": [], "b": {"c": 1}}, pretty=True).decode(), end="")
    {
      "a" : [ ],
      "b" : {
        "c" : 1
      }
    }
    >>> print(write({"a": [], "b": [{"c": "x", "d": 1}]}, "yaml").decode(), end="")
    ---
    a: []
    b:
    - c: "x"
      d: 1
    """
    if notation == "yaml":
        plain = exact.loads(orjson.dumps(value, default=exact.default, option=orjson.OPT_SERIALIZE_NUMPY))
        return ("---" + "".join(_nested(plain, "\n"))).encode() + b"\n"
    option = orjson.OPT_SERIALIZE_NUMPY
    if not pretty:
        return orjson.dumps(value, default=exact.default, option=option)
    option |= orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    indented = orjson.dumps(value, default=exact.default, option=option)
    return _EMPTY.sub(lambda found: found[0][:1] + b" " + found[0][1:], _KEY.sub(rb"\1 :", indented))


def _nested(value: Any, line: str) -> Iterator[str]:
    """Yield the parts of what follows a key; ``line`` begins a line as far in as the value stands."""
    if not isinstance(value, Mapping | list) or not value:
        yield " " + _scalar(value)
        return
    yield from _members(value, line)


def _members(value: Mapping[str, Any] | Sequence[Any], line: str) -> Iterator[str]:
    """Yield the parts of an object or a list that is not empty, each member on a line of its own."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            name = key if _PLAIN.fullmatch(key) and key.lower() not in _WORDS else _scalar(key)
            yield f"{line}{name}:"
            yield from _nested(inner, line if isinstance(inner, list) else line + "  ")
        return
    for inner in value:
        yield f"{line}-"
        parts = _nested(inner, line + "  ")
        # The first line of what is within stands beside the dash.
        yield " " + next(parts).lstrip()
        yield from parts


def _scalar(value: Any) -> str:
    text = orjson.dumps(value, default=exact.default).decode()
    return _UNPRINTED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

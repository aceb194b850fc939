"""JSONPath as Jayway's library reads it, which connectors are written for.

A path that can find one value only gives that value, any other a list. What a path may cost is bounded: paths come with
requests, too.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.path_dialect import at_most, environment

if TYPE_CHECKING:
    from jsonpath import JSONPath

Steps = tuple[str | int | None, ...]
"""Names, positions and, as None, wildcards."""

MISSING: Any = object()
"""What :func:`read` returns where the path leads nowhere."""

_LONGEST = 1000
_MOST_DESCENTS = 2
_MOST_FOUND = 100_000
_SECONDS = 2.0
"""How long one path may look: filters can make the time grow with the square of the value."""

_ODD_NAME = re.compile(
    r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?<!\.)\.(?![A-Za-z_\u0080-\uffff][\w\-\u0080-\uffff]*(?:[.\[]|$))([^.\[\]()*'"\s?][^.\[\]()'"\s?]*)"""
)
"""A quoted name, or one after a dot that the library wants quoted."""

_FUNCTION = re.compile(r"\.(length|size|min|max|avg|sum|keys|first|last)\(\)$")


@dataclass(frozen=True, slots=True)
class Path:
    """A path, read.

    Attributes:
        is_definite: whether it can find one value only.
        function: what is done to what it finds, such as ``length``.
        steps: of a path that is nothing but names, positions and wildcards (None), these; no steps of any other.
    """

    text: str
    query: "JSONPath"
    is_definite: bool
    function: str | None
    steps: Steps = ()


def read(value: Any, path: str) -> Any:
    """Return what a path finds in a value, or :data:`MISSING`.

    Raises:
        IllegalArgument: it is no path, or finds too much.
    """
    compiled = of(path)
    if compiled.text == "$":
        return _applied(compiled.function, value)
    found = _found(compiled, value)
    if compiled.is_definite:
        return _applied(compiled.function, found[0]) if found else MISSING
    if not found and not _leads_somewhere(compiled.query, value):
        return MISSING
    return _applied(compiled.function, found)


def entries(value: Any, path: str) -> list[Any]:
    """Return the objects that have what a path finds, such as ``$.data[*].embedding``; none of a path of another form.

    Raises:
        IllegalArgument: it is no path, or finds too much.
    """
    compiled = of(path)
    *before, last = compiled.steps or (None,)
    if not isinstance(last, str) or before[-1:] != [None]:
        return []
    holding = _found(replace(compiled, steps=tuple(before)), value)
    return [one for one in holding if isinstance(one, dict) and last in one]


def places(value: Any, path: str) -> list[tuple[str | int, ...]]:
    """Return where in a value a path finds something: the keys and the positions that lead there.

    Raises:
        IllegalArgument: it is no path, or finds too much.
    """
    return [tuple(match.parts) for match in _matches(of(path).query, value)]


def of(path: str) -> Path:
    """Return a path, read.

    Raises:
        IllegalArgument: it is none, or costs too much.
    """
    return _of(path.strip())  # what is remembered is as short as a path may be


@lru_cache(256)
def _of(path: str) -> Path:
    from jsonpath import JSONPath, JSONPathError

    text = path
    if not text.startswith(("$", "@")):
        text = f"${text}" if text.startswith("[") else f"$.{text}"
    function = _FUNCTION.search(text)
    if function is not None:
        text = text[: function.start()]
    if len(text) > _LONGEST or text.count("..") > _MOST_DESCENTS:
        raise IllegalArgument(
            f"[{path[:100]}] is too much for a JSONPath: {_LONGEST} characters are allowed, and {_MOST_DESCENTS} [..]"
        )
    if "?" not in text:
        text = _ODD_NAME.sub(lambda match: match[1] or f"['{match[2]}']", text)
    try:
        query = environment().compile(text)
    except (JSONPathError, re.error, RecursionError, ValueError) as fault:
        raise IllegalArgument(
            f"[{path}] is no JSONPath: {str(fault).splitlines()[0] if str(fault) else fault!r}"
        ) from fault
    if not isinstance(query, JSONPath):
        raise IllegalArgument(f"[{path}] is no JSONPath: there must be one path only")
    return Path(text, query, query.singular_query(), function[1] if function else None, _steps(query))


def _steps(query: "JSONPath") -> Steps:
    """Return the steps of a path that the library need not walk; none of one that has more than steps."""
    from jsonpath.segments import JSONPathChildSegment
    from jsonpath.selectors import IndexSelector, NameSelector, WildcardSelector

    steps: list[str | int | None] = []
    for segment in query.segments:
        if type(segment) is not JSONPathChildSegment or len(segment.selectors) != 1:
            return ()
        selector = segment.selectors[0]
        if type(selector) is NameSelector:
            steps.append(selector.name)
        elif type(selector) is IndexSelector:
            steps.append(selector.index)
        elif type(selector) is WildcardSelector:
            steps.append(None)
        else:
            return ()
    return tuple(steps)


def _found(path: Path, value: Any) -> list[Any]:
    """Return the values that a path finds, in order."""
    if not path.steps:
        return [match.value for match in _matches(path.query, value)]
    found = [value]
    for step in path.steps:
        # As the library does, in the same order, without an object for each value that it passes.
        if step is None:
            each = [one.values() if isinstance(one, dict) else one for one in found if isinstance(one, dict | list)]
            found = [inner for one in each for inner in one]
        elif isinstance(step, str):
            found = [one[step] for one in found if isinstance(one, dict) and step in one]
        else:
            found = [inner for one in found for inner in _at(one, step)]
    return _bounded(found, path.query)


def _at(value: Any, position: int) -> list[Any]:
    """Return what is at a position of a list, or under its digits in an object."""
    if isinstance(value, dict):
        return [value[str(position)]] if str(position) in value else []
    return [value[position]] if isinstance(value, list) and -len(value) <= position < len(value) else []


def _matches(query: "JSONPath", value: Any) -> list[Any]:
    from jsonpath import JSONPathError

    if not isinstance(value, dict | list):
        return []  # the library would read a text as JSON
    try:
        with at_most(_SECONDS):
            found = list(islice(query.finditer(value), _MOST_FOUND + 1))
    except (JSONPathError, RecursionError) as fault:
        raise IllegalArgument(f"the JSONPath [{query}] fails: {fault}") from fault
    except TimeoutError as fault:
        raise IllegalArgument(f"the JSONPath [{query}] takes longer than {_SECONDS:.0f} s") from fault
    return _bounded(found, query)


def _bounded(found: list[Any], query: "JSONPath") -> list[Any]:
    if len(found) > _MOST_FOUND:
        raise IllegalArgument(f"the JSONPath [{query}] finds more than {_MOST_FOUND} values")
    return found


def _leads_somewhere(query: "JSONPath", value: Any) -> bool:
    """Whether there is what comes before the first part of a path that can find several values."""
    from jsonpath import JSONPath

    before = []
    for segment in query.segments:
        if not JSONPath(env=query.env, segments=[segment]).singular_query():
            break
        before.append(segment)
    return not before or bool(_matches(JSONPath(env=query.env, segments=before), value))


def _applied(function: str | None, value: Any) -> Any:
    if function is None:
        return value
    if function in ("length", "size"):
        return len(value) if isinstance(value, dict | list | str) else MISSING
    if function == "keys":
        return list(value) if isinstance(value, dict) else MISSING
    if not isinstance(value, list) or not value:
        return MISSING
    if function in ("first", "last"):
        return value[0 if function == "first" else -1]
    numbers = [one for one in value if isinstance(one, int | float) and not isinstance(one, bool)]
    return _REDUCED[function](numbers) if numbers else MISSING


_REDUCED: Mapping[str, Callable[[list[float]], float]] = {
    "min": min,
    "max": max,
    "sum": sum,
    "avg": lambda numbers: sum(numbers) / len(numbers),
}

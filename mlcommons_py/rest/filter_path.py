"""``filter_path``: which parts of an answer a client wants to see."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

_NOTHING = object()


class FilterPath:
    """A list of dotted paths: ``*`` stands for one key or a part of it, ``**`` for any number, ``-`` before excludes.

    >>> FilterPath("a.*.c,-a.x").of({"a": {"b": {"c": 1, "d": 2}, "x": {"c": 3}}})
    {'a': {'b': {'c': 1}}}
    """

    def __init__(self, paths: str) -> None:
        listed = [path.strip() for path in paths.split(",") if path.strip()]
        self._excludes = [path[1:].split(".") for path in listed if path.startswith("-")]
        self._includes = [path.split(".") for path in listed if not path.startswith("-")]

    def of(self, value: Any) -> Any:
        """Return what is wanted of a JSON value; an object without anything wanted is empty."""
        if self._excludes:
            value = _without(value, self._excludes)
        if self._includes:
            kept = _only(value, self._includes)
            value = {} if kept is _NOTHING else kept
        return value


def _steps(paths: Sequence[list[str]], key: str) -> list[list[str]]:
    """Return what is left of paths after a key; an empty path is one that ends there."""
    left: list[list[str]] = []
    for path in paths:
        if not path:
            continue
        if path[0] == "**":
            left.append(path)
            left += _steps([path[1:]], key)
        elif fnmatchcase(key, path[0]):
            left.append(path[1:])
    return left


def _only(value: Any, paths: Sequence[list[str]]) -> Any:
    if any(not path or path == ["**"] for path in paths):
        return value
    if isinstance(value, list):
        kept = [one for one in (_only(element, paths) for element in value) if one is not _NOTHING]
        return kept or _NOTHING
    if not isinstance(value, dict):
        return _NOTHING
    found = {}
    for key, inner in value.items():
        left = _steps(paths, key)
        if left and (one := _only(inner, left)) is not _NOTHING:
            found[key] = one
    return found or _NOTHING


def _without(value: Any, paths: Sequence[list[str]]) -> Any:
    if isinstance(value, list):
        return [_without(element, paths) for element in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, inner in value.items():
        left = _steps(paths, key)
        if not any(not path or path == ["**"] for path in left):
            kept[key] = _without(inner, left) if left else inner
    return kept

"""Which fields of a document a hit shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.fields import like


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """Patterns of the dotted paths to show, and of those not to.

    Attributes:
        includes: none means everything.
    """

    includes: Sequence[str] = ()
    excludes: Sequence[str] = ()

    def names(self, field: str) -> bool:
        """Return whether a field is asked for by its very name."""
        return field in self.includes and not _covers(self.excludes, field)

    def of(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is shown of a document."""
        return self._object(source, "", inside=not self.includes)

    def _object(self, source: Mapping[str, Any], path: str, *, inside: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, value in source.items():
            at = f"{path}.{key}" if path else key
            if _covers(self.excludes, at):
                continue
            included = inside or _covers(self.includes, at)
            kept = self._value(value, at, inside=included)
            # Of what is not asked for itself, only the parts that are.
            if included or kept not in (None, {}, []):
                shown[key] = kept
        return shown

    def _value(self, value: Any, path: str, *, inside: bool) -> Any:
        if isinstance(value, Mapping):
            return self._object(value, path, inside=inside)
        if isinstance(value, list):
            kept = [self._value(one, path, inside=inside) for one in value]
            return kept if inside else [one for one in kept if one not in (None, {}, [])]
        return value if inside else None


def _covers(patterns: Sequence[str], path: str) -> bool:
    return any(like(path, pattern) for pattern in patterns)


def source_filter(given: object) -> SourceFilter | None:
    """Return the filter that ``_source`` stands for; None where no source is wanted.

    Raises:
        ParsingFailed: it is of the wrong form.
    """
    if given is False or given == "false":
        return None
    if given is True or given == "true":
        return SourceFilter()
    if not isinstance(given, Mapping):
        return SourceFilter(_names(given))
    patterns: dict[str, list[str]] = {"includes": [], "excludes": []}
    for key, names in given.items():
        side = {"include": "includes", "exclude": "excludes"}.get(key, key)
        if side not in patterns:
            raise ParsingFailed(f"[_source] does not support [{key}]")
        patterns[side] += _names(names)
    return SourceFilter(**patterns)


def _names(given: object) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        raise ParsingFailed("[_source] takes true, false, field names, or an object of [includes] and [excludes]")
    return list(listed)

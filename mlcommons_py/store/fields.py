"""The values of a document's fields, as queries, sorts and aggregations see them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"\w+", re.UNICODE)
TEXT_FIELDS = frozenset({"name", "description", "error", "connector.name", "connector.description"})
"""Fields that ML Commons maps as text: a query without ``.keyword`` sees their words, not their value."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that a search looks at."""

    index: str
    id: str
    seq_no: int
    version: int
    source: Mapping[str, Any]

    def values(self, field: str) -> list[Any]:
        """Return the values under a dotted path; arrays count as all of their elements."""
        if field == "_id":
            return [self.id]
        if field == "_index":
            return [self.index]
        return list(_descend(self.source, without_keyword(field).split(".")))


def without_keyword(field: str) -> str:
    """Return the field that a ``.keyword`` sub-field belongs to."""
    return field.removesuffix(".keyword")


def is_text(field: str) -> bool:
    """Return whether queries see a field's words instead of its value."""
    return field in TEXT_FIELDS


def words(value: object) -> list[str]:
    """Return the words of a value as the standard analyser cuts them, roughly: runs of letters and digits, lowered.

    >>> words("All-MiniLM, L6")
    ['all', 'minilm', 'l6']
    """
    return [word.lower() for word in _WORD.findall(plain(value))]


def plain(value: object) -> str:
    """Return a value as a keyword field holds it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _descend(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _descend(one, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, Mapping):
        # A key may itself have dots: {"a.b": 1} and {"a": {"b": 1}} are the same to OpenSearch.
        for length in range(1, len(path) + 1):
            key = ".".join(path[:length])
            if key in value:
                yield from _descend(value[key], path[length:])

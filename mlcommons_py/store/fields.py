"""The values of a document's fields, as queries, sorts and aggregations see them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from dataclasses import field as made_by
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from mlcommons_py.errors import IllegalArgument

_MAX_PATH = 255
_WORD = re.compile(r"\w+", re.UNICODE)
TEXT_FIELDS = frozenset({"name", "description", "error", "connector.name", "connector.description"})
"""Fields that ML Commons maps as text: a query without ``.keyword`` sees their words, not their value."""
DATE_FIELDS = frozenset(
    "created_time last_updated_time last_registered_time last_deployed_time last_undeployed_time create_time"
    " last_update_time".split()
)
"""Fields that ML Commons maps as dates; they hold milliseconds since 1970."""

_all_text: ContextVar[bool] = ContextVar("all_text", default=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that a search looks at."""

    index: str
    id: str
    seq_no: int
    version: int
    source: Mapping[str, Any]
    _texts: dict[str, list[list[str]]] = made_by(default_factory=dict, repr=False, compare=False)
    _counts: dict[str, Counter[str]] = made_by(default_factory=dict, repr=False, compare=False)

    def values(self, field: str) -> list[Any]:
        """Return the values under a dotted path; arrays count as all of their elements, objects have none."""
        if field == "_id":
            return [self.id]
        if field == "_index":
            return [self.index]
        if field == "_seq_no":
            return [self.seq_no]
        return [one for one in _descend(self.source, _path(field)) if not isinstance(one, Mapping)]

    def texts(self, field: str) -> list[list[str]]:
        """Return the words of each value under a dotted path."""
        if field not in self._texts:
            self._texts[field] = [words(value) for value in self.values(field)]
        return self._texts[field]

    def counts(self, field: str) -> Counter[str]:
        """Return how often each word is in the values under a dotted path."""
        if field not in self._counts:
            self._counts[field] = Counter(word for text in self.texts(field) for word in text)
        return self._counts[field]

    def has(self, field: str) -> bool:
        """Return whether there is any value at a dotted path or below."""
        if field in ("_id", "_index", "_seq_no"):
            return True
        return any(True for value in _descend(self.source, _path(field)) for _ in _paths(value, field))

    def fields(self) -> set[str]:
        """Return the dotted paths of all values."""
        return set(_paths(self.source, ""))


def without_keyword(field: str) -> str:
    """Return the field that a ``.keyword`` sub-field belongs to."""
    return field.removesuffix(".keyword")


def like(name: str, pattern: str) -> bool:
    """Return whether a field's name is what a pattern describes, in which ``*`` alone has a meaning.

    >>> like("connector.name", "*.name"), like("ax", "a?")
    (True, False)
    """
    return name == pattern or ("*" in pattern and fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]")))


def is_text(field: str) -> bool:
    """Return whether queries see a field's words instead of its value."""
    return field in TEXT_FIELDS or (_all_text.get() and not field.startswith("_") and not field.endswith(".keyword"))


def refuse_text(field: str, where: str) -> None:
    """Refuse a field of text where each document's value is needed; ``where`` is what needs it.

    Raises:
        IllegalArgument: it is one.
    """
    if is_text(field):
        raise IllegalArgument(
            "Text fields are not optimised for operations that require per-document field data like aggregations and"
            f" sorting, so these operations are disabled by default. Please use [{field}.keyword] in [{where}] instead."
        )


@contextmanager
def every_field_text() -> Iterator[None]:
    """Let queries that are compiled and run inside see the words of every field."""
    token = _all_text.set(True)
    try:
        yield
    finally:
        _all_text.reset(token)


def date(milliseconds: float) -> str:
    """Return a date as an aggregation shows it beside its milliseconds.

    >>> date(1_700_000_002_500)
    '2023-11-14T22:13:22.500Z'
    """
    whole = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(milliseconds))
    return whole.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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


def is_number(value: object) -> bool:
    """Return whether a value is a number; to JSON, unlike to Python, true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def comparable(value: Any) -> tuple[int, Any]:
    """Return a value in a form that sorts among all others: numbers by size, then texts."""
    return (0, value) if is_number(value) else (1, plain(value))


def _path(field: str) -> list[str]:
    path = without_keyword(field).split(".")
    # No document is that deep, and following a path takes time that grows with the square of its length.
    return path if len(path) <= _MAX_PATH else [field]


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


def _paths(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _paths(inner, f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        for one in value:
            yield from _paths(one, at)
    elif value is not None:
        yield at

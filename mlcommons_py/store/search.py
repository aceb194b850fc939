"""A search body over the documents of one index: which are found, in what order, and how they are shown."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cmp_to_key
from typing import Any

from mlcommons_py.errors import IllegalArgument, ParsingFailed
from mlcommons_py.store import CONTENT
from mlcommons_py.store.aggregations import compile_aggregations
from mlcommons_py.store.fields import Candidate, is_text
from mlcommons_py.store.leaves import comparable
from mlcommons_py.store.query import compile_query

MAX_WINDOW = 10_000
_KEYS = frozenset(
    "query from size sort _source aggs aggregations track_total_hits version seq_no_primary_term search_after"
    " min_score track_scores timeout".split()
)


class Search:
    """A search, understood.

    Raises:
        ParsingFailed: the body has a key or a clause that cannot be done; the text names it.
        IllegalArgument: a number is out of bounds.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        for key in body:
            if key not in _KEYS:
                raise ParsingFailed(f"Unknown key for a {_token(body[key])} in [{key}].")
        self._match = compile_query(body.get("query") or {"match_all": {}})
        self._aggregations = compile_aggregations(body.get("aggs", body.get("aggregations")) or {})
        self._from, self._size = _count(body, "from", 0), _count(body, "size", 10)
        if self._from + self._size > MAX_WINDOW:
            raise IllegalArgument(
                f"Result window is too large, from + size must be less than or equal to: [{MAX_WINDOW}]"
                f" but was [{self._from + self._size}]"
            )
        self._sort = _sort(body.get("sort"))
        self._after = _after(body.get("search_after"), self._sort, self._from)
        self._keeps = source_filter(body.get("_source", True))
        self._total = body.get("track_total_hits", True)
        if not isinstance(self._total, bool | int):
            raise ParsingFailed("[track_total_hits] must be true, false or a number")
        self._minimum = body.get("min_score")
        if self._minimum is not None and not isinstance(self._minimum, int | float):
            raise ParsingFailed("[min_score] must be a number")
        self._version, self._seq_no = bool(body.get("version")), bool(body.get("seq_no_primary_term"))

    @property
    def wants_content(self) -> bool:
        """Whether hits show binary content, which they do only if it is asked for by name."""
        return self._keeps is not None and self._keeps.names(CONTENT)

    def run(self, documents: Iterable[Candidate], content: Callable[[Candidate], str | None]) -> dict[str, Any]:
        """Return OpenSearch's answer; ``content`` reads a hit's binary content in base64."""
        began = time.monotonic()
        scored = [(score, one) for one in documents if (score := self._match(one)) is not None]
        if self._minimum is not None:
            scored = [pair for pair in scored if pair[0] >= self._minimum]
        total = len(scored)
        order = self._sort or [_Key("_score", downwards=True, missing_first=False)]
        ranked: list[Row] = [([key.of(score, one) for key in order], score, one) for score, one in scored]

        def compare(one: Row, other: Row) -> int:
            return _compare_keys(order, one[0], other[0]) or one[2].seq_no - other[2].seq_no

        ranked.sort(key=cmp_to_key(compare))
        if self._after is not None:
            ranked = [row for row in ranked if _compare_keys(order, row[0], self._after) > 0]
        shown = ranked[self._from : self._from + self._size]
        by_score = any(key.field == "_score" for key in order)
        best = max((score for _, score, _ in ranked), default=None) if by_score and shown else None
        hits: dict[str, Any] = {}
        if self._total is not False:
            limit = total if self._total is True else self._total
            hits["total"] = {"value": min(total, limit), "relation": "eq" if total <= limit else "gte"}
        hits["max_score"] = best
        hits["hits"] = [self._hit(keys, score, one, content, by_score=by_score) for keys, score, one in shown]
        answer = {
            "took": int(1e3 * (time.monotonic() - began)),
            "timed_out": False,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": hits,
        }
        if self._aggregations:
            found = [one for _, one in scored]
            answer["aggregations"] = {name: one(found) for name, one in self._aggregations.items()}
        return answer

    def _hit(
        self,
        keys: Sequence[Any],
        score: float,
        one: Candidate,
        content: Callable[[Candidate], str | None],
        *,
        by_score: bool,
    ) -> dict[str, Any]:
        hit: dict[str, Any] = {"_index": one.index, "_id": one.id}
        if self._version:
            hit["_version"] = one.version
        if self._seq_no:
            hit["_seq_no"], hit["_primary_term"] = one.seq_no, 1
        hit["_score"] = score if by_score else None
        if self._keeps is not None:
            source = dict(one.source)
            if self.wants_content and (packed := content(one)) is not None:
                source[CONTENT] = packed
            hit["_source"] = self._keeps.of(source)
        if self._sort:
            hit["sort"] = [None if key is None else key[1] for key in keys]
        return hit


class _Key:
    """One key of a sort."""

    def __init__(self, field: str, *, downwards: bool, missing_first: bool) -> None:
        self.field, self.downwards, self.missing_first = field, downwards, missing_first

    def of(self, score: float, one: Candidate) -> tuple[int, Any] | None:
        """Return what a document is sorted by; None where it has no value."""
        if self.field == "_score":
            return 0, score
        if self.field in ("_doc", "_seq_no"):
            return 0, one.seq_no
        values = sorted(map(comparable, one.values(self.field)))
        if not values:
            return None
        return values[-1] if self.downwards else values[0]

    def compare(self, one: tuple[int, Any] | None, other: tuple[int, Any] | None) -> int:
        """Return whether one comes before the other (-1), after it (1), or neither (0)."""
        if one == other:
            return 0
        if one is None or other is None:
            return -1 if (one is None) == self.missing_first else 1
        return -1 if (one < other) != self.downwards else 1


Row = tuple[list[tuple[int, Any] | None], float, Candidate]


def _compare_keys(order: Sequence[_Key], one: Sequence[Any], other: Sequence[Any]) -> int:
    return next((way for key, a, b in zip(order, one, other, strict=True) if (way := key.compare(a, b))), 0)


class SourceFilter:
    """Which fields of a document are shown."""

    def __init__(self, includes: Sequence[str], excludes: Sequence[str]) -> None:
        self._includes, self._excludes = includes, excludes

    def names(self, field: str) -> bool:
        """Return whether a field is asked for by its very name."""
        return field in self._includes and field not in self._excludes

    def of(self, source: Mapping[str, Any], path: str = "") -> dict[str, Any]:
        """Return what is shown of an object."""
        shown: dict[str, Any] = {}
        for key, value in source.items():
            at = f"{path}.{key}" if path else key
            if any(_covers(pattern, at) for pattern in self._excludes):
                continue
            if not self._includes or any(_covers(pattern, at) for pattern in self._includes):
                inner = SourceFilter([], self._excludes)
                shown[key] = inner.of(value, at) if isinstance(value, Mapping) else value
            elif isinstance(value, Mapping) and (nested := self.of(value, at)):
                shown[key] = nested
        return shown


def _covers(pattern: str, path: str) -> bool:
    return fnmatchcase(path, pattern)


def source_filter(given: object) -> SourceFilter | None:
    """Return the filter that ``_source`` stands for; None where no source is wanted.

    Raises:
        ParsingFailed: it is of the wrong form.
    """
    if given is False or given == "false":
        return None
    if given is True or given == "true":
        return SourceFilter([], [])
    if isinstance(given, str):
        return SourceFilter([given], [])
    if isinstance(given, Mapping):
        for key in given:
            if key not in ("includes", "include", "excludes", "exclude"):
                raise ParsingFailed(f"Unknown key for a {_token(given[key])} in [_source.{key}].")
        return SourceFilter(
            _names(given.get("includes", given.get("include", []))),
            _names(given.get("excludes", given.get("exclude", []))),
        )
    return SourceFilter(_names(given), [])


def _names(given: object) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ParsingFailed("[_source] takes field names")
    return listed


def _count(body: Mapping[str, Any], key: str, default: int) -> int:
    value = body.get(key, default)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParsingFailed(f"[{key}] must be a whole number, not [{value}]")
    if value < 0:
        raise IllegalArgument(f"[{key}] parameter cannot be negative, found [{value}]")
    return value


def _sort(given: object) -> list[_Key]:
    listed = given if isinstance(given, list) else [] if given is None else [given]
    keys: list[_Key] = []
    for one in listed:
        pairs = one.items() if isinstance(one, Mapping) else [(one, {})]
        keys += [_key(field, options) for field, options in pairs]
    return keys


def _key(field: object, options: object) -> _Key:
    if not isinstance(field, str):
        raise ParsingFailed(f"[sort] takes field names, not [{field}]")
    if is_text(field):
        raise IllegalArgument(f"Text fields are not optimised for sorting; use [{field}.keyword] in [sort]")
    given = {"order": options} if isinstance(options, str) else dict(options) if isinstance(options, Mapping) else None
    if given is None:
        raise ParsingFailed(f"[sort] on [{field}] is malformed")
    order = given.pop("order", "desc" if field == "_score" else "asc")
    missing = given.pop("missing", "_last")
    given.pop("unmapped_type", None)
    for name in given:
        raise ParsingFailed(f"[sort] on [{field}] does not support [{name}]")
    if order not in ("asc", "desc") or missing not in ("_last", "_first"):
        raise ParsingFailed(f"[sort] on [{field}] has a wrong [order] or [missing]")
    return _Key(field, downwards=order == "desc", missing_first=missing == "_first")


def _after(given: object, order: Sequence[_Key], start: int) -> list[tuple[int, Any] | None] | None:
    if given is None:
        return None
    if not order:
        raise IllegalArgument("Sort must contain at least one field.")
    if start:
        raise IllegalArgument("`from` parameter must be set to 0 when `search_after` is used.")
    if not isinstance(given, list) or len(given) != len(order):
        raise IllegalArgument(f"search_after must be a list of {len(order)} value(s), as many as [sort] has keys")
    return [None if value is None else comparable(value) for value in given]


def _token(value: object) -> str:
    if isinstance(value, Mapping):
        return "START_OBJECT"
    if isinstance(value, list):
        return "START_ARRAY"
    if isinstance(value, bool):
        return "VALUE_BOOLEAN"
    if value is None:
        return "VALUE_NULL"
    return "VALUE_STRING" if isinstance(value, str) else "VALUE_NUMBER"

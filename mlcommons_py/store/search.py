"""A search body over the documents of one index: which are found, in what order, and how they are shown."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument, ParsingFailed
from mlcommons_py.store import CONTENT
from mlcommons_py.store.aggregations import compile_aggregations
from mlcommons_py.store.fields import Candidate, is_number
from mlcommons_py.store.parameters import flag
from mlcommons_py.store.query import compile_query, only_ids
from mlcommons_py.store.sorting import Key, Order, Place, read_sort, shown
from mlcommons_py.store.source_filter import source_filter

MAX_WINDOW = 10_000
_KEYS = frozenset(
    "query from size sort _source aggs aggregations track_total_hits version seq_no_primary_term search_after"
    " min_score track_scores timeout".split()
)
_TIME = re.compile(r"\d+(d|h|m|s|ms|micros|nanos)|-1")
_BY_SCORE = (Key("_score", downwards=True),)

Row = tuple[list[Place], float, Candidate]


class Search:
    """A search, understood.

    Raises:
        ParsingFailed: the body has a key or a clause that cannot be done; the text names it.
        IllegalArgument: a number is out of bounds.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        for key in body:
            if key not in _KEYS or body[key] is None:
                raise ParsingFailed(f"Unknown key for a {_token(body[key])} in [{key}].")
        query = body.get("query", {"match_all": {}})
        self._match = compile_query(query)
        self.ids = only_ids(query)
        """The ids outside of which nothing is found; None where any may be."""
        if "aggs" in body and "aggregations" in body:
            raise ParsingFailed("Found two aggregation type definitions: [aggs] and [aggregations]")
        self._aggregations = compile_aggregations(body.get("aggs", body.get("aggregations", {})))
        self._from, self._size = _window(body)
        keys = read_sort(body.get("sort"))
        # By score alone is the order that hits have without a sort, and they look so.
        self._sorted, self._order = tuple(keys) not in ((), _BY_SCORE), Order(keys or _BY_SCORE)
        if "search_after" in body and not self._sorted:
            raise IllegalArgument("Sort must contain at least one field.")
        self._after = self._order.after(body.get("search_after"), self._from)
        self._keeps = source_filter(body.get("_source", True))
        self._limit = _limit(body.get("track_total_hits", True))
        self._minimum = body.get("min_score")
        if self._minimum is not None and not is_number(self._minimum):
            raise ParsingFailed(f"[min_score] must be a number, not [{self._minimum}]")
        # Searches here are short and run whole; the time is only checked.
        if "timeout" in body and not (isinstance(body["timeout"], str) and _TIME.fullmatch(body["timeout"])):
            raise ParsingFailed(f"[timeout] must be a time such as 10s, not [{body['timeout']}]")
        self._version = flag("[version]", body.get("version", False))
        self._seq_no = flag("[seq_no_primary_term]", body.get("seq_no_primary_term", False))
        tracked = flag("[track_scores]", body.get("track_scores", False))
        self._scores, self._best = tracked or self._order.by_score, tracked or not self._sorted

    @property
    def wants_content(self) -> bool:
        """Whether hits show binary content, which they do only if it is asked for by name."""
        return self._keeps is not None and self._keeps.names(CONTENT)

    def matches(self, documents: Iterable[Candidate]) -> list[tuple[float, Candidate]]:
        """Return the documents that are found, each with its score, in no order."""
        found = [(score, one) for one in documents if (score := self._match(one)) is not None]
        return found if self._minimum is None else [pair for pair in found if pair[0] >= self._minimum]

    def run(self, documents: Iterable[Candidate], content: Callable[[Candidate], str | None]) -> dict[str, Any]:
        """Return OpenSearch's answer; ``content`` reads a hit's binary content in base64."""
        began = time.monotonic()
        found = self.matches(documents)
        rows = self._ranked(found)[self._from : self._from + self._size]
        hits: dict[str, Any] = {}
        if self._limit is not None:
            relation = "eq" if len(found) <= self._limit else "gte"
            hits["total"] = {"value": int(min(len(found), self._limit)), "relation": relation}
        best = max((score for score, _ in found), default=None)
        hits["max_score"] = best if self._best and self._size else None
        hits["hits"] = [self._hit(row, content) for row in rows]
        answer = {
            "took": int(1e3 * (time.monotonic() - began)),
            "timed_out": False,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": hits,
        }
        if self._aggregations:
            documents = [one for _, one in found]
            answer["aggregations"] = {name: one(documents) for name, one in self._aggregations.items()}
        return answer

    def _ranked(self, found: Sequence[tuple[float, Candidate]]) -> list[Row]:
        if not self._size:
            return []
        rows: list[Row] = [(self._order.places(score, one), score, one) for score, one in found]
        if self._after is not None:
            rows = [row for row in rows if self._order.comes_after(row[0], self._after)]
        rows.sort(key=lambda row: row[2].seq_no)
        # Python's sort keeps the order of equals, so the last key goes first.
        for number, key in reversed(list(enumerate(self._order.keys))):
            rows.sort(key=lambda row, number=number: row[0][number], reverse=key.downwards)  # type: ignore[misc]
        return rows

    def _hit(self, row: Row, content: Callable[[Candidate], str | None]) -> dict[str, Any]:
        places, score, one = row
        hit: dict[str, Any] = {"_index": one.index, "_id": one.id}
        if self._version:
            hit["_version"] = one.version
        if self._seq_no:
            hit["_seq_no"], hit["_primary_term"] = one.seq_no, 1
        hit["_score"] = score if self._scores else None
        if self._keeps is not None:
            source = one.source
            if self.wants_content and (packed := content(one)) is not None:
                source = {**source, CONTENT: packed}
            hit["_source"] = self._keeps.of(source)
        if self._sorted:
            hit["sort"] = [shown(place) for place in places]
        return hit


def _window(body: Mapping[str, Any]) -> tuple[int, int]:
    start, size = _count(body, "from", 0), _count(body, "size", 10)
    if start + size > MAX_WINDOW:
        raise IllegalArgument(
            f"Result window is too large, from + size must be less than or equal to: [{MAX_WINDOW}]"
            f" but was [{start + size}]. See the search_after parameter for a way to request large data sets."
        )
    return start, size


def _count(body: Mapping[str, Any], key: str, default: int) -> int:
    value = body.get(key, default)
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParsingFailed(f"[{key}] must be a whole number, not [{value}]")
    if value < 0:
        raise IllegalArgument(f"[{key}] parameter cannot be negative, found [{value}]")
    return value


def _limit(given: object) -> float | None:
    """Return up to how many hits are counted; None where their total is not wanted."""
    if given in ("true", "false") or isinstance(given, bool):
        return float("inf") if flag("[track_total_hits]", given) else None
    if not isinstance(given, int) or given < -1:
        raise ParsingFailed(f"[track_total_hits] must be true, false or a whole number of at least 0, not [{given}]")
    return None if given == -1 else given


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

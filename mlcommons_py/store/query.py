"""The query DSL: elasticsearch-dsl's typed tree, walked into a function from a document to its score.

What is not understood is refused, with the clause's name; nothing is ignored.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store import leaves
from mlcommons_py.store.fields import Candidate
from mlcommons_py.store.full_text import FULL_TEXT

if TYPE_CHECKING:
    from elasticsearch_dsl.query import Query

Match = Callable[[Candidate], float | None]
"""Returns a document's score, or None where it does not match."""

MAX_DEPTH = 50


def compile_query(query: object) -> Match:
    """Return the function that a query stands for.

    Raises:
        ParsingFailed: a clause is unknown or malformed; the text names it.
    """
    _check_shape(query, 0)
    return _walk(_parse(query))


def _check_shape(value: object, depth: int) -> None:
    # elasticsearch-dsl recurses without a bound of its own.
    if depth > 4 * MAX_DEPTH:
        raise ParsingFailed(f"The nested depth of the query exceeds the maximum nested depth for queries: {MAX_DEPTH}")
    if isinstance(value, Mapping):
        for one in value.values():
            _check_shape(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            _check_shape(one, depth + 1)


def _parse(query: object) -> "Query":
    from elasticsearch_dsl import Q  # a quarter of a second, and memory, that only searches need
    from elasticsearch_dsl.exceptions import UnknownDslObject

    if not isinstance(query, Mapping):
        raise ParsingFailed("[_na] query malformed, must start with start_object")
    if not query:
        raise ParsingFailed("query malformed, empty clause found")
    if len(query) > 1:
        first, second = list(query)[:2]
        raise ParsingFailed(f"[{first}] malformed query, expected [END_OBJECT] but found [FIELD_NAME] [{second}]")
    ((name, body),) = query.items()
    if not isinstance(body, Mapping):
        raise ParsingFailed(f"[{name}] query malformed, no start_object after query name")
    try:
        parsed: Query = Q(dict(query))
    except UnknownDslObject as fault:
        raise ParsingFailed(f"unknown query [{str(fault).split('`')[1]}]") from fault
    except (TypeError, ValueError, AttributeError) as fault:
        raise ParsingFailed(f"[{name}] query malformed: {fault}") from fault
    return parsed


def _walk(query: object) -> Match:
    from elasticsearch_dsl.query import Query

    if not isinstance(query, Query):
        raise ParsingFailed(f"query malformed, a query was expected instead of [{query}]")
    name: str = query.name
    parameters: dict[str, Any] = dict(query._params)  # noqa: SLF001 - the tree has no other way to its fields
    if name in _COMPOUND:
        match = _COMPOUND[name](parameters)
    elif name in _LEAVES:
        match = _LEAVES[name](parameters)
    else:
        raise ParsingFailed(f"[{name}] query is not supported by the embedded store")
    return match


def _many(value: object) -> list[Match]:
    if value is None:
        return []
    clauses = value if isinstance(value, list | tuple) else [value]
    return [_walk(clause) for clause in clauses]


def _bool(parameters: dict[str, Any]) -> Match:
    must, filters = _many(parameters.pop("must", None)), _many(parameters.pop("filter", None))
    should, must_not = _many(parameters.pop("should", None)), _many(parameters.pop("must_not", None))
    wanted = parameters.pop("minimum_should_match", None)
    boost = leaves.take_boost("bool", parameters)
    leaves.refuse_rest("bool", parameters)
    minimum = (0 if must or filters else min(1, len(should))) if wanted is None else _minimum(wanted, len(should))

    def match(candidate: Candidate) -> float | None:
        if any(one(candidate) is None for one in filters) or any(one(candidate) is not None for one in must_not):
            return None
        score = 0.0
        for one in must:
            if (part := one(candidate)) is None:
                return None
            score += part
        parts = [part for one in should if (part := one(candidate)) is not None]
        if len(parts) < minimum:
            return None
        return boost * (score + sum(parts))

    return match


def _minimum(wanted: object, clauses: int) -> int:
    text = str(wanted).strip()
    percent = text.endswith("%")
    try:
        number = int(text.rstrip("%"))
    except ValueError as fault:
        raise ParsingFailed(f"[bool] failed to parse minimum_should_match [{wanted}]") from fault
    if percent:
        number = int(clauses * number / 100)
    return max(0, clauses + number) if number < 0 else number


def _constant_score(parameters: dict[str, Any]) -> Match:
    filters = _many(parameters.pop("filter", None))
    boost = leaves.take_boost("constant_score", parameters)
    leaves.refuse_rest("constant_score", parameters)
    if len(filters) != 1:
        raise ParsingFailed("[constant_score] requires a 'filter' element")
    (inner,) = filters
    return lambda candidate: None if inner(candidate) is None else boost


def _dis_max(parameters: dict[str, Any]) -> Match:
    queries: Sequence[Match] = _many(parameters.pop("queries", None))
    boost = leaves.take_boost("dis_max", parameters)
    leaves.refuse_rest("dis_max", parameters)
    if not queries:
        raise ParsingFailed("[dis_max] requires 'queries' field with at least one clause")

    def match(candidate: Candidate) -> float | None:
        scores = [score for one in queries if (score := one(candidate)) is not None]
        return boost * max(scores) if scores else None

    return match


_LEAVES = {**leaves.LEAVES, **FULL_TEXT}
_COMPOUND: Mapping[str, Callable[[dict[str, Any]], Match]] = {
    "bool": _bool,
    "constant_score": _constant_score,
    "dis_max": _dis_max,
}

"""Aggregations over the documents that a query found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.fields import Candidate, is_text, plain
from mlcommons_py.store.leaves import comparable
from mlcommons_py.store.query import MAX_DEPTH, compile_query

Aggregation = Callable[[Sequence[Candidate]], dict[str, Any]]


def compile_aggregations(body: object, depth: int = 0) -> Mapping[str, Aggregation]:
    """Return the functions that a search's ``aggs`` stand for, by name.

    Raises:
        ParsingFailed: one is unknown or malformed; the text names it.
    """
    if not isinstance(body, Mapping):
        raise ParsingFailed("[aggs] must be an object")
    if depth > MAX_DEPTH:
        raise ParsingFailed("[aggs] are nested too deeply")
    return {str(name): _compile(str(name), one, depth) for name, one in body.items()}


def _compile(name: str, body: object, depth: int) -> Aggregation:
    if not isinstance(body, Mapping):
        raise ParsingFailed(f"aggregation [{name}] must be an object")
    rest = {key: value for key, value in body.items() if key not in ("aggs", "aggregations", "meta")}
    inner = compile_aggregations(body.get("aggs", body.get("aggregations", {})), depth + 1)
    if len(rest) != 1:
        raise ParsingFailed(f"Expected exactly one aggregation type under [{name}] instead of {sorted(rest)}")
    ((kind, parameters),) = rest.items()
    if not isinstance(parameters, Mapping):
        raise ParsingFailed(f"[{kind}] of aggregation [{name}] must be an object")
    if kind in _BUCKETS:
        return _BUCKETS[kind](dict(parameters), inner)
    if kind not in _METRICS:
        raise ParsingFailed(f"Unknown aggregation type [{kind}]")
    if inner:
        raise ParsingFailed(f"Aggregator [{name}] of type [{kind}] cannot accept sub-aggregations")
    return _metric(kind, dict(parameters))


def _refuse_rest(kind: str, parameters: Mapping[str, Any]) -> None:
    for name in parameters:
        raise ParsingFailed(f"[{kind}] unknown field [{name}]")


def _field(kind: str, parameters: dict[str, Any]) -> str:
    field = parameters.pop("field", None)
    if not isinstance(field, str):
        raise ParsingFailed(f"Required one of fields [field], but none were specified for [{kind}]")
    if is_text(field):
        raise ParsingFailed(
            f"Text fields are not optimised for operations like aggregations: use [{field}.keyword] in [{kind}]"
        )
    return field


def _bucket(found: Sequence[Candidate], inner: Mapping[str, Aggregation]) -> dict[str, Any]:
    return {"doc_count": len(found), **{name: one(found) for name, one in inner.items()}}


def _terms(parameters: dict[str, Any], inner: Mapping[str, Aggregation]) -> Aggregation:
    field, size = _field("terms", parameters), parameters.pop("size", 10)
    minimum, missing = parameters.pop("min_doc_count", 1), parameters.pop("missing", None)
    order = parameters.pop("order", {"_count": "desc"})
    _refuse_rest("terms", parameters)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ParsingFailed(f"[size] must be greater than 0. Found [{size}] in [terms]")
    if not isinstance(order, Mapping) or len(order) != 1 or next(iter(order)) not in ("_count", "_key"):
        raise ParsingFailed("[terms] can be ordered by _count or _key here")
    ((by, direction),) = order.items()
    downwards = direction == "desc"

    def aggregate(found: Sequence[Candidate]) -> dict[str, Any]:
        groups: dict[tuple[int, Any], list[Candidate]] = {}
        shown: dict[tuple[int, Any], Any] = {}
        for one in found:
            values = one.values(field) or ([] if missing is None else [missing])
            for key in dict.fromkeys(map(comparable, values)):
                groups.setdefault(key, []).append(one)
                shown[key] = key[1]
        kept = [(key, members) for key, members in groups.items() if len(members) >= minimum]
        kept.sort(key=lambda pair: pair[0], reverse=by == "_key" and downwards)
        if by == "_count":
            kept.sort(key=lambda pair: len(pair[1]), reverse=downwards)
        buckets = [{"key": shown[key], **_bucket(members, inner)} for key, members in kept[:size]]
        return {
            "doc_count_error_upper_bound": 0,
            "sum_other_doc_count": sum(len(members) for _, members in kept[size:]),
            "buckets": buckets,
        }

    return aggregate


def _filter(parameters: dict[str, Any], inner: Mapping[str, Aggregation]) -> Aggregation:
    match = compile_query(parameters)
    return lambda found: _bucket([one for one in found if match(one) is not None], inner)


def _filters(parameters: dict[str, Any], inner: Mapping[str, Aggregation]) -> Aggregation:
    given = parameters.pop("filters", None)
    _refuse_rest("filters", parameters)
    if not isinstance(given, Mapping):
        raise ParsingFailed("[filters] must be an object of named queries")
    matches = {name: compile_query(query) for name, query in given.items()}
    return lambda found: {
        "buckets": {
            name: _bucket([one for one in found if match(one) is not None], inner) for name, match in matches.items()
        }
    }


def _metric(kind: str, parameters: dict[str, Any]) -> Aggregation:
    field = _field(kind, parameters)
    _refuse_rest(kind, parameters)
    measure = _METRICS[kind]
    return lambda found: {"value": measure([value for one in found for value in one.values(field)])}


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def _average(values: Sequence[Any]) -> float | None:
    numbers = _numbers(values)
    return sum(numbers) / len(numbers) if numbers else None


_BUCKETS: Mapping[str, Callable[[dict[str, Any], Mapping[str, Aggregation]], Aggregation]] = {
    "terms": _terms,
    "filter": _filter,
    "filters": _filters,
}
_METRICS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "value_count": len,
    "cardinality": lambda values: len({plain(value) for value in values}),
    "min": lambda values: min(_numbers(values), default=None),
    "max": lambda values: max(_numbers(values), default=None),
    "sum": lambda values: sum(_numbers(values)),
    "avg": _average,
}

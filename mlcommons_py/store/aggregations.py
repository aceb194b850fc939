"""Aggregations over the documents that a query found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.fields import DATE_FIELDS, Candidate, comparable, date, is_number, refuse_text
from mlcommons_py.store.query import compile_query

Aggregation = Callable[[Sequence[Candidate]], dict[str, Any]]
Named = Mapping[str, Aggregation]

_MAX_DEPTH = 20
_MAX_BUCKETS = 65_535


def compile_aggregations(body: object, depth: int = 0) -> Named:
    """Return the functions that a search's ``aggs`` stand for, by name.

    Raises:
        ParsingFailed: one is unknown or malformed; the text names it.
        IllegalArgument: a field is a text.
    """
    if not isinstance(body, Mapping):
        raise ParsingFailed("[aggs] must be an object of named aggregations")
    if depth > _MAX_DEPTH:
        raise ParsingFailed(f"[aggs] are nested deeper than {_MAX_DEPTH}")
    return {name: _compile(name, one, depth) for name, one in body.items()}


def _compile(name: str, body: object, depth: int) -> Aggregation:
    if not isinstance(body, Mapping):
        raise ParsingFailed(f"Aggregation definition for [{name}] must be an object")
    if any(character in name for character in "[]>"):
        raise ParsingFailed(
            f"Invalid aggregation name [{name}]. Aggregation names can contain any character except '[', ']', and '>'"
        )
    rest = dict(body)
    nested = [rest.pop(key) for key in ("aggs", "aggregations") if key in rest]
    meta = rest.pop("meta", None)
    if len(rest) != 1 or len(nested) > 1:
        raise ParsingFailed(f"Expected one aggregation type in [{name}], found {sorted(map(str, body))}")
    inner = compile_aggregations(nested[0], depth + 1) if nested else {}
    ((kind, parameters),) = rest.items()
    if not isinstance(parameters, Mapping):
        raise ParsingFailed(f"[{kind}] of aggregation [{name}] must be an object")
    if kind in _BUCKETS:
        aggregation = _BUCKETS[kind](dict(parameters), inner)
    elif kind not in _METRICS:
        raise ParsingFailed(f"Unknown aggregation type [{kind}]")
    elif inner:
        raise ParsingFailed(f"Aggregator [{name}] of type [{kind}] cannot accept sub-aggregations")
    else:
        aggregation = _metric(kind, dict(parameters))
    return aggregation if meta is None else lambda found: {"meta": meta, **aggregation(found)}


def _refuse_rest(kind: str, parameters: Mapping[str, Any]) -> None:
    for name in parameters:
        raise ParsingFailed(f"[{kind}] unknown field [{name}]")


def _take_field(kind: str, parameters: dict[str, Any]) -> str:
    field = parameters.pop("field", None)
    if not isinstance(field, str):
        raise ParsingFailed(f"Required one of fields [field], but none were specified in [{kind}]")
    refuse_text(field, kind)
    return field


def _take_count(kind: str, parameters: dict[str, Any], name: str, default: int, least: int) -> int:
    value = parameters.pop(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MAX_BUCKETS:
        raise ParsingFailed(f"[{name}] must be a number from {least} to {_MAX_BUCKETS}. Found [{value}] in [{kind}]")
    return value


def _bucket(found: Sequence[Candidate], inner: Named) -> dict[str, Any]:
    return {"doc_count": len(found), **{name: one(found) for name, one in inner.items()}}


def _terms(parameters: dict[str, Any], inner: Named) -> Aggregation:
    field = _take_field("terms", parameters)
    size = _take_count("terms", parameters, "size", 10, 1)
    minimum = _take_count("terms", parameters, "min_doc_count", 1, 1)
    missing = parameters.pop("missing", None)
    order = _take_order(parameters)
    _refuse_rest("terms", parameters)
    if not isinstance(missing, str | int | float | None):
        raise ParsingFailed(f"[missing] must be a value. Found [{missing}] in [terms]")

    def aggregate(found: Sequence[Candidate]) -> dict[str, Any]:
        groups: dict[tuple[int, Any], list[Candidate]] = {}
        truth: set[tuple[int, Any]] = set()
        for one in found:
            values = one.values(field) or ([] if missing is None else [missing])
            truth |= {comparable(value) for value in values if isinstance(value, bool)}
            for key in dict.fromkeys(map(comparable, values)):
                groups.setdefault(key, []).append(one)
        kept = sorted((item for item in groups.items() if len(item[1]) >= minimum), key=lambda item: item[0])
        # Python's sort keeps the order of equals, so the last rule goes first.
        for by, downwards in reversed(order):
            kept.sort(key=_ORDERS[by], reverse=downwards)
        return {
            "doc_count_error_upper_bound": 0,
            "sum_other_doc_count": sum(len(members) for _, members in kept[size:]),
            "buckets": [
                {**_named(key, field, key in truth), **_bucket(members, inner)} for key, members in kept[:size]
            ],
        }

    return aggregate


def _named(key: tuple[int, Any], field: str, truth: bool) -> dict[str, Any]:
    if truth:
        return {"key": int(key[1] == "true"), "key_as_string": key[1]}
    if field in DATE_FIELDS and is_number(key[1]):
        return {"key": key[1], **_dated("key", key[1])}
    return {"key": key[1]}


def _take_order(parameters: dict[str, Any]) -> list[tuple[str, bool]]:
    given = parameters.pop("order", {"_count": "desc"})
    return [_direction(one) for one in (given if isinstance(given, list) else [given])]


def _direction(order: object) -> tuple[str, bool]:
    if isinstance(order, Mapping) and len(order) == 1:
        ((by, direction),) = order.items()
        if by in _ORDERS and direction in ("asc", "desc"):
            return by, direction == "desc"
    raise ParsingFailed(f"[order] must be one of _count and _key, with asc or desc. Found [{order}] in [terms]")


def _filter(parameters: dict[str, Any], inner: Named) -> Aggregation:
    match = compile_query(parameters)
    return lambda found: _bucket([one for one in found if match(one) is not None], inner)


def _filters(parameters: dict[str, Any], inner: Named) -> Aggregation:
    given = parameters.pop("filters", None)
    _refuse_rest("filters", parameters)
    if isinstance(given, list) and given:
        listed = [_filter(one, inner) for one in given]
        return lambda found: {"buckets": [one(found) for one in listed]}
    if not isinstance(given, Mapping) or not given:
        raise ParsingFailed("[filters] must be an object or an array of queries in [filters]")
    named = {name: _filter(one, inner) for name, one in given.items()}
    return lambda found: {"buckets": {name: one(found) for name, one in named.items()}}


def _metric(kind: str, parameters: dict[str, Any]) -> Aggregation:
    field = _take_field(kind, parameters)
    _refuse_rest(kind, parameters)
    measure = _METRICS[kind]
    dated = field in DATE_FIELDS and kind in _OF_DATES

    def aggregate(found: Sequence[Candidate]) -> dict[str, Any]:
        value = measure([value for one in found for value in one.values(field)])
        return {"value": value, **_dated("value", value)} if dated else {"value": value}

    return aggregate


def _dated(name: str, value: Any) -> dict[str, str]:
    try:
        return {} if value is None else {f"{name}_as_string": date(value)}
    except OverflowError:  # beyond the year 9999
        return {}


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values if is_number(value)]


def _average(values: Sequence[Any]) -> float | None:
    numbers = _numbers(values)
    return sum(numbers) / len(numbers) if numbers else None


_ORDERS: Mapping[str, Callable[[tuple[tuple[int, Any], list[Candidate]]], Any]] = {
    "_count": lambda bucket: len(bucket[1]),
    "_key": lambda bucket: bucket[0],
}
_OF_DATES = ("min", "max", "avg", "sum")
_BUCKETS: Mapping[str, Callable[[dict[str, Any], Named], Aggregation]] = {
    "terms": _terms,
    "filter": _filter,
    "filters": _filters,
}
_METRICS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "value_count": len,
    "cardinality": lambda values: len(set(map(comparable, values))),
    "min": lambda values: min(_numbers(values), default=None),
    "max": lambda values: max(_numbers(values), default=None),
    "sum": lambda values: sum(_numbers(values), 0.0),
    "avg": _average,
}

"""Queries that compare a field's values."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.fields import Candidate, is_number, is_text, like, plain
from mlcommons_py.store.parameters import Maker, Match, refuse_rest, scalar, take_boost, take_field, take_flag
from mlcommons_py.store.patterns import compile_pattern, lucene_expression, prefix_expression, wildcard_expression

MAX_TERMS = 65_536
"""Most values of a ``terms`` query; OpenSearch's limit."""


def scored(holds: Callable[[Candidate], bool], boost: float) -> Match:
    """Return the match that gives each document that holds the same score."""
    return lambda candidate: boost if holds(candidate) else None


def one_of(wanted: Iterable[Any]) -> Callable[[Any], bool]:
    """Return the function that says whether a stored value is one of those asked for.

    Numbers are compared by value, whichever way they were asked for; all else as text.
    """
    texts = frozenset(map(plain, wanted))
    numbers = frozenset(number for value in wanted if (number := _number(value)) is not None)
    return lambda value: value in numbers if is_number(value) else plain(value) in texts


def _number(value: Any) -> int | float | None:
    if is_number(value):
        return value  # type: ignore[no-any-return]
    for kind in (int, float):
        try:
            return None if isinstance(value, bool) else kind(value)
        except ValueError:
            continue
    return None


def terms_of(candidate: Candidate, field: str) -> Iterable[Any]:
    """Return what an index would hold of a field: its values, or the words of a text."""
    return candidate.counts(field) if is_text(field) else candidate.values(field)


def _match_all(parameters: dict[str, Any]) -> Match:
    boost = take_boost("match_all", parameters)
    refuse_rest("match_all", parameters)
    return lambda _: boost


def _match_none(parameters: dict[str, Any]) -> Match:
    take_boost("match_none", parameters)
    refuse_rest("match_none", parameters)
    return lambda _: None


def _ids(parameters: dict[str, Any]) -> Match:
    values = parameters.pop("values", None)
    boost = take_boost("ids", parameters)
    refuse_rest("ids", parameters)
    if isinstance(values, str):
        values = [values]
    if not isinstance(values, list | tuple):
        raise ParsingFailed("[ids] requires providing a values element")
    wanted = frozenset(str(scalar("ids", "values", value)) for value in values)
    return scored(lambda candidate: candidate.id in wanted, boost)


def _term(parameters: dict[str, Any]) -> Match:
    field, value, options = take_field("term", parameters, "value")
    folded, boost = take_flag("term", options, "case_insensitive"), take_boost("term", options)
    refuse_rest("term", options)
    if folded:
        lowered = plain(value).lower()
        return scored(lambda one: any(plain(term).lower() == lowered for term in terms_of(one, field)), boost)
    wanted = one_of([value])
    return scored(lambda one: any(map(wanted, terms_of(one, field))), boost)


def _terms(parameters: dict[str, Any]) -> Match:
    boost = take_boost("terms", parameters)
    named = {name: values for name, values in parameters.items() if name != "_name"}
    if len(named) != 1:
        raise ParsingFailed(f"[terms] query malformed, one field was expected instead of {sorted(map(str, named))}")
    ((field, values),) = named.items()
    if not isinstance(values, list | tuple):
        raise ParsingFailed(f"[terms] query on [{field}] requires an array of values")
    if len(values) > MAX_TERMS:
        raise ParsingFailed(f"[terms] query on [{field}] has {len(values)} terms, more than the maximum of {MAX_TERMS}")
    wanted = one_of([scalar("terms", field, value) for value in values])
    return scored(lambda one: any(map(wanted, terms_of(one, field))), boost)


def _exists(parameters: dict[str, Any]) -> Match:
    field = parameters.pop("field", None)
    boost = take_boost("exists", parameters)
    refuse_rest("exists", parameters)
    if not isinstance(field, str):
        raise ParsingFailed("[exists] must be provided with a [field]")
    if "*" in field:
        return scored(lambda one: any(like(there, field) for there in one.fields()), boost)
    return scored(lambda one: one.has(field), boost)


def _by_pattern(query: str, expression: Callable[[str], str], *keys: str) -> Maker:
    def make(parameters: dict[str, Any]) -> Match:
        field, value, options = take_field(query, parameters, *keys)
        folded, boost = take_flag(query, options, "case_insensitive"), take_boost(query, options)
        if query == "regexp" and options.get("flags") == "ALL":
            del options["flags"]
        refuse_rest(query, options)
        if query == "wildcard" and not plain(value):  # Lucene's finds nothing, not even an empty value
            return lambda _: None
        # The words of a text are in lower case, and so OpenSearch lowers a wildcard that looks for them.
        folded = folded or (query == "wildcard" and is_text(field))
        holds = compile_pattern(query, expression(plain(value)), folded=folded)
        return scored(lambda one: any(holds(plain(term)) for term in terms_of(one, field)), boost)

    return make


_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gte": lambda one, bound: bool(one >= bound),
    "gt": lambda one, bound: bool(one > bound),
    "lte": lambda one, bound: bool(one <= bound),
    "lt": lambda one, bound: bool(one < bound),
}


def _range(parameters: dict[str, Any]) -> Match:
    outer = take_boost("range", parameters)
    named = {name: body for name, body in parameters.items() if name != "_name"}
    if len(named) != 1:
        raise ParsingFailed(f"[range] query malformed, one field was expected instead of {sorted(map(str, named))}")
    ((field, body),) = named.items()
    if hasattr(body, "to_dict"):
        body = body.to_dict()
    if not isinstance(body, Mapping):
        raise ParsingFailed(f"[range] query malformed, [{field}] must be an object with [gte], [gt], [lte] or [lt]")
    options = dict(body)
    boost = outer * take_boost("range", options)
    given = [(order, options.pop(name)) for name, order in _ORDERS.items() if name in options]
    refuse_rest("range", options)
    limits = [(order, _bound(scalar("range", field, bound))) for order, bound in given if bound is not None]

    def within(value: Any) -> bool:
        if not is_number(value):
            return all(order(plain(value), text) for order, (text, _) in limits)
        for order, (text, number) in limits:
            if number is None:
                raise ParsingFailed(f"[range] query has the bound [{text}] on [{field}], which has numbers")
            if not order(value, number):
                return False
        return True

    return scored(lambda one: any(within(value) for value in terms_of(one, field)), boost)


def _bound(value: Any) -> tuple[str, int | float | None]:
    return plain(value), _number(value)


LEAVES: dict[str, Maker] = {
    "match_all": _match_all,
    "match_none": _match_none,
    "ids": _ids,
    "term": _term,
    "terms": _terms,
    "exists": _exists,
    "prefix": _by_pattern("prefix", prefix_expression, "value"),
    "wildcard": _by_pattern("wildcard", wildcard_expression, "value", "wildcard"),
    "regexp": _by_pattern("regexp", lucene_expression, "value"),
    "range": _range,
}

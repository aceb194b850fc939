"""Queries that look at fields: each maker takes a query's parameters and returns a function from document to score."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import re2

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.fields import Candidate, is_text, plain, words

Match = Callable[[Candidate], float | None]
Maker = Callable[[dict[str, Any]], Match]


def refuse_rest(query: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that nobody took.

    Raises:
        ParsingFailed: there is one.
    """
    for name in parameters:
        if name != "_name":
            raise ParsingFailed(f"[{query}] query does not support [{name}]")


def take_boost(query: str, parameters: dict[str, Any]) -> float:
    """Take the boost out of a query's parameters; 1 where there is none."""
    boost = parameters.pop("boost", 1.0)
    if isinstance(boost, bool) or not isinstance(boost, int | float) or not math.isfinite(boost) or boost < 0:
        raise ParsingFailed(f"[{query}] [boost] must be a number of at least 0, not [{boost}]")
    return float(boost)


def _field(query: str, parameters: dict[str, Any], key: str) -> tuple[str, Any, dict[str, Any]]:
    """Return the field of a query, the value asked for, and the other options."""
    named = {name: value for name, value in parameters.items() if name not in ("boost", "_name")}
    if len(named) != 1:
        raise ParsingFailed(f"[{query}] query malformed, one field was expected instead of {sorted(named)}")
    ((field, body),) = named.items()
    outer = {name: value for name, value in parameters.items() if name == "boost"}
    if hasattr(body, "to_dict"):
        body = body.to_dict()
    if not isinstance(body, Mapping):
        return field, body, outer
    options = {**outer, **body}
    if key not in options:
        raise ParsingFailed(f"[{query}] query on [{field}] has no [{key}]")
    return field, options.pop(key), options


def _scalar(query: str, field: str, value: Any) -> Any:
    if value is None or isinstance(value, list | Mapping):
        raise ParsingFailed(f"[{query}] query on [{field}] does not support a value of type {type(value).__name__}")
    return value


def _flag(query: str, options: dict[str, Any], name: str) -> bool:
    value = options.pop(name, False)
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise ParsingFailed(f"[{query}] [{name}] must be true or false, not [{value}]")


def _scored(holds: Callable[[Candidate], bool], boost: float) -> Match:
    return lambda candidate: boost if holds(candidate) else None


def equal(one: Any, other: Any) -> bool:
    """Return whether a stored value is the one asked for: numbers by value, all else as text."""
    numbers = (int, float)
    if isinstance(one, numbers) and not isinstance(one, bool):
        try:
            return float(one) == float(other) and not isinstance(other, bool)
        except (TypeError, ValueError):
            return False
    return plain(one) == plain(other)


def _terms_of(candidate: Candidate, field: str) -> Iterable[Any]:
    values = candidate.values(field)
    if is_text(field):
        return [word for value in values for word in words(value)]
    return values


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
    wanted = frozenset(map(str, values))
    return _scored(lambda candidate: candidate.id in wanted, boost)


def _term(parameters: dict[str, Any]) -> Match:
    field, value, options = _field("term", parameters, "value")
    _scalar("term", field, value)
    folded, boost = _flag("term", options, "case_insensitive"), take_boost("term", options)
    refuse_rest("term", options)
    if folded:
        lowered = plain(value).lower()
        return _scored(lambda one: any(plain(term).lower() == lowered for term in _terms_of(one, field)), boost)
    return _scored(lambda one: any(equal(term, value) for term in _terms_of(one, field)), boost)


def _terms(parameters: dict[str, Any]) -> Match:
    boost = take_boost("terms", parameters)
    field, values, options = _field("terms", parameters, "value")
    refuse_rest("terms", options)
    if not isinstance(values, list | tuple):
        raise ParsingFailed(f"[terms] query on [{field}] requires a list of values")
    wanted = [_scalar("terms", field, value) for value in values]
    return _scored(lambda one: any(equal(term, value) for term in _terms_of(one, field) for value in wanted), boost)


def _exists(parameters: dict[str, Any]) -> Match:
    field = parameters.pop("field", None)
    boost = take_boost("exists", parameters)
    refuse_rest("exists", parameters)
    if not isinstance(field, str):
        raise ParsingFailed("[exists] must be provided with a [field]")
    return _scored(lambda one: bool(one.values(field)), boost)


def _pattern(query: str, expression: str, *, folded: bool) -> Callable[[str], bool]:
    options = re2.Options()
    options.case_sensitive = not folded
    options.log_errors = False
    options.dot_nl = True
    try:
        compiled = re2.compile(expression, options=options)
    except re2.error as fault:
        raise ParsingFailed(f"[{query}] cannot use the pattern [{expression[:200]}]: {fault}") from fault
    return lambda text: compiled.fullmatch(text) is not None


def wildcard_expression(pattern: str) -> str:
    r"""Return the regular expression of a wildcard pattern.

    >>> wildcard_expression("a*b?\\*")
    'a.*b.\\*'
    """
    made, escaped = [], False
    for character in pattern:
        if escaped or character not in "*?\\":
            made.append(re2.escape(character))
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            made.append(".*" if character == "*" else ".")
    return "".join(made)


def _by_pattern(query: str, expression: Callable[[str], str], keys: tuple[str, ...]) -> Maker:
    def make(parameters: dict[str, Any]) -> Match:
        body = next((value for name, value in parameters.items() if name not in ("boost", "_name")), None)
        given = dict(body) if isinstance(body, Mapping) else {}
        key = next((one for one in keys if one in given), keys[0])
        field, value, options = _field(query, parameters, key)
        _scalar(query, field, value)
        folded, boost = _flag(query, options, "case_insensitive"), take_boost(query, options)
        options.pop("rewrite", None)
        if options.pop("flags", "ALL") not in ("ALL", "NONE") or "max_determinized_states" in options:
            raise ParsingFailed(f"[{query}] query does not support [flags] or [max_determinized_states]")
        refuse_rest(query, options)
        holds = _pattern(query, expression(plain(value)), folded=folded)
        return _scored(lambda one: any(holds(plain(term)) for term in _terms_of(one, field)), boost)

    return make


_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gte": lambda one, bound: bool(one >= bound),
    "gt": lambda one, bound: bool(one > bound),
    "lte": lambda one, bound: bool(one <= bound),
    "lt": lambda one, bound: bool(one < bound),
}


def comparable(value: Any) -> tuple[int, Any]:
    """Return a value in a form that sorts among all others: numbers by size, then texts."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, value
    return 1, plain(value)


def _range(parameters: dict[str, Any]) -> Match:
    outer_boost = take_boost("range", parameters)
    if len(parameters) != 1:
        raise ParsingFailed(f"[range] query malformed, one field was expected instead of {sorted(parameters)}")
    ((field, body),) = parameters.items()
    if hasattr(body, "to_dict"):
        body = body.to_dict()
    if not isinstance(body, Mapping):
        raise ParsingFailed(f"[range] query on [{field}] requires an object")
    options = dict(body)
    boost = outer_boost * take_boost("range", options)
    bounds = [(_ORDERS[name], options.pop(name)) for name in tuple(_ORDERS) if name in options]
    refuse_rest("range", options)
    limits = [(order, _scalar("range", field, bound)) for order, bound in bounds if bound is not None]

    def within(value: Any) -> bool:
        return all(order(*_same_kind(value, bound)) for order, bound in limits)

    return _scored(lambda one: any(within(value) for value in _terms_of(one, field)), boost)


def _same_kind(value: Any, bound: Any) -> tuple[Any, Any]:
    kind, stored = comparable(value)
    if kind == 0:
        try:
            return stored, float(bound) if isinstance(bound, str) else bound
        except ValueError as fault:
            raise ParsingFailed(f"[range] query has the bound [{bound}] on a field of numbers") from fault
    return stored, plain(bound)


LEAVES: dict[str, Maker] = {
    "match_all": _match_all,
    "match_none": _match_none,
    "ids": _ids,
    "term": _term,
    "terms": _terms,
    "exists": _exists,
    "prefix": _by_pattern("prefix", lambda value: re2.escape(value) + ".*", ("value",)),
    "wildcard": _by_pattern("wildcard", wildcard_expression, ("value", "wildcard")),
    "regexp": _by_pattern("regexp", lambda value: value, ("value",)),
    "range": _range,
}

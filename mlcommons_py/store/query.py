"""The query DSL: elasticsearch-dsl's typed tree, walked into a function from a document to its score.

What is not understood is refused, with the clause's name; nothing is ignored.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.compound import Clauses
from mlcommons_py.store.fields import Candidate, plain
from mlcommons_py.store.full_text import FULL_TEXT, boosted
from mlcommons_py.store.leaves import LEAVES
from mlcommons_py.store.parameters import Maker, Match, check_count, least, refuse_rest, take_boost, take_flag
from mlcommons_py.store.percolate import NAME as PERCOLATE
from mlcommons_py.store.percolate import percolate
from mlcommons_py.store.query_string import query_string

if TYPE_CHECKING:
    from elasticsearch_dsl.query import Query

MAX_DEPTH = 50
"""Queries that may stand in one another."""

_IMPORTING = threading.Lock()

_INNER: Mapping[str, tuple[str, ...]] = {
    "bool": ("must", "filter", "should", "must_not"),
    "constant_score": ("filter",),
    "dis_max": ("queries",),
}


def compile_query(query: object) -> Match:
    """Return the function that a query stands for.

    Raises:
        ParsingFailed: a clause is unknown or malformed; the text names it.
    """
    _check_form(query, 0)
    return _walk(_parse(query))


def _check_form(query: object, depth: int) -> None:
    """Refuse what OpenSearch does not take though elasticsearch-dsl does, and what would make it recurse too deep."""
    if depth > MAX_DEPTH:
        raise ParsingFailed(f"The nested depth of the query exceeds the maximum nested depth for queries: {MAX_DEPTH}")
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
    for key in _INNER.get(name, ()):
        inner = body.get(key, [])
        for clause in inner if isinstance(inner, list | tuple) else [inner]:
            _check_form(clause, depth + 1)


def _parse(query: object) -> "Query":
    # A quarter of a second, and memory, that only searches need. Its modules import each other in a circle: of two
    # threads that import it at once one would see a half of it.
    with _IMPORTING:
        from elasticsearch_dsl import Q
        from elasticsearch_dsl.exceptions import UnknownDslObject

    assert isinstance(query, Mapping)
    name = next(iter(query))
    try:
        parsed: Query = Q(dict(query))
    except UnknownDslObject as fault:
        raise ParsingFailed(f"unknown query [{str(fault).split('`')[1]}]") from fault
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError) as fault:
        raise ParsingFailed(f"[{name}] query malformed: {fault}") from fault
    return parsed


def _walk(query: "Query") -> Match:
    name: str = query.name
    parameters: dict[str, Any] = dict(query._params)  # noqa: SLF001 - the tree has no other way to its fields
    if name not in _MAKERS:
        raise ParsingFailed(f"[{name}] query is not supported by the embedded store")
    return _MAKERS[name](parameters)


def _take_clauses(parameters: dict[str, Any], key: str) -> list[Match]:
    given = parameters.pop(key, [])
    return [_walk(clause) for clause in (given if isinstance(given, list | tuple) else [given])]


def _bool(parameters: dict[str, Any]) -> Match:
    must, filters, should, must_not = (_take_clauses(parameters, key) for key in _INNER["bool"])
    for clauses in (must, filters, should, must_not):
        check_count("bool", len(clauses))
    wanted = parameters.pop("minimum_should_match", None)
    boost = take_boost("bool", parameters)
    if not take_flag("bool", parameters, "adjust_pure_negative", default=True):
        raise ParsingFailed("[bool] query does not support [adjust_pure_negative] of [false]")
    refuse_rest("bool", parameters)
    minimum = None if wanted is None else least("bool", wanted, len(should))
    return boosted(Clauses(must, filters, should, must_not, minimum).match(), boost)


def _constant_score(parameters: dict[str, Any]) -> Match:
    filters = _take_clauses(parameters, "filter")
    boost = take_boost("constant_score", parameters)
    refuse_rest("constant_score", parameters)
    if len(filters) != 1:
        raise ParsingFailed("[constant_score] requires a 'filter' element")
    (inner,) = filters
    return lambda candidate: None if inner(candidate) is None else boost


def _dis_max(parameters: dict[str, Any]) -> Match:
    queries = _take_clauses(parameters, "queries")
    boost = take_boost("dis_max", parameters)
    refuse_rest("dis_max", parameters)
    if not queries:
        raise ParsingFailed("[dis_max] requires 'queries' field with at least one clause")

    def match(candidate: Candidate) -> float | None:
        return max((score for one in queries if (score := one(candidate)) is not None), default=None)

    return boosted(match, boost)


_MAKERS: Mapping[str, Maker] = {
    **LEAVES,
    **FULL_TEXT,
    "query_string": query_string,
    "bool": _bool,
    "constant_score": _constant_score,
    "dis_max": _dis_max,
    PERCOLATE: percolate(compile_query),
}


def only_ids(query: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the ids outside of which a query, compiled before, finds nothing; None where it does not say.

    >>> sorted(only_ids({"bool": {"filter": [{"ids": {"values": ["a", "b"]}}]}}))
    ['a', 'b']
    """
    ((name, body),) = query.items()
    if name == "ids":
        values = body["values"]
        return frozenset([values] if isinstance(values, str) else map(str, values))
    if name in ("term", "terms") and "_id" in body:
        return _ids_of(name, body["_id"])
    named = {"bool": ("must", "filter"), "constant_score": ("filter",)}.get(name, ())
    listed = [body[key] if isinstance(body[key], list | tuple) else [body[key]] for key in named if key in body]
    sets = [ids for clauses in listed for one in clauses if (ids := only_ids(one)) is not None]
    return frozenset.intersection(*sets) if sets else None


def _ids_of(name: str, given: Any) -> frozenset[str] | None:
    if name == "terms":
        return frozenset(map(plain, given))
    if not isinstance(given, Mapping):
        return frozenset([plain(given)])
    return None if given.get("case_insensitive") else frozenset([plain(given["value"])])

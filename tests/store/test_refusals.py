"""What the embedded store cannot do is refused with the clause's name, never ignored."""

import time
from typing import Any

import pytest

from mlcommons_py.errors import IllegalArgument, ParsingFailed
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.store.fields import Candidate
from mlcommons_py.store.query import MAX_DEPTH
from mlcommons_py.store.search import Search

INDEX = "i"


def deep(levels: int) -> dict[str, Any]:
    """Return a query of queries in one another."""
    query: dict[str, Any] = {"match_all": {}}
    for _ in range(levels):
        query = {"bool": {"must": [query]}}
    return query


QUERIES: list[tuple[dict[str, Any] | Any, str]] = [
    ({"foo": {}}, "unknown query [foo]"),
    ({"bool": {"must": [{"foo": {}}]}}, "unknown query [foo]"),
    ({}, "query malformed, empty clause found"),
    ([], "[_na] query malformed, must start with start_object"),
    ("match_all", "[_na] query malformed, must start with start_object"),
    ({"bool": {"must": "match_all"}}, "[_na] query malformed, must start with start_object"),
    ({"bool": {"must": [None]}}, "[_na] query malformed, must start with start_object"),
    ({"bool": {"should": [{}]}}, "query malformed, empty clause found"),
    ({"match_all": []}, "[match_all] query malformed, no start_object after query name"),
    (
        {"term": {"a": 1}, "match_all": {}},
        "[term] malformed query, expected [END_OBJECT] but found [FIELD_NAME] [match_all]",
    ),
    ({"match_all": {"x": 1}}, "[match_all] query does not support [x]"),
    ({"bool": {"x": 1}}, "[bool] query does not support [x]"),
    ({"bool": {"minimum_should_match": "2<75%"}}, "[bool] does not support [minimum_should_match] of [2<75%]"),
    ({"bool": {"adjust_pure_negative": False}}, "[bool] query does not support [adjust_pure_negative] of [false]"),
    ({"term": {"a": {"value": 1, "x": 2}}}, "[term] query does not support [x]"),
    ({"term": {"a": 1, "b": 2}}, "[term] query malformed, one field was expected instead of ['a', 'b']"),
    ({"term": {}}, "[term] query malformed"),
    ({"term": {"a": [1]}}, "[term] query on [a] does not support an array as a value"),
    ({"term": {"a": None}}, "[term] query on [a] does not support null as a value"),
    ({"term": {"a": {}}}, "[term] query on [a] has no [value]"),
    (
        {"term": {"a": {"value": "x", "case_insensitive": 1}}},
        "[term] [case_insensitive] must be true or false, not [1]",
    ),
    ({"terms": {"a": "x"}}, "[terms] query on [a] requires an array of values"),
    ({"terms": {"a": {"index": "i", "id": "1", "path": "p"}}}, "[terms] query on [a] requires an array of values"),
    ({"terms": {"a": [{}]}}, "[terms] query on [a] does not support an object as a value"),
    ({"ids": {}}, "[ids] requires providing a values element"),
    ({"ids": {"values": ["a"], "type": "t"}}, "[ids] query does not support [type]"),
    ({"exists": {}}, "[exists] must be provided with a [field]"),
    ({"match": {"a": {"query": "x", "fuzziness": "AUTO"}}}, "[match] query does not support [fuzziness]"),
    ({"match": {"a": {"query": "x", "operator": "xor"}}}, "[match] [operator] must be and or or, not [xor]"),
    ({"match": {"a": {"query": ["x"]}}}, "[match] query on [a] does not support an array as a value"),
    ({"match_phrase": {"a": {"query": "x", "slop": 2}}}, "[match_phrase] query does not support [slop]"),
    (
        {"multi_match": {"query": "x", "type": "cross_fields"}},
        "[multi_match] query does not support [type] of [cross_fields]",
    ),
    (
        {"multi_match": {"query": "x", "fields": ["a^b"]}},
        "[multi_match] [boost] must be a number of at least 0, not [b]",
    ),
    ({"multi_match": {"fields": ["a"]}}, "[multi_match] query on [query] does not support null as a value"),
    ({"wildcard": {"a": {"value": "x", "rewrite": "y"}}}, "[wildcard] query does not support [rewrite]"),
    ({"regexp": {"a": {"value": "x", "flags": "NONE"}}}, "[regexp] query does not support [flags]"),
    ({"regexp": {"a": "x("}}, "[regexp] cannot use the pattern [x(]"),
    ({"regexp": {"a": "(?i)x"}}, "[regexp] query does not support groups that begin with [(?]"),
    ({"regexp": {"a": "a~b"}}, "[regexp] query does not support the operator [~]"),
    ({"regexp": {"a": "<1-5>"}}, "[regexp] query does not support the operator [<]"),
    ({"regexp": {"a": "[ab"}}, "[regexp] has no closing bracket"),
    ({"regexp": {"a": "((a{1,1000}){1,1000}){1,1000}"}}, "[regexp] cannot use the pattern"),
    ({"wildcard": {"a": "*?" * 100_000}}, "[wildcard] cannot use the pattern"),
    ({"range": {"a": 5}}, "[range] query malformed, [a] must be an object"),
    ({"range": {"a": {"gte": "x", "format": "y"}}}, "[range] query does not support [format]"),
    ({"range": {"n": {"gte": "now-1d"}}}, "[range] query has the bound [now-1d] on [n], which has numbers"),
    ({"constant_score": {}}, "[constant_score] requires a 'filter' element"),
    ({"dis_max": {"queries": []}}, "[dis_max] requires 'queries' field with at least one clause"),
    ({"dis_max": {"queries": [{"match_all": {}}], "tie_breaker": 1}}, "[dis_max] query does not support [tie_breaker]"),
    ({"match_all": {"boost": -1}}, "[match_all] [boost] must be a number of at least 0, not [-1]"),
    ({"nested": {"path": "a", "query": {"match_all": {}}}}, "[nested] query is not supported by the embedded store"),
    ({"script": {"script": "true"}}, "[script] query is not supported by the embedded store"),
    ({"function_score": {"query": {"match_all": {}}}}, "[function_score] query is not supported by the embedded store"),
    ({"query_string": {"query": 5}}, "[query_string] must be provided with a [query]"),
    ({"query_string": {"query": "x", "analyzer": "y"}}, "[query_string] query does not support [analyzer]"),
    ({"query_string": {"query": "x", "fields": ["a"], "default_field": "b"}}, "not both"),
    ({"query_string": {"query": "a:[1 TO 2]"}}, "[query_string] query does not support [[1]"),
    ({"query_string": {"query": "a:>5"}}, "[query_string] query does not support [>5]"),
    ({"query_string": {"query": "roam~2"}}, "[query_string] query does not support [roam~2]"),
    ({"query_string": {"query": "/ab+/"}}, "[query_string] query does not support [/ab+/]"),
    ({"query_string": {"query": "(a"}}, "[query_string] Failed to parse query [(a] at its end"),
    ({"query_string": {"query": "a)"}}, "[query_string] Failed to parse query [a)] at [)]"),
    ({"query_string": {"query": "()"}}, "[query_string] Failed to parse query [()]"),
    ({"query_string": {"query": 'a "b'}}, '[query_string] Failed to parse query [a "b] at ["b]'),
    ({"query_string": {"query": "a AND"}}, "[query_string] Failed to parse query [a AND] at its end"),
    ({"query_string": {"query": "OR a"}}, "[query_string] Failed to parse query [OR a]"),
    ({"query_string": {"query": "a AND OR b"}}, "[query_string] Failed to parse query [a AND OR b]"),
    ({"query_string": {"query": "a:"}}, "[query_string] Failed to parse query [a:] at its end"),
    ({"query_string": {"query": "(" * 500 + "a" + ")" * 500}}, "parentheses nested deeper than 20"),
    (deep(MAX_DEPTH + 1), "The nested depth of the query exceeds the maximum nested depth for queries: 50"),
    (deep(900), "The nested depth of the query exceeds the maximum nested depth for queries: 50"),
]

BODIES: list[tuple[dict[str, Any], str]] = [
    ({"highlight": {}}, "Unknown key for a START_OBJECT in [highlight]."),
    ({"docvalue_fields": []}, "Unknown key for a START_ARRAY in [docvalue_fields]."),
    ({"explain": True}, "Unknown key for a VALUE_BOOLEAN in [explain]."),
    ({"post_filter": None}, "Unknown key for a VALUE_NULL in [post_filter]."),
    ({"foo": "x"}, "Unknown key for a VALUE_STRING in [foo]."),
    ({"terminate_after": 1}, "Unknown key for a VALUE_NUMBER in [terminate_after]."),
    ({"size": "many"}, "[size] must be a whole number, not [many]"),
    ({"from": 1.5}, "[from] must be a whole number, not [1.5]"),
    ({"size": True}, "[size] must be a whole number, not [True]"),
    ({"track_total_hits": -2}, "[track_total_hits] must be true, false or a whole number of at least 0, not [-2]"),
    ({"track_total_hits": "x"}, "[track_total_hits] must be true"),
    ({"min_score": "1"}, "[min_score] must be a number, not [1]"),
    ({"version": "yes"}, "[version] must be true or false, not [yes]"),
    ({"seq_no_primary_term": 1}, "[seq_no_primary_term] must be true or false, not [1]"),
    ({"timeout": "soon"}, "[timeout] must be a time such as 10s, not [soon]"),
    ({"_source": 5}, "[_source] takes true, false, field names, or an object of [includes] and [excludes]"),
    ({"_source": {"only": ["a"]}}, "[_source] does not support [only]"),
    ({"sort": 5}, "[sort] takes field names, not [5]"),
    ({"sort": [{"a": 5}]}, "[sort] on [a] must be an order or an object"),
    ({"sort": [{"a": "up"}]}, "[sort] on [a] must have an [order] of asc or desc, not [up]"),
    ({"sort": [{"a": {"mode": "avg"}}]}, "[sort] on [a] does not support [mode]"),
    ({"sort": [{"a": {"missing": []}}]}, "[sort] on [a] must have a [missing] of _last, _first or a value"),
    ({"sort": [{"_script": {"type": "number"}}]}, "[sort] on [_script] does not support [type]"),
    ({"aggs": []}, "[aggs] must be an object of named aggregations"),
    ({"aggs": {}, "aggregations": {}}, "Found two aggregation type definitions: [aggs] and [aggregations]"),
    ({"aggs": {"x": {"foo": {}}}}, "Unknown aggregation type [foo]"),
    ({"aggs": {"x": {}}}, "Expected one aggregation type in [x]"),
    ({"aggs": {"x": 5}}, "Aggregation definition for [x] must be an object"),
    ({"aggs": {"x": {"sum": {"field": "a"}, "min": {"field": "a"}}}}, "Expected one aggregation type in [x]"),
    ({"aggs": {"a>b": {"sum": {"field": "a"}}}}, "Invalid aggregation name [a>b]"),
    ({"aggs": {"x": {"sum": {}}}}, "Required one of fields [field], but none were specified in [sum]"),
    ({"aggs": {"x": {"sum": {"field": "a", "script": {}}}}}, "[sum] unknown field [script]"),
    (
        {"aggs": {"x": {"sum": {"field": "a"}, "aggs": {"y": {"sum": {"field": "a"}}}}}},
        "cannot accept sub-aggregations",
    ),
    (
        {"aggs": {"x": {"terms": {"field": "a", "size": 0}}}},
        "[size] must be a number from 1 to 65535. Found [0] in [terms]",
    ),
    (
        {"aggs": {"x": {"terms": {"field": "a", "min_doc_count": 0}}}},
        "[min_doc_count] must be a number from 1 to 65535",
    ),
    ({"aggs": {"x": {"terms": {"field": "a", "order": {"y": "asc"}}}}}, "[order] must be one of _count and _key"),
    ({"aggs": {"x": {"terms": {"field": "a", "include": "b"}}}}, "[terms] unknown field [include]"),
    ({"aggs": {"x": {"filter": {"foo": {}}}}}, "unknown query [foo]"),
    ({"aggs": {"x": {"filters": {"filters": 5}}}}, "[filters] must be an object or an array of queries"),
]

BOUNDS: list[tuple[dict[str, Any], str]] = [
    ({"size": -1}, "[size] parameter cannot be negative, found [-1]"),
    ({"from": 9_991}, "Result window is too large, from + size must be less than or equal to: [10000] but was [10001]"),
    ({"search_after": [1]}, "Sort must contain at least one field."),
    ({"sort": "a", "search_after": [1], "from": 1}, "`from` parameter must be set to 0 when `search_after` is used."),
    ({"sort": "a", "search_after": [1, 2]}, "search_after must be an array of 1 value(s), one a key of [sort]"),
    ({"sort": "a", "search_after": [{}]}, "search_after takes strings, numbers, truth values and null"),
    ({"sort": "name"}, "Please use [name.keyword] in [sort] instead."),
    ({"aggs": {"x": {"terms": {"field": "name"}}}}, "Please use [name.keyword] in [terms] instead."),
]


def search(body: dict[str, Any], text: str = "x") -> dict[str, Any]:
    """Return the answer to a search over one document."""
    return Search(body).run([Candidate(INDEX, "1", 0, 1, {"n": 5, "a": text})], lambda _: None)


@pytest.mark.parametrize(("query", "says"), QUERIES, ids=[says[:60] for _, says in QUERIES])
def test_query(query: Any, says: str) -> None:
    """A query that cannot be done is a 400 ``parsing_exception`` that names the clause."""
    with pytest.raises(ParsingFailed) as caught:
        search({"query": query})
    assert (caught.value.status, caught.value.type) == (400, "parsing_exception")
    assert says in caught.value.reason
    assert len(caught.value.reason) < 1000


@pytest.mark.parametrize(("body", "says"), BODIES, ids=[says[:60] for _, says in BODIES])
def test_body(body: dict[str, Any], says: str) -> None:
    """So is every other part of a search's body."""
    with pytest.raises(ParsingFailed) as caught:
        search(body)
    assert says in caught.value.reason


@pytest.mark.parametrize(("body", "says"), BOUNDS, ids=[says[:60] for _, says in BOUNDS])
def test_bounds(body: dict[str, Any], says: str) -> None:
    """A number out of bounds, or a field that cannot be used so, is a 400 ``illegal_argument_exception``."""
    with pytest.raises(IllegalArgument) as caught:
        search(body)
    assert says in caught.value.reason


def test_deep_aggregations() -> None:
    """Aggregations in one another are bounded too."""
    body: dict[str, Any] = {"terms": {"field": "a"}}
    for _ in range(300):
        body = {"terms": {"field": "a"}, "aggs": {"x": body}}
    with pytest.raises(ParsingFailed, match="nested deeper than 20"):
        search({"aggs": {"x": body}})


async def test_deepest_query(embedded: EmbeddedStore) -> None:
    """A query of the greatest depth works, in the thread that searches run in."""
    await embedded.put(INDEX, "1", {})
    assert (await embedded.search(INDEX, {"query": deep(MAX_DEPTH)}))["hits"]["total"]["value"] == 1


async def test_refusal_through_the_store(embedded: EmbeddedStore) -> None:
    """The store passes a refusal on as it is, even for an index that does not exist."""
    with pytest.raises(ParsingFailed, match=r"unknown query \[foo\]"):
        await embedded.search(INDEX, {"query": {"foo": {}}})


@pytest.mark.parametrize("query", [{"regexp": {"a": "(x+x+)+y"}}, {"wildcard": {"a": "*x" * 30 + "y"}}])
def test_no_pattern_blows_up(query: dict[str, Any]) -> None:
    """Patterns that send backtracking engines on an endless walk are answered at once."""
    began = time.process_time()
    assert search({"query": query}, "x" * 50_000)["hits"]["total"]["value"] == 0
    assert time.process_time() - began < 5

"""Whatever way of naming a concealed field a search knows, it is refused or finds nothing."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlcommons_py.errors import IllegalArgument, ParsingFailed
from mlcommons_py.store.client_search import api_body
from mlcommons_py.store.concealed import conceal, reaches
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.store.fields import Candidate
from mlcommons_py.store.opensearch import OpenSearchStore
from mlcommons_py.store.search import Search

CANARY = "canary-7f3a"
INDEX = ".plugins-ml-connector"
SEARCHED = ("name", "description", "version", "protocol")
LEAF = {"credential.key": CANARY}

# Each would tell, with a concealed field behind it, whether a guess is right, or show the field.
PROBES: list[dict[str, Any]] = [
    {"query": {name: LEAF}} for name in ("term", "match", "match_phrase", "prefix", "fuzzy", "match_phrase_prefix")
] + [
    {"query": {"match_bool_prefix": LEAF}},
    {"query": {"term": {"credential.key": {"value": CANARY}}}},
    {"query": {"term": {"credential": CANARY}}},
    {"query": {"term": {"credential.key.keyword": CANARY}}},
    {"query": {"term": {"credential._value": CANARY}}},
    {"query": {"terms": {"credential.key": [CANARY]}}},
    {"query": {"terms": {"name": {"index": INDEX, "id": "a", "path": "credential.key"}}}},
    {"query": {"wildcard": {"credential.key": "can*"}}},
    {"query": {"regexp": {"credential.key": "can.*"}}},
    {"query": {"range": {"credential.key": {"gte": "c"}}}},
    {"query": {"exists": {"field": "credential.key"}}},
    {"query": {"exists": {"field": "cred*"}}},
    {"query": {"term": {"_field_names": "credential.key"}}},
    {"query": {"multi_match": {"query": CANARY, "fields": ["credential.key"]}}},
    {"query": {"multi_match": {"query": CANARY, "fields": ["name", "cred*^2"]}}},
    {"query": {"multi_match": {"query": CANARY, "fields": ["*.key"]}}},
    {"query": {"simple_query_string": {"query": CANARY, "fields": ["c*"]}}},
    {"query": {"query_string": {"query": CANARY, "default_field": "credential.*"}}},
    {"query": {"query_string": {"query": f"credential.key:{CANARY}"}}},
    {"query": {"query_string": {"query": f"name:x OR (+credential.key : {CANARY})"}}},
    {"query": {"query_string": {"query": f"cred\\*:{CANARY}"}}},
    {"query": {"query_string": {"query": f"\\*:{CANARY}"}}},
    {"query": {"query_string": {"query": f"*:{CANARY}"}}},
    {"query": {"query_string": {"query": f"cr\\edential.key:{CANARY}"}}},
    {"query": {"query_string": {"query": f"\\u0063redential.key:{CANARY}"}}},
    {"query": {"query_string": {"query": "_exists_:credential.key"}}},
    {"query": {"query_string": {"query": "_exists_:cred\\u0065ntial.key"}}},
    {"query": {"bool": {"must_not": [{"bool": {"should": {"term": LEAF}}}]}}},
    {"query": {"constant_score": {"filter": {"term": LEAF}}}},
    {"query": {"dis_max": {"queries": [{"term": LEAF}]}}},
    {"query": {"boosting": {"positive": {"match_all": {}}, "negative": {"term": LEAF}, "negative_boost": 0.5}}},
    {"query": {"nested": {"path": "owner", "query": {"term": LEAF}}}},
    {"query": {"nested": {"path": "owner", "query": {"match_all": {}}, "inner_hits": {"_source": True}}}},
    {"query": {"function_score": {"query": {"term": LEAF}}}},
    {"query": {"script": {"script": "doc['credential.key'].size() > 0"}}},
    {"query": {"script_score": {"query": {"match_all": {}}, "script": {"source": "1"}}}},
    {"query": {"wrapper": {"query": "eyJtYXRjaF9hbGwiOnt9fQ=="}}},
    {"query": {"more_like_this": {"fields": ["credential.key"], "like": CANARY}}},
    {"query": {"bool": {"mustNot": {"term": LEAF}}}},
    {"post_filter": {"term": LEAF}},
    {"sort": "credential.key"},
    {"sort": ["name.keyword", {"credential.key": "asc"}]},
    {"sort": [{"credential.key": {"order": "asc", "unmapped_type": "keyword"}}]},
    {"sort": [{"_script": {"type": "string", "script": "params._source.credential.key", "order": "asc"}}]},
    {"sort": [{"version": {"order": "asc", "nested": {"path": "owner", "filter": {"term": LEAF}}}}]},
    {"aggs": {"a": {"terms": {"field": "credential.key"}}}},
    {"aggregations": {"a": {"cardinality": {"field": "credential"}}}},
    {"aggs": {"a": {"filter": {"term": LEAF}}}},
    {"aggs": {"a": {"filters": {"filters": {"x": {"prefix": {"credential.key": "c"}}}}}}},
    {"aggs": {"a": {"filters": {"filters": [{"prefix": {"credential.key": "c"}}]}}}},
    {"aggs": {"a": {"terms": {"field": "version"}, "aggs": {"b": {"value_count": {"field": "credential.key"}}}}}},
    {"aggs": {"a": {"composite": {"sources": [{"b": {"terms": {"field": "credential.key"}}}]}}}},
    {"aggs": {"a": {"terms": {"script": "params._source.credential.key"}}}},
    {"aggs": {"a": {"top_hits": {"_source": "credential"}}}},
    {"aggs": {"a": {"scripted_metric": {}}}},
    {"aggs": {"a": {"significant_terms": {"field": "credential.key"}}}},
    {"aggs": {"a": {"missing": {"field": "credential.key"}}}},
    {"fields": ["*"]},
    {"docvalue_fields": ["credential.key"]},
    {"stored_fields": ["*"]},
    {"script_fields": {"a": {"script": "params._source.credential.key"}}},
    {"highlight": {"fields": {"*": {}}}},
    {"suggest": {"a": {"text": CANARY, "term": {"field": "credential.key"}}}},
    {"collapse": {"field": "credential.key"}},
    {"explain": True},
    {"derived": {"a": {"type": "keyword", "script": "emit(params._source.credential.key)"}}},
    {"rescore": {"query": {"rescore_query": {"term": LEAF}}}},
]

# None of these tells anything; the first ten find the connector.
HARMLESS: list[dict[str, Any]] = [
    {},
    {"query": {"match_all": {}}},
    {"query": {"query_string": {"query": "*:*"}}},
    {"query": {"query_string": {"query": "chat"}}},
    {"query": {"multi_match": {"query": "chat"}}},
    {"query": {"multi_match": {"query": "chat", "fields": ["*"]}}},
    {"query": {"match": {"name": "chat"}}},
    {"query": {"bool": {"filter": [{"term": {"protocol": "http"}}], "must_not": {"term": {"version": "9"}}}}},
    {"query": {"term": {"parameters.model": "x"}}, "sort": [{"created_time": "desc"}]},
    {"_source": ["credential", "credential.*", "*", "name"]},
    {"query": {"query_string": {"query": CANARY}}},
    {"query": {"query_string": {"query": "canary*"}}},
    {"query": {"query_string": {"query": CANARY, "fields": ["*"]}}},
    {"query": {"multi_match": {"query": CANARY}}},
    {"query": {"multi_match": {"query": CANARY, "fields": ["*", "name"]}}},
    {"query": {"ids": {"values": ["none"]}}},
]


async def fill(store: EmbeddedStore | OpenSearchStore) -> None:
    """Store one connector; its credential is in the clear here, to be found if it can be."""
    document = {
        "name": "OpenAI chat",
        "version": "1",
        "protocol": "http",
        "parameters": {"model": "x"},
        "credential": {"key": CANARY},
        "created_time": 5,
    }
    await store.put(INDEX, "a", document)


def shaped(body: dict[str, Any]) -> dict[str, Any]:
    """Return the search that is run for a client's."""
    return api_body(body, hidden=(), concealed=["credential"], searched=SEARCHED)


@pytest.mark.parametrize("body", PROBES, ids=str)
def test_probes_are_refused(body: dict[str, Any]) -> None:
    """A search that could show or tell a concealed field is refused (test 17)."""
    with pytest.raises((IllegalArgument, ParsingFailed)) as refused:
        shaped(body)

    assert CANARY not in refused.value.reason


async def _check_harmless(store: EmbeddedStore | OpenSearchStore) -> None:
    await fill(store)
    for number, body in enumerate(HARMLESS):
        answer = await store.search(INDEX, shaped(body))
        assert len(answer["hits"]["hits"]) == (number < 10), body
        assert CANARY not in str(answer), body
        assert "credential" not in str(answer), body


async def test_what_is_harmless_works(embedded: EmbeddedStore) -> None:
    """Other searches find what they should, and neither show a concealed field nor find by it."""
    await _check_harmless(embedded)


async def test_what_is_harmless_works_in_a_cluster(in_cluster: OpenSearchStore) -> None:
    """So they do in a real OpenSearch."""
    await _check_harmless(in_cluster)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (True, {"includes": [], "excludes": ["a.b"]}),
        (False, False),
        ("false", False),
        ("x", {"includes": ["x"], "excludes": ["a.b"]}),
        (["a.b"], {"includes": ["a.b"], "excludes": ["a.b"]}),
        ({"includes": ["*"], "excludes": "y"}, {"includes": ["*"], "excludes": ["y", "a.b"]}),
        ({"exclude": ["y"], "excludes": ["z"]}, {"includes": [], "excludes": ["y", "z", "a.b"]}),
    ],
)
def test_source(given: Any, kept: Any) -> None:
    """However a client asks for fields, the concealed ones are excluded."""
    assert conceal({"_source": given}, ["a.b"], ["x"])["_source"] == kept


def test_reaches() -> None:
    """A pattern reaches a field if it matches it, or anything that could stand below it."""
    field = "connector.credential"
    reaching = [
        "*",
        "connector.*",
        "conn*",
        "*.key",
        "connector.credential",
        "connector.credential.a",
        "c*l",
        "*?*",
        "*l*",
    ]
    others = [
        "connector",
        "connector.name",
        "connector.credentials",
        "name*",
        "credential",
        "connector.c",
        "connector.credentia?x",
    ]

    assert [one for one in reaching if not reaches(one, field)] == []
    assert [one for one in others if reaches(one, field)] == []


FIELDS = st.sampled_from(
    "name name.keyword version protocol credential credential.key credential.* cred* *.key * c*l c?edential connector"
    " parameters.model _id credential.key.keyword cr\\edential.key \\u0063redential.key *ential.key".split()
)
WORDS = st.sampled_from(["left", "right", "le*", "OpenAI", "*", "l", "x"])
TERMS = st.builds(
    lambda kind, field, word: {kind: {field: word}},
    st.sampled_from("term match prefix wildcard regexp match_phrase".split()),
    FIELDS,
    WORDS,
)
TEXTS = st.lists(
    st.builds(
        lambda sign, field, word: f"{sign}{field}{word}",
        st.sampled_from(["", "+", "-", "NOT "]),
        st.one_of(st.just(""), FIELDS.map(lambda one: one + ":"), FIELDS.map(lambda one: one + " : ")),
        WORDS | st.just('"left"') | FIELDS,
    ),
    min_size=1,
    max_size=3,
).map(" ".join)
LEAVES = st.one_of(
    TERMS,
    FIELDS.map(lambda field: {"exists": {"field": field}}),
    st.builds(lambda field, word: {"terms": {field: [word]}}, FIELDS, WORDS),
    st.builds(lambda field, word: {"range": {field: {"gte": word}}}, FIELDS, WORDS),
    st.builds(
        lambda fields, word: {"multi_match": {"query": word, **({"fields": fields} if fields else {})}},
        st.lists(FIELDS, max_size=2),
        WORDS,
    ),
    TEXTS.map(lambda text: {"query_string": {"query": text}}),
    st.builds(lambda text, field: {"query_string": {"query": text, "default_field": field}}, TEXTS, FIELDS),
    FIELDS.map(lambda field: {"query_string": {"query": f"_exists_:{field}"}}),
)
QUERIES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda key, some: {"bool": {key: some}},
            st.sampled_from("must filter should must_not".split()),
            st.lists(inner, max_size=2),
        ),
        inner.map(lambda one: {"constant_score": {"filter": one}}),
        inner.map(lambda one: {"dis_max": {"queries": [one]}}),
    ),
    max_leaves=4,
)
AGGREGATIONS = st.one_of(
    st.builds(
        lambda kind, field: {kind: {"field": field}},
        st.sampled_from("terms cardinality min value_count".split()),
        FIELDS,
    ),
    QUERIES.map(lambda query: {"filter": query}),
    QUERIES.map(lambda query: {"filters": {"filters": {"x": query}}}),
)
SEARCHES = st.fixed_dictionaries(
    {},
    optional={
        "query": QUERIES,
        "sort": FIELDS | st.lists(FIELDS.map(lambda field: {field: "asc"}), max_size=2),
        "aggs": AGGREGATIONS.map(lambda one: {"a": one}),
        "_source": st.one_of(
            st.booleans(), FIELDS, st.lists(FIELDS), st.lists(FIELDS).map(lambda some: {"include": some})
        ),
        "post_filter": QUERIES,
    },
)


@settings(max_examples=600, deadline=None)
@given(body=SEARCHES)
def test_no_search_tells_one_secret_from_another(body: dict[str, Any]) -> None:
    """Two indices that differ in a concealed value alone, or in having one, answer every search alike (test 17)."""
    try:
        search = Search(shaped(body))
    except (IllegalArgument, ParsingFailed):
        return
    answers = []
    for credential in ({"key": "left"}, {"key": "right"}, {"l": "left", "m": "x"}):
        source = {"name": "OpenAI chat", "version": "1", "parameters": {"model": "x"}, "credential": credential}
        answer = search.run([Candidate(INDEX, "a", 0, 1, source)], lambda _: None)
        answers.append({**answer, "took": 0})

    assert answers[0] == answers[1] == answers[2]


NAMES = st.sampled_from(
    "query post_filter sort aggs aggregations _source includes excludes exclude bool must must_not nested path filter"
    " filters term terms match exists field fields multi_match query_string default_field boosting positive"
    " constant_score composite sources script order credential".split()
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | NAMES | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=15,
)


@settings(max_examples=600, deadline=None)
@given(
    body=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("query", "post_filter", "sort", "aggs", "aggregations", "_source"), ANYTHING)
    )
)
@example(body={"_source": {"excludes": None}})
@example(body={"_source": {"exclude": [5], "includes": None}})
@example(body={"_source": None})
@example(body={"query": None, "sort": None, "aggs": None})
def test_odd_searches(body: dict[str, Any]) -> None:
    """Whatever a body looks like, it passes or is refused as the client's mistake."""
    try:
        shaped(body)
    except (IllegalArgument, ParsingFailed):
        return

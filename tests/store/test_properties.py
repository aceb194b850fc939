"""Queries against a naive reading of them, and searches of any form whatever."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlcommons_py.errors import MLCommonsError
from mlcommons_py.store.fields import Candidate
from mlcommons_py.store.search import Search
from tests.store.oracle import Json, doc_ids, leaves, names, oracle, scalars, sources

bounds = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.integers(-2, 3), max_size=2)
leaf_queries = st.one_of(
    st.just({"match_all": {}}),
    st.builds(lambda ids: {"ids": {"values": ids}}, st.lists(doc_ids, max_size=2)),
    st.builds(lambda value: {"term": {"_id": value}}, doc_ids),
    st.builds(lambda some: {"terms": {"_id": some}}, st.lists(doc_ids, max_size=2)),
    st.builds(lambda field: {"exists": {"field": field}}, names),
    st.builds(lambda field, value: {"term": {field: value}}, names, scalars),
    st.builds(lambda field, some: {"terms": {field: some}}, names, st.lists(scalars, max_size=3)),
    st.builds(lambda field, value: {"prefix": {field: value}}, names, st.text("xy1.", max_size=2)),
    st.builds(lambda field, value: {"wildcard": {field: value}}, names, st.text("*?xy1.", max_size=5)),
    st.builds(lambda field, value: {"range": {field: value}}, names, bounds),
)
queries: st.SearchStrategy[Json] = st.recursive(
    leaf_queries,
    lambda inner: st.builds(
        lambda clauses, needed: {"bool": {**clauses, **needed}},
        st.fixed_dictionaries({key: st.lists(inner, max_size=2) for key in ("must", "filter", "should", "must_not")}),
        st.one_of(st.just({}), st.builds(lambda n: {"minimum_should_match": n}, st.integers(0, 3))),
    ),
    max_leaves=6,
)
corpora = st.dictionaries(doc_ids, sources, max_size=4)


@given(corpus=corpora, query=queries)
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@example(corpus={"1": {"a": [{"c": 1}, {"c": "x"}]}}, query={"range": {"a.c": {"gte": 1}}})
def test_queries_find_what_they_say(corpus: dict[str, Json], query: Json) -> None:
    """Any query finds the documents that a naive reading of it finds."""
    documents = [Candidate("i", doc_id, at, 1, source) for at, (doc_id, source) in enumerate(corpus.items())]
    search = Search({"query": query, "_source": False})
    found = {hit["_id"] for hit in search.run(documents, lambda _: None)["hits"]["hits"]}
    wanted = {doc_id for doc_id, source in corpus.items() if oracle(query, source, doc_id)}
    assert found == wanted
    assert search.ids is None or wanted <= search.ids


@given(corpus=corpora, field=names, downwards=st.booleans(), first=st.booleans(), size=st.integers(1, 3))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_pages_after_one_another(corpus: dict[str, Json], field: str, downwards: bool, first: bool, size: int) -> None:
    """Pages by ``search_after``, with a tiebreaker, show each document once, in the order of the whole."""
    documents = [Candidate("i", doc_id, at, 1, source) for at, (doc_id, source) in enumerate(corpus.items())]
    order = {"order": "desc" if downwards else "asc", "missing": "_first" if first else "_last"}
    body: Json = {"sort": [{field: order}, "_id"]}
    whole = [hit["_id"] for hit in Search(body).run(documents, lambda _: None)["hits"]["hits"]]
    seen: list[str] = []
    page: Json = {**body, "size": size}
    while hits := Search(page).run(documents, lambda _: None)["hits"]["hits"]:
        seen += [hit["_id"] for hit in hits]
        assert len(seen) <= len(whole)
        page["search_after"] = hits[-1]["sort"]
    assert seen == whole
    assert sorted(seen) == sorted(corpus)
    missing = [not leaves(corpus[one], field) for one in whole]
    assert missing == sorted(missing, reverse=first)


junk = st.recursive(
    st.one_of(
        scalars,
        st.none(),
        st.text(max_size=4),
        st.floats(),
        st.sampled_from(["asc", "_id", "a^2", "(", '"', "a:b AND", "75%", "[x", "\\", "*"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "query bool must should filter must_not match term terms ids values exists field range gte wildcard"
                " value regexp prefix match_phrase multi_match fields query_string default_operator constant_score"
                " dis_max queries boost a name _id order missing aggs filters minimum_should_match operator size"
                " case_insensitive type function_score functions nested path includes self _field _expand__to_dot"
                " knn more_like_this".split()
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=12,
)
bodies = st.dictionaries(
    st.sampled_from(
        "query from size sort _source aggs track_total_hits version search_after min_score track_scores timeout".split()
    ),
    junk,
    max_size=3,
)
named_junk = st.builds(
    lambda name, body: {"query": {name: body}},
    st.sampled_from(
        "bool match term terms ids exists range wildcard regexp prefix match_phrase multi_match query_string"
        " constant_score dis_max match_all match_none function_score nested fuzzy more_like_this script_score".split()
    ),
    junk,
)
aggregation_junk = st.builds(
    lambda name, body: {"aggs": {"x": {name: body}}},
    st.sampled_from("terms filter filters value_count cardinality min max sum avg stats top_hits".split()),
    junk,
)


@given(body=st.one_of(bodies, named_junk, aggregation_junk))
@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_any_body_is_answered_or_refused(body: Json) -> None:
    """Whatever a client sends as a search gets an answer, or an error of ours with a status below 500."""
    documents = [
        Candidate("i", "1", 0, 1, {"a": [1, "x", None, {"c": True}], "name": "x y"}),
        Candidate("i", "2", 1, 1, {"a": {"c": [0.5, "1"]}, "name": ["b", "c"]}),
    ]
    try:
        answer = Search(body).run(documents, lambda _: None)
    except MLCommonsError as fault:
        assert fault.status < 500  # noqa: PT017 - either is well
        assert len(fault.reason) < 2000  # noqa: PT017
        return
    assert len(answer["hits"]["hits"]) <= 2


@given(pattern=st.text('ab.*?+|()[]^$@\\"-{}1,', max_size=8), value=st.text("ab.^$@1", max_size=4))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_regexp_is_done_or_refused(pattern: str, value: str) -> None:
    """A regular expression of any form matches, does not match, or is refused; without special signs it is the text."""
    query = {"query": {"regexp": {"a": pattern}}}
    try:
        found = Search(query).run([Candidate("i", "1", 0, 1, {"a": value})], lambda _: None)["hits"]["hits"]
    except MLCommonsError as fault:
        assert "[regexp]" in fault.reason  # noqa: PT017
        return
    if pattern.isalnum():
        assert bool(found) == (pattern == value)


@pytest.mark.parametrize("value", ["^a$", "a.b", "@", "a\\b"])
def test_escaped_regexp_is_the_text(value: str) -> None:
    """Escaped or quoted, every sign means itself."""
    documents = [Candidate("i", "1", 0, 1, {"a": value}), Candidate("i", "2", 1, 1, {"a": f"{value}x"})]
    for pattern in ("".join(f"\\{character}" for character in value), f'"{value}"'):
        found = Search({"query": {"regexp": {"a": pattern}}}).run(documents, lambda _: None)["hits"]["hits"]
        assert [hit["_id"] for hit in found] == ["1"]

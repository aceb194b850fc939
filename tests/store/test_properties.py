"""The embedded store against a plain-Python model of it, and queries against a naive reading of them."""

import asyncio
import copy
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlcommons_py.errors import MLCommonsError, VersionConflict
from mlcommons_py.store import Delete, Put
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.store.fields import Candidate
from mlcommons_py.store.search import Search

T = TypeVar("T")
Json = dict[str, Any]

names = st.sampled_from(["a", "b", "c.d", "e"])
scalars = st.one_of(
    st.sampled_from(["x", "y", "xy", "X", "1", "true", ""]),
    st.integers(-2, 3),
    st.booleans(),
    st.sampled_from([0.5, 1.0]),
)
values = st.recursive(
    st.one_of(scalars, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("cd"), inner, max_size=2)),
    max_leaves=4,
)
sources = st.dictionaries(st.sampled_from("abcde"), values, max_size=4)
doc_ids = st.sampled_from(["1", "2", "3", "-_"])
contents = st.one_of(st.none(), st.binary(max_size=40))


class Modelled:
    """One document as the model has it."""

    def __init__(self, source: Json, seq_no: int, version: int, content: bytes | None) -> None:
        self.source, self.seq_no, self.version, self.content = source, seq_no, version, content


def merged(before: Json, changes: Json) -> Json:
    """Return what an update makes of a document."""
    after = copy.deepcopy(before)
    for key in changes:
        both = isinstance(after.get(key), dict) and isinstance(changes[key], dict)
        after[key] = merged(after[key], changes[key]) if both else changes[key]
    return after


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON: true is not 1, and 1.0 is not 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class StoreMachine(RuleBasedStateMachine):
    """Does the same to a store and to a dictionary, and compares what they answer."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.model: dict[str, Modelled] = {}
        self.next = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run an operation of the store."""
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        """Open an empty store."""
        self.store = self.run(EmbeddedStore.open(Path(self.directory.name) / "store.db"))

    @rule()
    def reopen(self) -> None:
        """Close the store and open it again."""
        self.run(self.store.close())
        self.open()

    def number(self) -> int:
        """Return the number that a write takes."""
        self.next += 1
        return self.next - 1

    def stale(self, doc_id: str, seq_no: int | None) -> bool:
        """Return whether a write under a condition must fail."""
        there = self.model.get(doc_id)
        return seq_no is not None and (there is None or there.seq_no != seq_no)

    def condition(self, data: st.DataObject, doc_id: str) -> dict[str, Any]:
        """Choose a condition: none, the right one, or any."""
        there = self.model.get(doc_id)
        right = [there.seq_no] if there else []
        seq_no = data.draw(st.sampled_from([None, *right, *right, *range(min(self.next, 4) + 1)]))
        return {} if seq_no is None else {"if_seq_no": seq_no, "if_primary_term": 1}

    @rule(data=st.data(), doc_id=doc_ids, source=sources, content=contents, create=st.booleans())
    def put(self, data: st.DataObject, doc_id: str, source: Json, content: bytes | None, create: bool) -> None:
        """Store a whole document."""
        condition = self.condition(data, doc_id)
        there = self.model.get(doc_id)
        refused = (create and there is not None) or self.stale(doc_id, condition.get("if_seq_no"))
        try:
            written = self.run(self.store.put("i", doc_id, source, create=create, content=content, **condition))
        except VersionConflict:
            assert refused
            return
        assert not refused
        version = there.version + 1 if there else 1
        made = (written.result, written.seq_no, written.version)
        assert made == ("updated" if there else "created", self.number(), version)
        self.model[doc_id] = Modelled(source, written.seq_no, version, content)

    @rule(data=st.data(), doc_id=doc_ids, changes=sources)
    def update(self, data: st.DataObject, doc_id: str, changes: Json) -> None:
        """Merge changes into a document."""
        condition = self.condition(data, doc_id)
        there = self.model.get(doc_id)
        try:
            written = self.run(self.store.update("i", doc_id, changes, **condition))
        except VersionConflict:
            assert there is not None
            assert self.stale(doc_id, condition["if_seq_no"])
            return
        if there is None:
            assert written is None
            return
        assert written is not None
        assert not self.stale(doc_id, condition.get("if_seq_no"))
        after = merged(there.source, changes)
        if same(after, there.source):
            assert (written.result, written.seq_no, written.version) == ("noop", there.seq_no, there.version)
            return
        there.source, there.seq_no, there.version = after, self.number(), there.version + 1
        assert (written.result, written.seq_no, written.version) == ("updated", there.seq_no, there.version)

    @rule(data=st.data(), doc_id=doc_ids)
    def delete(self, data: st.DataObject, doc_id: str) -> None:
        """Delete a document."""
        condition = self.condition(data, doc_id)
        try:
            written = self.run(self.store.delete("i", doc_id, **condition))
        except VersionConflict:
            assert self.stale(doc_id, condition["if_seq_no"])
            return
        assert not self.stale(doc_id, condition.get("if_seq_no"))
        assert written.seq_no == self.number()
        assert written.result == ("deleted" if self.model.pop(doc_id, None) else "not_found")

    @rule(writes=st.lists(st.tuples(doc_ids, st.one_of(st.none(), sources), st.booleans()), max_size=5))
    def bulk(self, writes: list[tuple[str, Json | None, bool]]) -> None:
        """Do several writes at once."""
        operations = [Delete("i", one) if source is None else Put("i", one, source, new) for one, source, new in writes]
        outcomes = self.run(self.store.bulk(operations))
        for (doc_id, source, create), outcome in zip(writes, outcomes, strict=True):
            there = self.model.get(doc_id)
            if source is not None and create and there is not None:
                assert isinstance(outcome, VersionConflict)
                continue
            assert not isinstance(outcome, MLCommonsError)
            assert outcome.seq_no == self.number()
            if source is None:
                assert outcome.result == ("deleted" if self.model.pop(doc_id, None) else "not_found")
            else:
                self.model[doc_id] = Modelled(source, outcome.seq_no, there.version + 1 if there else 1, None)

    @rule(field=names, value=scalars)
    def delete_by_query(self, field: str, value: Any) -> None:
        """Delete what a query finds."""
        found = [one for one in self.model if oracle({"term": {field: value}}, self.model[one].source, one)]
        assert self.run(self.store.delete_by_query("i", {"term": {field: value}})) == len(found)
        for doc_id in sorted(found):
            del self.model[doc_id]
            self.number()

    @invariant()
    def agree(self) -> None:
        """Reads and a search see what the model has."""
        if not hasattr(self, "store"):
            return
        for doc_id in ("1", "2", "3", "-_"):
            document, there = self.run(self.store.get("i", doc_id)), self.model.get(doc_id)
            assert (document is None) == (there is None)
            if document is not None and there is not None:
                assert same(document.source, there.source)
                assert (document.seq_no, document.version) == (there.seq_no, there.version)
            assert self.run(self.store.content("i", doc_id)) == (there.content if there else None)
        hits = self.run(self.store.search("i", {"version": True}))["hits"]["hits"]
        order = sorted(self.model.items(), key=lambda one: one[1].seq_no)
        assert [(hit["_id"], hit["_version"]) for hit in hits] == [(doc_id, one.version) for doc_id, one in order]

    def teardown(self) -> None:
        """Close the store."""
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.runner.close()
        self.directory.cleanup()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=25, stateful_step_count=20, deadline=None, derandomize=True)


def leaves(source: Any, path: str, *, below: bool = False) -> list[Any]:
    """Return every scalar of a document whose dotted path is the one asked for, or begins with it."""
    found: list[Any] = []

    def walk(value: Any, at: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{at}.{key}" if at else key)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, at)
        elif value is not None and (at == path or (below and at.startswith(f"{path}."))):
            found.append(value)

    walk(source, "")
    return found


def text(value: Any) -> str:
    """Return a value as a keyword."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def number(value: Any) -> float | None:
    """Return a value as a number, if it is or spells one."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def is_number(value: Any) -> bool:
    """Return whether a stored value is a number."""
    return type(value) in (int, float)


def equal(stored: Any, asked: Any) -> bool:
    """Return whether a stored value is the one asked for."""
    return stored == number(asked) if is_number(stored) else text(stored) == text(asked)


def glob(pattern: str, value: str) -> bool:
    """Return whether a text fits a pattern of ``*``, ``?`` and plain characters, by trying everything."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(glob(pattern[1:], value[at:]) for at in range(len(value) + 1))
    return bool(value) and pattern[0] in ("?", value[0]) and glob(pattern[1:], value[1:])


def within(stored: Any, bounds: Json) -> bool:
    """Return whether a value lies in a range."""
    return all(
        {
            "gt": lambda one, bound: one > bound,
            "gte": lambda one, bound: one >= bound,
            "lt": lambda one, bound: one < bound,
            "lte": lambda one, bound: one <= bound,
        }[name](*((stored, number(bound)) if is_number(stored) else (text(stored), text(bound))))
        for name, bound in bounds.items()
    )


def oracle(query: Json, source: Json, doc_id: str) -> bool:
    """Return whether a document fits a query, read as the reference describes it."""
    ((name, body),) = query.items()
    if name == "match_all":
        return True
    if name == "ids":
        return doc_id in body["values"]
    if name == "exists":
        return bool(leaves(source, body["field"], below=True))
    if name == "bool":
        if not any(body[key] for key in ("must", "filter", "should", "must_not")):
            return True
        must = [oracle(one, source, doc_id) for one in body["must"] + body["filter"]]
        should = [oracle(one, source, doc_id) for one in body["should"]]
        needed = body.get("minimum_should_match", 0)
        if should and not must:
            needed = max(1, needed)
        return all(must) and sum(should) >= needed and not any(oracle(one, source, doc_id) for one in body["must_not"])
    ((field, asked),) = body.items()
    there = [doc_id] if field == "_id" else leaves(source, field)
    reads: dict[str, Any] = {
        "term": lambda stored: equal(stored, asked),
        "terms": lambda stored: any(equal(stored, one) for one in asked),
        "prefix": lambda stored: text(stored).startswith(asked),
        "wildcard": lambda stored: glob(asked, text(stored)),
        "range": lambda stored: within(stored, asked),
    }
    return any(map(reads[name], there))


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

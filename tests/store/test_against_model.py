"""Both stores do what a plain-Python model of them does, whatever the operations."""

import asyncio
import copy
import itertools
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mlcommons_py.errors import MLCommonsError, VersionConflict
from mlcommons_py.store import Delete, Put, Store, Written
from mlcommons_py.store.answers import NOWHERE
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node
from tests.store.oracle import Json, contents, doc_ids, names, oracle, scalars, sources

T = TypeVar("T")
NUMBERS = itertools.count()


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

    index = "i"
    store: Store

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

    def born(self, doc_id: str) -> int:  # noqa: ARG002
        """Return the version that a document has when it is created."""
        return 1

    def number(self) -> int:
        """Return the number that a write takes."""
        self.next += 1
        return self.next - 1

    def number_of_deletion(self) -> int:
        """Return the number that a deletion takes: none in an index that is not there yet."""
        return self.number() if self.next else NOWHERE

    def deleted(self, written: Written) -> None:
        """Take note of a deletion."""

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
            written = self.run(self.store.put(self.index, doc_id, source, create=create, content=content, **condition))
        except VersionConflict:
            assert refused
            return
        assert not refused
        version = there.version + 1 if there else self.born(doc_id)
        made = (written.result, written.seq_no, written.version)
        assert made == ("updated" if there else "created", self.number(), version)
        self.model[doc_id] = Modelled(source, written.seq_no, version, content)

    @rule(data=st.data(), doc_id=doc_ids, changes=sources)
    def update(self, data: st.DataObject, doc_id: str, changes: Json) -> None:
        """Merge changes into a document."""
        condition = self.condition(data, doc_id)
        there = self.model.get(doc_id)
        try:
            written = self.run(self.store.update(self.index, doc_id, changes, **condition))
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
            written = self.run(self.store.delete(self.index, doc_id, **condition))
        except VersionConflict:
            assert self.stale(doc_id, condition["if_seq_no"])
            return
        assert not self.stale(doc_id, condition.get("if_seq_no"))
        assert written.seq_no == self.number_of_deletion()
        assert written.result == ("deleted" if self.model.pop(doc_id, None) else "not_found")
        self.deleted(written)

    @rule(writes=st.lists(st.tuples(doc_ids, st.one_of(st.none(), sources), st.booleans()), max_size=5))
    def bulk(self, writes: list[tuple[str, Json | None, bool]]) -> None:
        """Do several writes at once."""
        operations = [
            Delete(self.index, one) if source is None else Put(self.index, one, source, new)
            for one, source, new in writes
        ]
        outcomes = self.run(self.store.bulk(operations))
        for (doc_id, source, create), outcome in zip(writes, outcomes, strict=True):
            there = self.model.get(doc_id)
            if source is not None and create and there is not None:
                assert isinstance(outcome, VersionConflict)
                continue
            assert not isinstance(outcome, MLCommonsError)
            assert outcome.seq_no == (self.number_of_deletion() if source is None else self.number())
            if source is None:
                assert outcome.result == ("deleted" if self.model.pop(doc_id, None) else "not_found")
                self.deleted(outcome)
            else:
                version = there.version + 1 if there else self.born(doc_id)
                self.model[doc_id] = Modelled(source, outcome.seq_no, version, None)

    @rule(field=names, value=scalars)
    def delete_by_query(self, field: str, value: Any) -> None:
        """Delete what a query finds."""
        found = [one for one in self.model if oracle({"term": {field: value}}, self.model[one].source, one)]
        assert self.run(self.store.delete_by_query(self.index, {"term": {field: value}})) == len(found)
        for doc_id in sorted(found):
            del self.model[doc_id]
            self.number()

    @invariant()
    def agree(self) -> None:
        """Reads and a search see what the model has."""
        if not hasattr(self, "store"):
            return
        for doc_id in ("1", "2", "3", "-_"):
            document, there = self.run(self.store.get(self.index, doc_id)), self.model.get(doc_id)
            assert (document is None) == (there is None)
            if document is not None and there is not None:
                assert same(document.source, there.source)
                assert (document.seq_no, document.version) == (there.seq_no, there.version)
            assert self.run(self.store.content(self.index, doc_id)) == (there.content if there else None)
        hits = self.run(self.store.search(self.index, {"version": True}))["hits"]["hits"]
        assert self.in_order([(hit["_id"], hit["_version"]) for hit in hits]) == self.in_order(self.order())

    def order(self) -> list[tuple[str, int]]:
        """Return the ids and versions that a search shows, in its order."""
        return [(doc_id, one.version) for doc_id, one in sorted(self.model.items(), key=lambda one: one[1].seq_no)]

    def in_order(self, shown: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Return hits in the order to compare them in."""
        return shown

    def teardown(self) -> None:
        """Close the store."""
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.runner.close()
        self.directory.cleanup()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=25, stateful_step_count=20, deadline=None, derandomize=True)


class ClusterMachine(StoreMachine):
    """The same in a cluster, where the versions of a document that is deleted go on when it is created again."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.index = f"i-{next(NUMBERS)}"
        self.gone: dict[str, int] = {}
        # Nothing is indexed, so that any document fits any other; queries are not what this is about.
        httpx.put(f"{url}/{self.index}", json={"mappings": {"enabled": False}}).raise_for_status()

    @initialize()
    def open(self) -> None:
        """Open a store on an empty index."""
        self.store = OpenSearchStore.open(Link((self.url,)))

    def number_of_deletion(self) -> int:
        """Return the number that a deletion takes; the index is there from the beginning."""
        return self.number()

    def deleted(self, written: Written) -> None:
        """Take note of a deletion."""
        self.gone[written.id] = written.version

    def born(self, doc_id: str) -> int:
        """Return the version that a document has when it is created."""
        return self.gone.pop(doc_id, 0) + 1

    @precondition(lambda _: False)
    @rule(field=names, value=scalars)
    def delete_by_query(self, field: str, value: Any) -> None:
        """Do nothing: there is nothing to find."""

    def in_order(self, shown: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Return hits in the order to compare them in: merges may change that of equals."""
        return sorted(shown)


def test_cluster(opensearch: Node) -> None:
    """The store in a real OpenSearch does what the model does."""
    chosen = settings(max_examples=12, stateful_step_count=20, deadline=None, derandomize=True)
    run_state_machine_as_test(lambda: ClusterMachine(opensearch.url), settings=chosen)  # type: ignore[arg-type]

"""What every store does: tests that a store's own file inherits, with a fixture ``store`` that is empty."""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mlcommons_py.errors import IllegalArgument, MLCommonsError, ParsingFailed, VersionConflict
from mlcommons_py.store import CONTENT, Delete, Document, Put, Store, Written

INDEX = ".plugins-ml-model"
OTHER = ".plugins-ml-task"


def ids(answer: dict[str, Any]) -> list[str]:
    """Return the ids of a search's hits, in order."""
    return [hit["_id"] for hit in answer["hits"]["hits"]]


class StoreContract:
    """Reads and writes; queries are in :class:`SearchContract`."""

    async def test_missing_index_is_empty(self, store: Store) -> None:
        """An index that nobody wrote to has no documents and can be searched."""
        assert await store.get(INDEX, "a") is None
        assert await store.content(INDEX, "a") is None
        answer = await store.search(INDEX, {"query": {"match_all": {}}})
        assert answer["hits"] == {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []}
        assert await store.delete_by_query(INDEX, {"match_all": {}}) == 0

    async def test_index_exists(self, store: Store) -> None:
        """An index is there from its first document on, also when it is empty again; a deletion makes none."""
        missing = await store.delete(INDEX, "a")
        assert (missing.result, await store.exists(INDEX)) == ("not_found", False)
        await store.put(INDEX, "a", {})
        assert await store.exists(INDEX)
        await store.delete(INDEX, "a")
        assert (await store.exists(INDEX), await store.exists(OTHER)) == (True, False)

    async def test_stored_queries_of_a_missing_index(self, store: Store) -> None:
        """Who looks for stored queries in an index that is not there hears of it: they might have found something."""
        with pytest.raises(MLCommonsError):
            await store.search(OTHER, {"query": {"percolate": {"field": "query", "document": {"a": "x"}}}})

    async def test_nodes_with_a_plugin(self, store: Store) -> None:
        """No node of the store has a plugin that nobody installed."""
        assert await store.nodes_with("no-such-plugin") == frozenset()

    async def test_put_then_get(self, store: Store) -> None:
        """A stored document comes back whole, with the sequence number and version that the write told."""
        source = {"name": "Größe \u0000 漢字", "n": 1.5, "big": 2**53 + 1, "list": [None, True], "o": {"a": []}}
        written = await store.put(INDEX, "a", source)
        assert written == Written(INDEX, "a", "created", 1, written.seq_no, 1)
        assert await store.get(INDEX, "a") == Document(INDEX, "a", source, written.seq_no, 1, 1)
        assert await store.get(OTHER, "a") is None

    async def test_put_replaces(self, store: Store) -> None:
        """Storing again replaces the whole document and raises its version and sequence number."""
        first = await store.put(INDEX, "a", {"x": 1, "y": 2})
        second = await store.put(INDEX, "a", {"x": 3})
        assert (second.result, second.version) == ("updated", 2)
        assert second.seq_no > first.seq_no
        document = await store.get(INDEX, "a")
        assert document is not None
        assert document.source == {"x": 3}

    async def test_each_write_is_found(self, store: Store) -> None:
        """A search that begins after a write finds what it did, whichever kind of write it was."""
        for number in range(3):
            await store.put(INDEX, "a", {"x": number}, at_once=number != 1)
            hits = (await store.search(INDEX, {}))["hits"]["hits"]
            assert [hit["_source"] for hit in hits] == [{"x": number}]
        await store.update(INDEX, "a", {"x": 3})
        assert ids(await store.search(INDEX, {"query": {"term": {"x": 3}}})) == ["a"]
        await store.bulk([Put(INDEX, "b", {"x": 4})])
        assert ids(await store.search(INDEX, {"query": {"term": {"x": 4}}})) == ["b"]
        await store.delete(INDEX, "a")
        assert ids(await store.search(INDEX, {})) == ["b"]
        assert await store.delete_by_query(INDEX, {"match_all": {}}) == 1
        assert ids(await store.search(INDEX, {})) == []

    async def test_what_a_reader_knows_is_found(self, store: Store) -> None:
        """Who reads a document by its id finds it in a search then, though its writer was not answered yet."""
        for number in range(5):
            writing = asyncio.create_task(store.put(INDEX, f"{number}", {"n": number}))
            while await store.get(INDEX, f"{number}") is None:
                await asyncio.sleep(0)
            assert len(ids(await store.search(INDEX, {}))) == number + 1
            await writing

    async def test_query_deletes_what_was_just_written(self, store: Store) -> None:
        """A deletion by query deletes what was written before it began."""
        for number in range(3):
            await store.put(INDEX, "a", {"x": number})
            assert await store.delete_by_query(INDEX, {"term": {"x": number}}) == 1
            assert await store.get(INDEX, "a") is None

    async def test_new_ids(self, store: Store) -> None:
        """Documents stored without an id get different ones of 20 url-safe characters."""
        made = [(await store.put(INDEX, None, {})).id for _ in range(20)]
        assert len(set(made)) == 20
        assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{19}", one) for one in made)

    async def test_seq_no_is_per_index(self, store: Store) -> None:
        """Each write of an index takes its next sequence number, whatever other indices do."""
        numbers = [(await store.put(INDEX, name, {})).seq_no for name in "ab"]
        await store.put(OTHER, "a", {})
        numbers.append((await store.put(INDEX, "a", {})).seq_no)
        numbers.append((await store.delete(INDEX, "b")).seq_no)
        assert numbers == list(range(numbers[0], numbers[0] + 4))

    async def test_create_refuses_existing(self, store: Store) -> None:
        """With ``create`` an existing document is a conflict and stays as it was."""
        await store.put(INDEX, "a", {"x": 1}, create=True)
        with pytest.raises(VersionConflict, match=re.escape("document already exists (current version [1])")) as caught:
            await store.put(INDEX, "a", {"x": 2}, create=True)
        assert (caught.value.status, caught.value.type) == (409, "version_conflict_engine_exception")
        document = await store.get(INDEX, "a")
        assert document is not None
        assert (document.source, document.version) == ({"x": 1}, 1)

    @pytest.mark.parametrize("verb", ["put", "update", "delete"])
    async def test_stale_seq_no_conflicts(self, store: Store, verb: str) -> None:
        """A write based on a state that is no longer the last is a 409 that names both, and changes nothing."""
        old = await store.put(INDEX, "a", {"x": 1})
        new = await store.put(INDEX, "a", {"x": 2})
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "put": lambda: store.put(INDEX, "a", {"x": 3}, if_seq_no=old.seq_no, if_primary_term=1),
            "update": lambda: store.update(INDEX, "a", {"x": 3}, if_seq_no=old.seq_no, if_primary_term=1),
            "delete": lambda: store.delete(INDEX, "a", if_seq_no=old.seq_no, if_primary_term=1),
        }
        with pytest.raises(VersionConflict) as caught:
            await calls[verb]()
        assert caught.value.reason == (
            f"[a]: version conflict, required seqNo [{old.seq_no}], primary term [1]."
            f" current document has seqNo [{new.seq_no}] and primary term [1]"
        )
        document = await store.get(INDEX, "a")
        assert document is not None
        assert (document.source, document.seq_no) == ({"x": 2}, new.seq_no)

    async def test_wrong_primary_term_conflicts(self, store: Store) -> None:
        """The primary term must fit too."""
        written = await store.put(INDEX, "a", {})
        with pytest.raises(VersionConflict):
            await store.put(INDEX, "a", {}, if_seq_no=written.seq_no, if_primary_term=2)

    async def test_seq_no_of_missing_document_conflicts(self, store: Store) -> None:
        """A state of a document that does not exist cannot be the one it is in."""
        with pytest.raises(VersionConflict, match="but no document was found"):
            await store.put(INDEX, "a", {}, if_seq_no=0, if_primary_term=1)
        with pytest.raises(VersionConflict, match="but no document was found"):
            await store.delete(INDEX, "a", if_seq_no=0, if_primary_term=1)
        assert await store.get(INDEX, "a") is None

    async def test_half_a_condition(self, store: Store) -> None:
        """``if_seq_no`` without ``if_primary_term`` is refused, not ignored."""
        with pytest.raises(IllegalArgument, match="together"):
            await store.put(INDEX, "a", {}, if_seq_no=0)

    async def test_update_merges(self, store: Store) -> None:
        """Changes go into objects key by key; arrays, numbers and nulls replace what was there."""
        await store.put(INDEX, "a", {"o": {"x": 1, "y": {"z": 1}}, "l": [1, 2], "n": 1, "s": "t"})
        written = await store.update(INDEX, "a", {"o": {"y": {"w": 2}}, "l": [3], "n": None, "s": ["u"]})
        assert written is not None
        assert (written.result, written.version) == ("updated", 2)
        document = await store.get(INDEX, "a")
        assert document is not None
        assert document.source == {"o": {"x": 1, "y": {"z": 1, "w": 2}}, "l": [3], "n": None, "s": ["u"]}

    async def test_update_without_change(self, store: Store) -> None:
        """An update that changes nothing is a ``noop``: version and sequence number stay."""
        before = await store.put(INDEX, "a", {"x": 1, "o": {"a": 1, "b": 2}})
        written = await store.update(INDEX, "a", {"o": {"b": 2}})
        assert written == Written(INDEX, "a", "noop", 1, before.seq_no, 1)

    async def test_true_is_not_one(self, store: Store) -> None:
        """Replacing 1 by true is a change."""
        await store.put(INDEX, "a", {"interface": {"x": 1}})
        written = await store.update(INDEX, "a", {"interface": {"x": True}})
        assert written is not None
        assert written.result == "updated"
        document = await store.get(INDEX, "a")
        assert document is not None
        assert document.source["interface"]["x"] is True

    async def test_update_of_nothing(self, store: Store) -> None:
        """There is nothing to update where there is no document, whatever state is asked for."""
        assert await store.update(INDEX, "a", {"x": 1}) is None
        assert await store.update(INDEX, "a", {"x": 1}, if_seq_no=0, if_primary_term=1) is None
        assert await store.get(INDEX, "a") is None

    async def test_delete(self, store: Store) -> None:
        """A deleted document is gone; deleting it again says ``not_found``."""
        await store.put(INDEX, "a", {})
        written = await store.delete(INDEX, "a")
        assert (written.result, written.version) == ("deleted", 2)
        assert await store.get(INDEX, "a") is None
        assert (await store.delete(INDEX, "a")).result == "not_found"

    async def test_seq_no_survives_deletion(self, store: Store) -> None:
        """A document that is created anew is not in a state that an earlier one of its id was in."""
        old = await store.put(INDEX, "a", {})
        await store.delete(INDEX, "a")
        new = await store.put(INDEX, "a", {})
        assert new.result == "created"
        assert new.seq_no > old.seq_no
        with pytest.raises(VersionConflict):
            await store.put(INDEX, "a", {}, if_seq_no=old.seq_no, if_primary_term=1)

    @pytest.mark.parametrize(
        "source", [{"n": 2**64}, {"s": "\ud800"}], ids=["a number beyond 64 bits", "half a character"]
    )
    async def test_unstorable(self, store: Store, source: dict[str, Any]) -> None:
        """What JSON cannot hold is refused with the document's id, and nothing is stored."""
        with pytest.raises(IllegalArgument, match=r"\[a\]"):
            await store.put(INDEX, "a", source)
        assert await store.get(INDEX, "a") is None

    async def test_content(self, store: Store) -> None:
        """Binary content comes back byte for byte, beside a document that does not show it."""
        content = bytes(range(256)) * 5000
        await store.put(INDEX, "a", {"n": 1}, content=content)
        assert await store.content(INDEX, "a") == content
        document = await store.get(INDEX, "a")
        assert document is not None
        assert document.source == {"n": 1}

    async def test_content_stays_with_update_and_goes_with_put(self, store: Store) -> None:
        """An update keeps the content; storing again without it, or deleting, drops it."""
        await store.put(INDEX, "a", {"n": 1}, content=b"one")
        await store.update(INDEX, "a", {"n": 2})
        assert await store.content(INDEX, "a") == b"one"
        await store.put(INDEX, "a", {"n": 3}, content=b"")
        assert await store.content(INDEX, "a") == b""
        await store.put(INDEX, "a", {"n": 4})
        assert await store.content(INDEX, "a") is None
        await store.put(INDEX, "a", {"n": 5}, content=b"two")
        await store.delete(INDEX, "a")
        assert await store.content(INDEX, "a") is None

    @pytest.mark.parametrize(
        ("wanted", "shows"),
        [
            (CONTENT, True),
            (["n", CONTENT], True),
            ({"includes": [CONTENT]}, True),
            (True, False),
            ("*", False),
            ("model_*", False),
            ({"includes": [CONTENT], "excludes": [CONTENT]}, False),
            ({"includes": [CONTENT], "excludes": ["model_*"]}, False),
            ({"excludes": ["n"]}, False),
        ],
    )
    async def test_content_shows_where_named(self, store: Store, wanted: Any, shows: bool) -> None:
        """A hit shows content, in base64, only where ``_source`` has its very name."""
        await store.put(INDEX, "a", {"n": 1}, content=b"\x00\xff")
        answer = await store.search(INDEX, {"_source": wanted})
        (hit,) = answer["hits"]["hits"]
        assert hit["_source"].get(CONTENT) == (base64.b64encode(b"\x00\xff").decode() if shows else None)

    async def test_bulk(self, store: Store) -> None:
        """Each write of a bulk succeeds or fails by itself, and their outcomes come in order."""
        await store.put(INDEX, "there", {"x": 1})
        results = await store.bulk(
            [
                Put(INDEX, "new", {"x": 2}),
                Put(INDEX, "there", {"x": 3}, create=True),
                Delete(INDEX, "nowhere"),
                Put(OTHER, "bad", {"x": 2**64}),
                Put(INDEX, "there", {"x": 4}),
                Delete(INDEX, "new"),
            ]
        )
        kinds = [one.type if isinstance(one, MLCommonsError) else one.result for one in results]
        conflict, unfit = "version_conflict_engine_exception", "illegal_argument_exception"
        assert kinds == ["created", conflict, "not_found", unfit, "updated", "deleted"]
        assert ids(await store.search(INDEX, {"query": {"term": {"x": 4}}})) == ["there"]
        assert await store.get(INDEX, "new") is None

    async def test_delete_by_query(self, store: Store) -> None:
        """Every document that the query finds goes, with its content, and no other."""
        for number in range(30):
            await store.put(INDEX, f"a_{number}", {"n": number, "m": "a" if number % 3 else "b"}, content=b"x")
        assert await store.delete_by_query(INDEX, {"term": {"m": "a"}}) == 20
        assert (await store.search(INDEX, {"size": 0}))["hits"]["total"]["value"] == 10
        assert await store.content(INDEX, "a_1") is None
        assert await store.content(INDEX, "a_0") == b"x"

    async def test_delete_by_unknown_query(self, store: Store) -> None:
        """A query that is not understood deletes nothing."""
        await store.put(INDEX, "a", {})
        with pytest.raises(ParsingFailed, match="foo"):
            await store.delete_by_query(INDEX, {"foo": {}})
        assert await store.get(INDEX, "a") is not None

    async def test_no_update_is_lost(self, store: Store) -> None:
        """Tasks that count one number up under ``if_seq_no`` arrive at how often they counted."""
        await store.put(INDEX, "counter", {"n": 0})

        async def count() -> None:
            for _ in range(10):
                while True:
                    read = await store.get(INDEX, "counter")
                    assert read is not None
                    more, state, term = {"n": read.source["n"] + 1}, read.seq_no, read.primary_term
                    try:
                        await store.put(INDEX, "counter", more, if_seq_no=state, if_primary_term=term)
                    except VersionConflict:
                        continue
                    break

        await asyncio.gather(*(count() for _ in range(8)))
        document = await store.get(INDEX, "counter")
        assert document is not None
        assert (document.source["n"], document.version) == (80, 81)

    async def test_one_of_many_creates(self, store: Store) -> None:
        """Of tasks that create the same document one succeeds, and the document is that one's."""
        tries = (store.put(INDEX, "a", {"by": number}, create=True) for number in range(8))
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        (winner,) = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Written)]
        assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 7
        document = await store.get(INDEX, "a")
        assert document is not None
        assert document.source == {"by": winner}

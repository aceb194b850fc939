"""``percolate`` in the embedded store."""

import time
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py.errors import MLCommonsError, ParsingFailed
from mlcommons_py.store import Put
from mlcommons_py.store.embedded import EmbeddedStore

QUERIES: dict[str, dict[str, Any]] = {
    "word": {"match": {"body": "kill"}},
    "words": {"match": {"body": {"query": "one two", "operator": "and"}}},
    "phrase": {"match_phrase": {"body": "very bad"}},
    "term": {"term": {"body": "foo"}},
    "terms": {"terms": {"body": ["bar", "baz"]}},
    "prefix": {"prefix": {"body": "hate"}},
    "wildcard": {"wildcard": {"body": "x*z"}},
    "regexp": {"regexp": {"body": "r[ae]d"}},
    "query_string": {"query_string": {"query": "body:hex"}},
    "exact": {"term": {"body.keyword": "All of it"}},
    "both": {"bool": {"must": [{"match": {"body": "p"}}], "must_not": [{"match": {"body": "q"}}]}},
    "other": {"match": {"title": "kill"}},
}


async def found(store: EmbeddedStore, document: Any, **more: Any) -> list[str]:
    """Return the ids of the queries that find a document."""
    body = {"query": {"percolate": {"field": "query", "document": document}}, "size": 100, "sort": "_id", **more}
    return [hit["_id"] for hit in (await store.search("stop", body))["hits"]["hits"]]


@pytest.fixture
async def filled(embedded: EmbeddedStore) -> EmbeddedStore:
    """A store with the queries."""
    await embedded.bulk([Put("stop", name, {"query": query}) for name, query in QUERIES.items()])
    await embedded.put("stop", "none", {"title": "kill"})
    await embedded.put("stop", "text", {"query": "kill"})
    return embedded


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("to KILL it", "word"),
        ("one or two", "words"),
        ("one or three", ""),
        ("very, bad", "phrase"),
        ("bad, very", ""),
        ("foo", "term"),
        ("Foo!", "term"),
        ("a baz", "terms"),
        ("haters", "prefix"),
        ("xyz", "wildcard"),
        ("my red", "regexp"),
        ("hex", "query_string"),
        ("All of it", "exact"),
        ("p", "both"),
        ("p q", ""),
        ("foo kills, bar kill", "term terms word"),
        ("", ""),
        (["very", "bad"], ""),
        (["x", "kill"], "word"),
    ],
)
async def test_found(filled: EmbeddedStore, text: Any, names: str) -> None:
    """A stored query is found by a document that it finds; every string counts as a text."""
    assert await found(filled, {"body": text}) == names.split()


async def test_fields_and_documents(filled: EmbeddedStore) -> None:
    """Fields are told apart, and of several documents each may find a query."""
    assert await found(filled, {"title": "kill"}) == ["other"]
    several = {
        "query": {"percolate": {"field": "query", "documents": [{"body": "foo"}, {"title": "kill"}]}},
        "sort": "_id",
    }
    assert [hit["_id"] for hit in (await filled.search("stop", several))["hits"]["hits"]] == ["other", "term"]


async def test_in_other_queries(filled: EmbeddedStore) -> None:
    """It may stand in a filter beside other queries, which see the stored documents."""
    percolate = {"percolate": {"field": "query", "document": {"body": "kill foo"}}}
    body = {"query": {"bool": {"filter": [percolate, {"ids": {"values": ["term", "phrase"]}}]}}}
    assert [hit["_id"] for hit in (await filled.search("stop", body))["hits"]["hits"]] == ["term"]
    # What percolate does to fields ends with it.
    assert (await filled.search("stop", {"query": {"term": {"body": "kill"}}}))["hits"]["total"]["value"] == 0


async def test_changed_query(filled: EmbeddedStore) -> None:
    """A query that was changed or deleted is found as it is now."""
    await filled.put("stop", "word", {"query": {"match": {"body": "love"}}})
    await filled.delete("stop", "term")
    assert await found(filled, {"body": "kill foo"}) == []
    assert await found(filled, {"body": "love"}) == ["word"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"document": {}},
        {"field": 3, "document": {}},
        {"field": "query"},
        {"field": "query", "document": "x"},
        {"field": "query", "documents": []},
        {"field": "query", "document": {}, "documents": [{}]},
        {"field": "query", "index": "i", "id": "1"},
        {"field": "query", "document": {}, "x": 1},
    ],
)
async def test_malformed(filled: EmbeddedStore, parameters: dict[str, Any]) -> None:
    """A query of the wrong form is refused."""
    with pytest.raises(ParsingFailed, match=r"^\[percolate\]"):
        await filled.search("stop", {"query": {"percolate": parameters}})


async def test_query_that_cannot_be_done(filled: EmbeddedStore) -> None:
    """One stored query that the store cannot do fails the search instead of being passed over."""
    await filled.put("stop", "bad", {"query": {"nested": {}}})
    with pytest.raises(ParsingFailed, match="nested"):
        await found(filled, {"body": "x"})


async def test_missing_index(embedded: EmbeddedStore) -> None:
    """In an index that is not there nothing is looked for, while one that was emptied finds nothing."""
    with pytest.raises(MLCommonsError, match=r"no such index \[stop\]"):
        await found(embedded, {"body": "x"})
    await embedded.put("stop", "1", {})
    await embedded.delete("stop", "1")
    assert await found(embedded, {"body": "x"}) == []


async def test_many_queries(tmp_path: Path) -> None:
    """Two thousand queries over a text of 100 kB are no matter of seconds."""
    store = await EmbeddedStore.open(tmp_path / "many.db")
    await store.bulk([Put("stop", f"{n}", {"query": {"match": {"body": f"word{n}"}}}) for n in range(2000)])
    text = " ".join(f"other{n}" for n in range(10_000))
    assert await found(store, {"body": text}) == []
    began = time.process_time()
    assert await found(store, {"body": f"{text} word7"}) == ["7"]
    assert time.process_time() - began < 1
    await store.close()

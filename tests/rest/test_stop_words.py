"""Indices of stop words without a cluster, through their routes."""

from typing import Any

import httpx
import pytest

from tests.rest.test_models import reason

pytestmark = pytest.mark.only("embedded", reason="with a cluster these routes are the cluster's own")

MAPPING = {"mappings": {"properties": {"query": {"type": "percolator"}, "title": {"type": "text"}}}}


def percolate(text: str) -> dict[str, Any]:
    """Return the search that finds the queries that find a text."""
    return {"query": {"percolate": {"field": "query", "document": {"title": text}}}}


async def test_life(client: httpx.AsyncClient) -> None:
    """An index is created, filled, searched, emptied and deleted, in OpenSearch's words."""
    made = await client.put("/stop_words", json={"settings": {"number_of_shards": 1}, **MAPPING})
    assert made.json() == {"acknowledged": True, "shards_acknowledged": True, "index": "stop_words"}
    empty = await client.post("/stop_words/_search", json=percolate("kill"))
    assert (empty.status_code, empty.json()["hits"]["total"]["value"]) == (200, 0)

    document = {"title": "violence", "query": {"match": {"title": "kill"}}}
    first = await client.put("/stop_words/_doc/1", json=document, params={"refresh": "true"})
    assert (first.status_code, first.json()["result"]) == (200, "created")
    second = await client.post("/stop_words/_doc", json={"query": {"match_phrase": {"title": "very bad"}}})
    assert second.json()["result"] == "created"
    shown = (await client.get("/stop_words/_doc/1")).json()
    assert (shown["found"], shown["_source"]) == (True, document)

    for text, found in (("Kill it", ["1"]), ("very bad", [second.json()["_id"]]), ("good", [])):
        answer = (await client.post("/stop_words/_search", json=percolate(text))).json()
        assert [hit["_id"] for hit in answer["hits"]["hits"]] == found

    assert (await client.delete("/stop_words/_doc/1")).json()["result"] == "deleted"
    missing = await client.get("/stop_words/_doc/1")
    assert (missing.status_code, missing.json()) == (404, {"_index": "stop_words", "_id": "1", "found": False})
    again = await client.delete("/stop_words/_doc/1")
    assert (again.status_code, again.json()["result"]) == (404, "not_found")
    assert (await client.delete("/stop_words")).json() == {"acknowledged": True}
    for method, path in (("POST", "/_search"), ("DELETE", ""), ("POST", "/_doc"), ("GET", "/_doc/1"), ("GET", "")):
        gone = await client.request(method, f"/stop_words{path}", json=percolate("x") if method == "POST" else None)
        assert (gone.status_code, reason(gone)) == (404, "no such index [stop_words]")
        assert gone.json()["error"]["type"] == "index_not_found_exception"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "without a cluster an index can hold stop words and nothing else"),
        ({"mappings": {}}, "its mapping must have the field [query] of type [percolator]"),
        ({"mappings": {"properties": {"query": {"type": "text"}}}}, "the field [query] of type [percolator]"),
        (
            {"mappings": {"properties": {**MAPPING["mappings"]["properties"], "v": {"type": "knn_vector"}}}},
            "[v] must be of type text or percolator",
        ),
    ],
)
async def test_other_indices(client: httpx.AsyncClient, body: Any, text: str) -> None:
    """An index that is not one of stop words is refused with what it may be."""
    answer = await client.put("/books", json=body)
    assert (answer.status_code, text in reason(answer)) == (400, True)


@pytest.mark.parametrize("name", [".plugins-ml-model", ".x", "-x", "Xy", "x y", "%2e%2e", "a" * 256, "x*", "x,y"])
async def test_names(client: httpx.AsyncClient, name: str) -> None:
    """Names that OpenSearch does not take are refused, and so are the service's own indices, for every verb."""
    for method, path in (("PUT", ""), ("PUT", "/_doc/1"), ("GET", "/_doc/1"), ("DELETE", ""), ("POST", "/_search")):
        answer = await client.request(method, f"/{name}{path}", json=MAPPING if method in ("PUT", "POST") else None)
        assert (answer.status_code, reason(answer).startswith("Invalid index name [")) == (400, True)


async def test_description(client: httpx.AsyncClient) -> None:
    """An index is shown as OpenSearch shows one, and HEAD says whether it is there."""
    assert (await client.head("/stop_words")).status_code == 404
    await client.put("/stop_words", json=MAPPING)

    assert (await client.head("/stop_words")).status_code == 200
    shown = (await client.get("/stop_words")).json()["stop_words"]
    assert (shown["aliases"], shown["mappings"]) == ({}, MAPPING["mappings"])
    assert shown["settings"]["index"]["provided_name"] == "stop_words"


@pytest.mark.parametrize(("method", "path"), [("POST", "/_bulk"), ("GET", "/_nodes"), ("PUT", "/_x"), ("GET", "/%5Fx")])
async def test_what_begins_with_an_underscore(client: httpx.AsyncClient, method: str, path: str) -> None:
    """A name with an underscore in front is no index, but an API that is not served here."""
    answer = await client.request(method, path)
    text = f"no handler found for uri [{path.replace('%5F', '_')}] and method [{method}]: there is no cluster"
    assert answer.status_code == 501
    assert answer.json()["error"]["reason"].startswith(text)


async def test_system_index(client: httpx.AsyncClient) -> None:
    """The index that ML Commons reserves for stop words may hold them."""
    assert (await client.put("/.plugins-ml-stop-words", json=MAPPING)).status_code == 200


async def test_twice(client: httpx.AsyncClient) -> None:
    """An index that is there cannot be created."""
    await client.put("/stop", json=MAPPING)
    answer = await client.put("/stop", json=MAPPING)
    assert (answer.status_code, reason(answer)) == (400, "index [stop] already exists")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"title": "x"}, "a document of [stop] must have a [query]"),
        ({"query": "x"}, "query malformed"),
        ({"query": {"nested": {"path": "x"}}}, "[nested] query is not supported by the embedded store"),
        ({"query": {"percolate": {"field": "query", "document": {}}}}, "not allowed inside a percolator query"),
    ],
)
async def test_queries_that_cannot_be_done(client: httpx.AsyncClient, document: Any, text: str) -> None:
    """A document whose query could not be asked later is refused."""
    await client.put("/stop", json=MAPPING)
    for method, path in (("POST", "/stop/_doc"), ("PUT", "/stop/_doc/1")):
        answer = await client.request(method, path, json=document)
        assert (answer.status_code, text in reason(answer)) == (400, True)

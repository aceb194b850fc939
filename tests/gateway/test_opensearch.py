"""A real OpenSearch behind the service answers as it does directly."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator

import httpx
import orjson
import pytest
from opensearchpy import OpenSearch
from opensearchpy.helpers import bulk, scan

from scripts.opensearch import Node, placed
from tests.gateway.conftest import Before
from tests.gateway.peers import PATIENCE
from tests.opensearch import empty

Clients = tuple[httpx.AsyncClient, httpx.AsyncClient]
NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture
async def clients(client: httpx.AsyncClient, direct: httpx.AsyncClient, opensearch: Node) -> Clients:
    """A client through the service and one without it, of an OpenSearch that holds ten documents."""
    await asyncio.to_thread(empty, opensearch)
    lines = [
        line for number in range(10) for line in ({"index": {"_id": str(number)}}, {"n": number, "t": f"word{number}"})
    ]
    body = b"\n".join(map(orjson.dumps, lines)) + b"\n"
    answer = await client.post("/books/_bulk?refresh=true", content=body, headers=NDJSON)
    assert answer.json()["errors"] is False
    return client, direct


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", None),
        ("GET", "/books/_doc/3", None),
        ("GET", "/books/_doc/none", None),
        ("HEAD", "/books", None),
        ("HEAD", "/none", None),
        ("GET", "/books/_mapping?pretty", None),
        ("GET", "/b%6foks/_count", None),
        ("GET", "/books/_search?q=t:word3&filter_path=hits.hits._source", None),
        ("GET", "/none/_search", None),
        ("POST", "/books/_search?filter_path=hits", {"query": {"match": {"t": "word4"}}}),
        ("POST", "/books/_search", {"query": {"nonsense": {}}}),
        ("GET", "/_cat/indices?h=index,docs.count&s=index", None),
        ("GET", "/_cat/count/books?h=count&format=yaml", None),
        ("GET", "/_cat", None),
        ("PATCH", "/books", None),
        ("OPTIONS", "/books/_search", None),
        ("GET", "/_no/such/_path?x=1", None),
        ("POST", "/_analyze", {"analyzer": "standard", "text": "Größe übers ☃"}),
    ],
)
async def test_same_answer(clients: Clients, method: str, path: str, body: dict[str, object] | None) -> None:
    """Status, fields and body are those of the cluster, byte for byte."""
    answers = []
    for client in clients:
        answer = await client.request(method, path, json=body, headers={"accept-encoding": "identity"})
        answers.append((answer.status_code, answer.headers.raw, answer.content))

    assert answers[0] == answers[1]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_compression(clients: Clients, encoding: str) -> None:
    """A compressed body goes there, and a compressed answer comes back, without anybody unpacking it on the way."""
    query = orjson.dumps({"query": {"match_all": {}}, "size": 10})
    headers = {"content-type": "application/json", "accept-encoding": encoding}
    if encoding == "gzip":
        headers["content-encoding"] = "gzip"
        query = gzip.compress(query)
    answers = [await one.post("/books/_search?filter_path=hits", content=query, headers=headers) for one in clients]

    assert answers[0].headers.raw == answers[1].headers.raw
    assert answers[0].headers.get("content-encoding", "identity") == encoding
    assert answers[0].content == answers[1].content
    assert answers[0].json()["hits"]["total"]["value"] == 10


async def test_chunked_bulk(clients: Clients) -> None:
    """A bulk of 20 MB, sent in chunks as it is made, arrives whole."""

    async def documents() -> AsyncIterator[bytes]:
        for number in range(20):
            yield orjson.dumps({"index": {"_id": str(number)}}) + b"\n"
            yield orjson.dumps({"text": "x" * 1_000_000}) + b"\n"

    mapping = {"mappings": {"properties": {"text": {"type": "keyword", "index": False, "doc_values": False}}}}
    assert (await clients[0].put("/large", json=mapping)).status_code == 200
    answer = await clients[0].post("/large/_bulk?refresh=true", content=documents(), headers=NDJSON)

    assert answer.json()["errors"] is False
    assert (await clients[1].get("/large/_count")).json()["count"] == 20


async def test_too_long(clients: Clients) -> None:
    """A body that is too long for the cluster is refused as it refuses it."""
    body = b"x" * (101 << 20)
    statuses = []
    for client in clients:
        try:
            statuses.append((await client.post("/large/_bulk", content=body, headers=NDJSON)).status_code)
        except httpx.NetworkError:
            statuses.append(413)

    assert statuses == [413, 413]


async def test_python_client(clients: Clients) -> None:
    """The official client does its work through the service: bulk, scroll, update, delete."""

    def work() -> list[int]:
        with OpenSearch(str(clients[0].base_url), timeout=PATIENCE) as search:
            bulk(search, ({"_index": "many", "_id": n, "n": n} for n in range(1000)), refresh=True)
            search.update(index="many", id=5, body={"doc": {"n": 5000}}, refresh=True)
            search.delete(index="many", id=6, refresh=True)
            return sorted(hit["_source"]["n"] for hit in scan(search, index="many", size=100))

    assert await asyncio.to_thread(work) == [n for n in range(1000) if n not in (5, 6)] + [5000]


@pytest.fixture
def own() -> Iterator[Node]:
    """A node of this test alone, which may keep snapshots in a directory."""
    with placed() as node:
        (node.directory / "snapshots").mkdir()
        yield node


async def test_snapshot_and_restart(before: Before, own: Node) -> None:
    """A snapshot is made and restored through the service, which outlives the cluster's death and finds it again."""
    repository = {"path.repo": str(own.directory / "snapshots")}
    await asyncio.to_thread(own.start, repository)
    port = await before(own.url)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
        made = {"type": "fs", "settings": {"location": str(own.directory / "snapshots")}}
        assert (await client.put("/_snapshot/here", json=made)).json() == {"acknowledged": True}
        assert (await client.put("/a/_doc/1?refresh=true", json={"b": 1})).status_code == 201
        taken = await client.put("/_snapshot/here/one?wait_for_completion=true", json={"indices": "a"})
        assert taken.json()["snapshot"]["state"] == "SUCCESS"
        assert (await client.delete("/a")).json() == {"acknowledged": True}
        assert (await client.post("/_snapshot/here/one/_restore?wait_for_completion=true")).status_code == 200
        assert (await client.get("/a/_doc/1")).json()["_source"] == {"b": 1}

        await asyncio.to_thread(own.kill)
        assert (await client.get("/a/_doc/1")).status_code == 503
        await asyncio.to_thread(own.start, repository)
        assert (await client.get("/_cluster/health?wait_for_status=yellow")).status_code == 200
        assert (await client.get("/a/_doc/1")).json()["_source"] == {"b": 1}

"""Stop words in an index of a real OpenSearch."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node
from tests.guard.means import guard, refused
from tests.opensearch import empty

STOP = [{"index_name": "stop_words", "source_fields": ["title", "query_title"]}]


@pytest.fixture
async def store(opensearch: Node) -> AsyncIterator[OpenSearchStore]:
    """A cluster with an index of stop words, as the documentation of ML Commons fills it."""
    await asyncio.to_thread(empty, opensearch)
    properties = {"title": {"type": "text"}, "query": {"type": "percolator"}}
    async with httpx.AsyncClient(base_url=opensearch.url) as client:
        (await client.put("/stop_words", json={"mappings": {"properties": properties}})).raise_for_status()
        (await client.put("/empty", json={"mappings": {"properties": properties}})).raise_for_status()
        (await client.put("/books", json={"mappings": {"properties": {"title": {"type": "text"}}}})).raise_for_status()
        for text in ("kill", "very bad"):
            document = {"title": text, "query": {"match_phrase": {"title": text}}}
            await client.post("/stop_words/_doc", json=document, params={"refresh": "true"})
    store = OpenSearchStore.open(Link((opensearch.url,)), patience=1.0)
    yield store
    await store.close()


async def test_stop_words(store: OpenSearchStore, opensearch: Node) -> None:
    """The cluster finds what a stored query finds, also in disguise; and where it cannot, the text is refused."""
    made = guard(store.search, stop_words=STOP)
    for text, hit in (
        ('{"prompt":"how are you"}', False),
        ('{"prompt":"how to KILL time"}', True),
        ('{"prompt":"a very\\nbad idea"}', True),
        ('{"prompt":"k\\u0069ll"}', True),
        ('{"prompt":"ｋｉ\u200bｌｌ"}', True),
        ('{"prompt":"bad, very"}', False),
    ):
        assert await refused(made, text) is hit, text

    fields = ["title"]
    assert not await refused(guard(store.search, stop_words=[{"index_name": "empty", "source_fields": fields}]), "kill")
    for index in ("none", "books"):  # one that is not there, and one that holds no queries
        other = guard(store.search, stop_words=[{"index_name": index, "source_fields": fields}])
        assert await refused(other, "harmless")
    opensearch.pause()
    try:
        slow = guard(store.search, stop_words=STOP)
        slow._sides["input"].seconds = 0.5
        assert await refused(slow, "harmless")
    finally:
        opensearch.resume()

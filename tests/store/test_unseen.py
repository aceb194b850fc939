"""What a store in a cluster wrote is seen by who searches the cluster without it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from opensearchpy import AsyncOpenSearch

from mlcommons_py.store import Delete, Put
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from mlcommons_py.store.patience import awaited
from scripts.opensearch import Node
from tests.store.contract import INDEX
from tests.store.faulty import Drop, error, proxied

OTHER = f"{INDEX}-2"


@pytest.fixture
async def client(opensearch: Node) -> AsyncIterator[AsyncOpenSearch]:
    """A client of the cluster's own."""
    async with AsyncOpenSearch(opensearch.url) as one:
        yield one


async def still(client: AsyncOpenSearch, store: OpenSearchStore, *indices: str) -> None:
    """Make indices that the cluster never refreshes by itself."""
    for index in indices:
        await store.put(index, "first", {"x": 0})
        await client.indices.put_settings(body={"index.refresh_interval": "-1"}, index=index)
    await store.settle()


async def found(client: AsyncOpenSearch, index: str = INDEX) -> dict[str, int]:
    """Return what the cluster finds in an index."""
    hits = (await client.search(body={"size": 100}, index=index))["hits"]["hits"]
    return {hit["_id"]: hit["_source"]["x"] for hit in hits}


async def test_settled_writes_are_found(in_cluster: OpenSearchStore, client: AsyncOpenSearch) -> None:
    """When the writes of a store are settled, whichever kind they are, searches of the cluster's own find them."""
    store = in_cluster
    await still(client, store, INDEX)

    for write, expected in (
        (store.put(INDEX, "a", {"x": 1}), {"first": 0, "a": 1}),
        (store.update(INDEX, "a", {"x": 2}), {"first": 0, "a": 2}),
        (store.bulk([Put(INDEX, "b", {"x": 3}), Delete(INDEX, "first")]), {"a": 2, "b": 3}),
        (store.delete(INDEX, "a"), {"b": 3}),
        (store.delete_by_query(INDEX, {"term": {"x": 3}}), {}),
    ):
        before = await found(client)
        await write
        assert await found(client) in (before, {"b": 3})  # to delete by a query refreshes what it looks through
        await store.settle()
        assert await found(client) == expected


async def test_one_refresh_for_all(opensearch: Node, in_cluster: OpenSearchStore) -> None:
    """Writes to several indices are settled by one request, and what is settled by none."""
    async with proxied(opensearch.url) as proxy:
        store = OpenSearchStore.open(Link((proxy.url,)))
        await asyncio.gather(*(store.put(index, f"{number}", {}) for index in (INDEX, OTHER) for number in range(3)))
        await store.put(INDEX, "later", {}, at_once=False)
        proxy.heard.clear()
        await asyncio.gather(store.settle(), store.settle())
        assert [one.path for one in proxy.heard] == [f"/{INDEX}%2C{OTHER}/_refresh?ignore_unavailable=true"]
        await store.close()


async def test_who_comes_second_waits(opensearch: Node, in_cluster: OpenSearchStore) -> None:
    """Nobody takes for settled what another call is about to refresh."""
    async with proxied(opensearch.url) as proxy:
        store = OpenSearchStore.open(Link((proxy.url,)))
        await store.put(INDEX, "a", {})
        both = first, _ = [asyncio.create_task(store.settle()) for _ in range(2)]
        done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        assert first in done
        await asyncio.gather(*both)
        await store.close()


async def test_refresh_that_fails(opensearch: Node, in_cluster: OpenSearchStore) -> None:
    """What cannot be refreshed is written all the same: nobody is told that it failed."""
    async with proxied(opensearch.url) as proxy:
        store = OpenSearchStore.open(Link((proxy.url,)), patience=0.2)
        await store.put(INDEX, "a", {})
        proxy.when = lambda _, path: "_refresh" in path
        proxy.acts = [error("security_exception", "no permissions", 403)]
        await store.settle()
        proxy.always = Drop()
        await store.put(INDEX, "b", {})
        await store.settle()
        await store.close()


async def test_client_waits_for_its_writes(in_cluster: OpenSearchStore, client: AsyncOpenSearch) -> None:
    """What is written for a client, by tasks too, is settled for it; a chunk, of which it is told nothing, is not."""
    store = in_cluster
    await still(client, store, INDEX, OTHER)
    with awaited() as waiting:
        await asyncio.create_task(store.put(INDEX, "a", {"x": 1}))
        await store.put(OTHER, "b", {"x": 1}, at_once=False)
        await waiting.settled()
    assert await found(client) == {"first": 0, "a": 1}
    assert await found(client, OTHER) == {"first": 0}

"""The store in a cluster keeps the contract."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mlcommons_py.store import Store
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node
from tests.opensearch import empty
from tests.store.contract import INDEX, StoreContract
from tests.store.corpus import MODELS
from tests.store.search_contract import SearchContract, fill


class TestContract(StoreContract):
    """Reads and writes."""

    @pytest.fixture
    def store(self, in_cluster: OpenSearchStore) -> Store:
        """The store under test."""
        return in_cluster


class TestSearches(SearchContract):
    """Searches, over documents that stay from test to test: to make indices anew takes most of the time."""

    @pytest.fixture
    async def store(self, opensearch: Node) -> AsyncIterator[Store]:
        """The store under test."""
        store = OpenSearchStore.open(Link((opensearch.url,)))
        yield store
        await store.close()

    @pytest.fixture(autouse=True)
    async def filled(self, store: Store, opensearch: Node) -> None:
        """Store the documents that the tests look for, unless they are there, as they were first written."""
        hits = (await store.search(INDEX, {"version": True, "size": 100}))["hits"]["hits"]
        there = {hit["_id"]: (hit["_version"], hit["_source"]) for hit in hits}
        if there != {doc_id: (1, source) for doc_id, source in MODELS.items()}:
            await asyncio.to_thread(empty, opensearch)
            await fill(store)


async def test_latest_of_others(in_cluster: OpenSearchStore, opensearch: Node) -> None:
    """A search finds what another service stored."""
    other = OpenSearchStore.open(Link((opensearch.url,)))
    for number in range(5):
        await other.put(INDEX, f"{number}", {})
        found = await in_cluster.search(INDEX, {"size": 0})
        assert found["hits"]["total"]["value"] == number + 1
    await other.close()

"""Stores to test, each empty and in a directory of its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node
from tests.opensearch import empty


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """An empty embedded store."""
    store = await EmbeddedStore.open(tmp_path / "store.db")
    yield store
    await store.close()


@pytest.fixture
async def in_cluster(opensearch: Node) -> AsyncIterator[OpenSearchStore]:
    """An empty store in the real OpenSearch."""
    await asyncio.to_thread(empty, opensearch)
    store = OpenSearchStore.open(Link((opensearch.url,)))
    yield store
    await store.close()

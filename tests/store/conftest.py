"""Stores to test, each empty and in a directory of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlcommons_py.store.embedded import EmbeddedStore


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """An empty embedded store."""
    store = await EmbeddedStore.open(tmp_path / "store.db")
    yield store
    await store.close()

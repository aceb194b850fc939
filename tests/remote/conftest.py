"""A provider to call, and an empty store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlcommons_py.store.embedded import EmbeddedStore
from tests.remote.fake import Fake


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """A provider that follows a test's script."""
    async with Fake() as provider:
        yield provider


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """An empty store."""
    one = await EmbeddedStore.open(tmp_path / "store.db")
    yield one
    await one.close()

"""A provider to call."""

from collections.abc import AsyncIterator

import pytest

from tests.remote.fake import Fake


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """A provider that follows a test's script."""
    async with Fake() as provider:
        yield provider

"""A provider to call, and what calls it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mlcommons_py.plugin_settings import PREFIX, PluginSettings, parse
from mlcommons_py.remote.exchange import Outgoing
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote.fake import Fake


def settings_of(**values: Any) -> PluginSettings:
    """Return settings; ``__`` stands for a dot in a key. Unless they say otherwise, any http(s) URL is trusted."""
    open_ones = {"trusted_connector_endpoints_regex": ["^https?://.*$"], "connector__private_ip_enabled": True}
    keys = {PREFIX + name.replace("__", "."): value for name, value in {**open_ones, **values}.items()}
    return PluginSettings({key: parse(key, value) for key, value in keys.items()})


def asking(url: str, body: bytes = b"{}", **more: Any) -> Outgoing:
    """Return a request."""
    return Outgoing(
        **{"method": "POST", "url": url, "headers": {"Content-Type": "application/json"}, "body": body, **more}
    )


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """A provider that follows a test's script."""
    async with Fake() as provider:
        yield provider


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """What calls any address."""
    settings = settings_of()
    one = Transport(Trust(settings), settings)
    yield one
    await one.close()

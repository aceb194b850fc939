"""Keeping API servers running, whatever goes wrong."""

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from mlcommons_py.api_servers.core import beginning_of
from mlcommons_py.api_servers.desk import Desk
from mlcommons_py.api_servers.fleet import Fleet
from mlcommons_py.rest.routes import table
from mlcommons_py.settings import Operator
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.wiring import wire
from tests.remote.fake import PATIENCE


async def test_any_fault_is_told_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fault that nobody thought of does not end an API server's place: it is in the log, and it is tried again."""
    app = await wire(Operator(data=tmp_path), await EmbeddedStore.open(tmp_path / "store.db"), tmp_path)
    services = app.services
    listening = socket.socket()
    listening.close()  # it has no descriptor to give: a ValueError, not an OSError
    fleet = Fleet(
        1,
        listening,
        beginning_of(services, table(cluster=False), tmp_path),
        Desk(services.models, app.admission, services.settings),
        services.elsewhere,
        services.remotes,
        services.transport.breaker,
    )
    with caplog.at_level(logging.WARNING):
        fleet.start()
        async with asyncio.timeout(PATIENCE):
            while sum("it is started again" in one for one in caplog.messages) < 2:
                await asyncio.sleep(0)

    await fleet.close(at_once=True)
    await app.close()
    assert "ValueError" in caplog.text

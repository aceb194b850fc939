"""One service and one server with all providers, for all blueprints."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from mlcommons_py.cli.client import Client
from scripts.opensearch import Node
from tests.connectors.providers import everybody
from tests.e2e.service import Service, running
from tests.remote.fake import Fake


@pytest.fixture(scope="session")
def providers() -> Iterator[Fake]:
    """All the providers, on a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    fake = everybody()
    asyncio.run_coroutine_threadsafe(fake.start(), loop).result()
    yield fake
    asyncio.run_coroutine_threadsafe(fake.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def service(fresh: Node | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that trusts nobody yet."""
    flags = () if fresh is None else ("--store", fresh.url)
    with running(tmp_path_factory.mktemp("blueprints") / "data", flags=flags) as one:
        yield one


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """What the commands talk with."""
    with Client(str(service.http.base_url)) as one:
        yield one

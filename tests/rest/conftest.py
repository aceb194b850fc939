"""The service's parts on an empty store, and clients that call an application in process."""

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import httpx
import pytest

from mlcommons_py.rest.door import Route, web_app
from mlcommons_py.rest.routes import TABLE
from mlcommons_py.rest.services import Services
from mlcommons_py.settings import Operator
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.wiring import App, wire
from tests.rest.small import SMALL

LIMIT = 200_000

Caller = Callable[[Iterable[Route]], httpx.AsyncClient]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[App]:
    """The whole service, with bodies of 200 kB at most."""
    store = await EmbeddedStore.open(tmp_path / "store.db")
    app = await wire(Operator(data=tmp_path, max_body_bytes=LIMIT), store, tmp_path)
    await app.reconciler.restore()
    yield app
    await app.close()


@pytest.fixture
def services(service: App) -> Services:
    """What handlers work with."""
    return service.services


@pytest.fixture
async def calling(services: Services) -> AsyncIterator[Caller]:
    """A function from a table of routes to a client of it."""
    clients: list[httpx.AsyncClient] = []

    def call(table: Iterable[Route]) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(web_app(services, table))
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://test"))
        return clients[-1]

    yield call
    for client in clients:
        await client.aclose()


@pytest.fixture
def client(calling: Caller) -> httpx.AsyncClient:
    """A client of the whole API."""
    return calling(TABLE)


@pytest.fixture
def small(calling: Caller) -> httpx.AsyncClient:
    """A client of the small handlers."""
    return calling(SMALL)

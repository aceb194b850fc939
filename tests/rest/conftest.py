"""The service's parts on an empty store, and clients that call an application in process."""

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import httpx
import pytest

from mlcommons_py.app import open_store
from mlcommons_py.rest.door import Route
from mlcommons_py.rest.routes import table
from mlcommons_py.rest.services import Services
from mlcommons_py.rest.web import web_app
from mlcommons_py.settings import EMBEDDED, Operator
from mlcommons_py.wiring import App, wire
from tests.gateway.peers import Fake, scripted
from tests.rest.small import SMALL

LIMIT = 200_000

Caller = Callable[[Iterable[Route]], httpx.AsyncClient]


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """The server that requests are passed on to."""
    async with scripted() as server:
        yield server


@pytest.fixture
async def service(at: str, tmp_path: Path) -> AsyncIterator[App]:
    """The whole service, with bodies of 200 kB at most."""
    operator = Operator(data=tmp_path, store=at, max_body_bytes=LIMIT)
    app = await wire(operator, await open_store(operator), tmp_path, alone=at == EMBEDDED)
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

    def call(routes: Iterable[Route]) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(web_app(services, routes))
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://test"))
        return clients[-1]

    yield call
    for client in clients:
        await client.aclose()


@pytest.fixture
def client(calling: Caller, services: Services) -> httpx.AsyncClient:
    """A client of the whole API."""
    return calling(table(cluster=services.gateway is not None))


@pytest.fixture
def small(calling: Caller) -> httpx.AsyncClient:
    """A client of the small handlers."""
    return calling(SMALL)

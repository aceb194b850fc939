"""The service before a cluster, and clients that see every byte."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from mlcommons_py.app import open_store
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import CONNECTIONS, Pool
from mlcommons_py.rest.routes import table
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.web import web_app
from mlcommons_py.settings import EMBEDDED, Operator
from mlcommons_py.wiring import App, wire
from scripts.opensearch import Node
from tests.gateway.peers import PATIENCE, Fake, Wire, scripted

Before = Callable[..., Awaitable[int]]
Connect = Callable[[], Awaitable[Wire]]


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """A cluster that follows a test's script."""
    async with scripted() as cluster:
        yield cluster


@pytest.fixture
async def app(at: str, tmp_path: Path) -> AsyncIterator[App]:
    """The service's parts over an empty store."""
    operator = Operator(data=tmp_path, store=at)
    parts = await wire(operator, await open_store(operator), tmp_path, alone=at == EMBEDDED)
    yield parts
    await parts.close()


@pytest.fixture
async def before(app: App) -> AsyncIterator[Before]:
    """A function that starts the service before some addresses, and returns its port."""
    tasks, gateways = [], []

    async def start(
        *urls: str, places: int = CONNECTIONS, shutdown_seconds: float = 1.0, operator: Operator | None = None
    ) -> int:
        gateway = Gateway(Pool(urls, None, places))
        gateways.append(gateway)
        listening = listen("127.0.0.1", 0)
        port: int = listening.getsockname()[1]
        serves = asyncio.Event()
        services = replace(app.services, gateway=gateway, operator=operator or app.services.operator)
        serving = serve(web_app(services, table(cluster=True)), listening, shutdown_seconds, serves.set)
        tasks.append(asyncio.ensure_future(serving))
        await asyncio.wait_for(serves.wait(), PATIENCE)
        return port

    yield start
    if running := [task for task in tasks if not task.done()]:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait(running, timeout=PATIENCE)
    for gateway in gateways:
        gateway.close()
    for task in tasks:
        task.result()


@pytest.fixture
async def connect(before: Before, fake: Fake) -> AsyncIterator[Connect]:
    """A function that connects to a service before the fake cluster."""
    port = await before(fake.url)
    wires: list[Wire] = []

    async def open_one() -> Wire:
        wires.append(Wire(*await asyncio.open_connection("127.0.0.1", port)))
        return wires[-1]

    yield open_one
    for one in wires:
        one.close()


@pytest.fixture
async def client(before: Before, opensearch: Node) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service before a real OpenSearch."""
    port = await before(opensearch.url)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as one:
        yield one


@pytest.fixture
async def direct(opensearch: Node) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that OpenSearch itself."""
    async with httpx.AsyncClient(base_url=opensearch.url, timeout=PATIENCE) as one:
        yield one

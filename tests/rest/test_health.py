"""What watches the service reads."""

import dataclasses

import httpx

from mlcommons_py.rest.routes import TABLE
from mlcommons_py.rest.services import Services
from mlcommons_py.rest.web import web_app


async def test_live(client: httpx.AsyncClient) -> None:
    """A process that answers is live."""
    assert (await client.get("/_health/live")).json() == {"status": "live"}


async def test_ready(client: httpx.AsyncClient) -> None:
    """Where nothing is missing, the service is ready."""
    answer = await client.get("/_health/ready")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_not_ready(services: Services) -> None:
    """While a model is on its way back, the service is not ready, and says what it waits for."""
    waiting = dataclasses.replace(services, unready=lambda: ["model x"])
    transport = httpx.ASGITransport(web_app(waiting, TABLE))

    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/_health/ready")

    assert (answer.status_code, answer.json()) == (503, {"status": "not ready", "waiting_for": ["model x"]})


async def test_metrics(client: httpx.AsyncClient) -> None:
    """/metrics is Prometheus' text format."""
    await client.get("/_health/live")

    answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'route="/_health/live"' in answer.text

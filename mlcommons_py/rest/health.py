"""Handlers for who watches the service."""

from prometheus_client import CONTENT_TYPE_LATEST

from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services


async def live(services: Services, request: Request) -> object:
    """GET /_health/live: the process answers."""
    return {"status": "live"}


async def ready(services: Services, request: Request) -> object:
    """GET /_health/ready: every model that should be deployed is; 503 with what is missing until then."""
    missing = services.unready()
    if missing:
        return Answer({"status": "not ready", "waiting_for": missing}, status=503)
    return {"status": "ready"}


async def metrics(services: Services, request: Request) -> object:
    """GET /metrics."""
    await services.elsewhere.gather()
    return Answer(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)

"""The web application: a door for each path of the table, and with a cluster the way through to it."""

import asyncio
from collections.abc import Iterable
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from mlcommons_py.errors import StatusError
from mlcommons_py.rest.answer import Answer, error, plain_error
from mlcommons_py.rest.asked import Asked, path_of
from mlcommons_py.rest.body import Memory
from mlcommons_py.rest.door import BODIES_AT_ONCE, TEXT, Door, Endpoint, Route
from mlcommons_py.rest.identity import identity_of
from mlcommons_py.rest.paths import ML, OwnPaths, is_ours
from mlcommons_py.rest.services import Services
from mlcommons_py.rest.through import Through

_RAW_AT_ONCE = 3
"""Chunks in memory at a time: two that are stored (:mod:`~mlcommons_py.store.opensearch`), and one that comes in."""


async def _nowhere(request: Asked) -> Answer:
    """Return the answer where no route is: outside ML Commons' own, a cluster's API that has no cluster here."""
    if request.method == "OPTIONS":
        return Answer(b"", media_type=TEXT)
    text = f"no handler found for uri [{unquote(request.path)}] and method [{request.method}]"
    if is_ours(request.path):
        return plain_error(text, 400, bare=True)
    cure = "there is no cluster behind this service; start it with --store and the address of one"
    return error(StatusError(f"{text}: {cure}", 501))


def web_app(services: Services, table: Iterable[Route]) -> "WebApp":
    """Return the application of a table of routes; with a cluster, what the table lacks is the cluster's."""
    raw = asyncio.Semaphore(_RAW_AT_ONCE)
    bodies = Memory(BODIES_AT_ONCE * services.operator.max_body_bytes)
    by_path: dict[str, list[Route]] = {}
    for route in table:
        by_path.setdefault(route.path, []).append(route)
    gateway = services.gateway
    identity = None if gateway is None else identity_of(gateway, services.operator)
    doors = OwnPaths(
        {
            path: (
                Door(
                    services.metrics,
                    path,
                    Endpoint(services, routes, raw, bodies, identity if path.startswith(ML) else None).answer,
                    formed=any(route.formed for route in routes),
                ),
                {method for route in routes for method in route.methods.split(",")},
            )
            for path, routes in by_path.items()
        }
    )
    nowhere = Door(services.metrics, "none", _nowhere)
    through = None if gateway is None else Through(gateway, services.metrics)

    return WebApp(doors, nowhere, through)


class WebApp:
    """The application of a table of routes; with a cluster, what the table lacks is the cluster's, beneath ASGI."""

    def __init__(self, doors: OwnPaths[Door], nowhere: Door, through: Through | None) -> None:
        self._doors = doors
        self._nowhere = nowhere
        self._through = through

    def way(self, path: str, method: str) -> Through | None:
        """Return the way of a request that is the cluster's, or None."""
        return self._through if self._through is not None and self._doors.lack(path, method) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one of the service's own requests."""
        (door, _), params = self._doors.find(path_of(scope)) or ((self._nowhere, None), {})
        if params.get("index", "").startswith("_"):  # another API of OpenSearch's, such as /_bulk, and no index
            door = self._nowhere
        await door({**scope, "path_params": params}, receive, send)

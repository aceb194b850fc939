"""The core among its API servers: what it opens for them before it serves, and closes when it ends."""

import socket
from pathlib import Path

from starlette.types import ASGIApp

from mlcommons_py.api_servers.beginning import Beginning, Own
from mlcommons_py.api_servers.desk import Desk
from mlcommons_py.api_servers.fleet import Fleet
from mlcommons_py.api_servers.hatch import Hatch, hatch_in
from mlcommons_py.api_servers.turns import Turns
from mlcommons_py.lifecycle.admission import StoredAdmission
from mlcommons_py.rest import predicting
from mlcommons_py.rest.door import Route
from mlcommons_py.rest.services import Services

_OWN: dict[object, Own] = {predicting.predict: "predict", predicting.stream: "stream"}
"""Handlers whose requests API servers may answer themselves."""


class Core:
    """The core of a service with several processes. Make it with :meth:`open`."""

    def __init__(self, fleet: Fleet, hatch: Hatch) -> None:
        self._fleet = fleet
        self._hatch = hatch

    @classmethod
    async def open(
        cls,
        app: ASGIApp,
        routes: tuple[Route, ...],
        services: Services,
        admission: StoredAdmission,
        listening: socket.socket,
    ) -> "Core":
        """Start the API servers that the operator asked for; ``app`` answers what they hand over.

        Raises:
            Unavailable: the data directory cannot hold a socket.
        """
        operator = services.operator
        directory, private = hatch_in(operator.data.absolute())
        hatch = await Hatch.open(app, private)
        desk = Desk(services.models, admission, services.settings)
        count, breaker = operator.api_servers - 1, services.transport.breaker
        beginning = beginning_of(services, routes, directory)
        fleet = Fleet(count, listening, beginning, desk, services.elsewhere, services.remotes, breaker)
        fleet.start()
        return cls(fleet, hatch)

    @property
    def turns(self) -> Turns:
        """The core's turns at accepting connections."""
        return self._fleet.turns

    def stop(self) -> None:
        """Have the API servers accept nothing any more."""
        self._fleet.stop()

    async def close(self, *, at_once: bool = False) -> None:
        """End the API servers, when they have finished what runs unless it is to be at once."""
        await self._fleet.close(at_once=at_once)
        await self._hatch.close()


def beginning_of(services: Services, routes: tuple[Route, ...], directory: Path) -> Beginning:
    """Return what API servers are told; ``directory`` is where the core's socket is."""
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).extend(route.methods.split(","))
    own = {route.path: route for route in routes if route.handler in _OWN}
    return Beginning(
        operator=services.operator,
        routes=methods,
        own={path: _OWN[route.handler] for path, route in own.items()},
        queries={path: sorted(route.query) for path, route in own.items()},
        directory=directory,
    )

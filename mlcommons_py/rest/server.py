"""Serving HTTP with uvicorn."""

import socket
import ssl
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from mlcommons_py.errors import Unavailable
from mlcommons_py.rest.connection import Connection

KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048


class Server(uvicorn.Server):
    """A uvicorn server that says when it serves; its first signal ends it gracefully, the second at once."""

    def __init__(
        self, config: uvicorn.Config, serves: Callable[[], None], ends: Callable[[], None] | None = None
    ) -> None:
        super().__init__(config)
        self._serves = serves
        self._ends = ends

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._serves()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that it ends, and finish what runs."""
        if self._ends is not None:
            self._ends()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Heed a signal; unlike uvicorn, do not raise it again afterwards."""
        del sig, frame
        self.force_exit = self.should_exit
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        Unavailable: the address is taken, or cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as fault:
        raise Unavailable(f"cannot listen on {host}:{port}: {fault}; choose another with --port") from fault


def config_of(
    app: ASGIApp,
    shutdown_seconds: float,
    *,
    tls: ssl.SSLContext | None = None,
    connection: type[Connection] = Connection,
    keep_alive_seconds: int = KEEP_ALIVE_SECONDS,
) -> uvicorn.Config:
    """Return how uvicorn serves an application; see :func:`serve`."""
    return uvicorn.Config(
        app,
        http=connection,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        # uvicorn's own type is whole seconds; what it does with it takes fractions.
        timeout_graceful_shutdown=shutdown_seconds,  # type: ignore[arg-type]
        timeout_keep_alive=keep_alive_seconds,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )


async def serve(
    app: ASGIApp,
    listening: socket.socket,
    shutdown_seconds: float,
    serves: Callable[[], None],
    *,
    ends: Callable[[], None] | None = None,
    tls: ssl.SSLContext | None = None,
    connection: type[Connection] = Connection,
) -> bool:
    """Serve until SIGTERM or SIGINT; then finish what runs, for so many seconds at most.

    A second signal ends it at once; True is returned then. With ``tls`` it speaks https. ``serves`` is called when
    connections are accepted, ``ends`` when none are any more; ``connection`` says how long clients are waited for.
    """
    server = Server(config_of(app, shutdown_seconds, tls=tls, connection=connection), serves, ends)
    await server.serve(sockets=[listening])
    if server.force_exit:
        for task in server.server_state.tasks:
            task.cancel()
    return server.force_exit

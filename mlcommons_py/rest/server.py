"""Serving HTTP with uvicorn."""

import asyncio
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from mlcommons_py.errors import Unavailable


class Server(uvicorn.Server):
    """A uvicorn server that says when it serves, and leaves signals to :func:`serve`."""

    def __init__(self, config: uvicorn.Config, serves: Callable[[], None]) -> None:
        super().__init__(config)
        self._serves = serves

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._serves()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        Unavailable: the address is taken, or cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as fault:
        raise Unavailable(f"cannot listen on {host}:{port}: {fault}; choose another with --port") from fault


async def serve(app: ASGIApp, listening: socket.socket, shutdown_seconds: float, serves: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; then finish what runs, for so many seconds at most.

    A second signal ends it at once.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(shutdown_seconds),
        timeout_keep_alive=75,
    )
    server = Server(config, serves)
    # uvicorn takes the signals while it serves, finishes, and raises them again: here they have done their work then.
    kept = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        await server.serve(sockets=[listening])
    except asyncio.CancelledError:
        pass
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Let a signal that has been heeded pass."""

"""The hatch through which the core gets what API servers hand over: a Unix socket that only they can open."""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from mlcommons_py.api_servers.handing import SOCKET, Received, address
from mlcommons_py.errors import Unavailable
from mlcommons_py.rest.server import Server, config_of

DIRECTORY = "api-servers"
"""The socket's directory in the data directory."""

_KEEP_ALIVE_SECONDS = 86_400
"""A request must not meet a connection that is just being closed for want of use."""

_PATIENCE = 1.0
_BACKLOG = 2048


def hatch_in(data: Path) -> tuple[Path, socket.socket]:
    """Return a private directory with a listening socket in it; what an earlier run left there is gone.

    Raises:
        Unavailable: the directory cannot be made.
    """
    directory = data / DIRECTORY
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
        listening.bind(address(directory))
        (directory / SOCKET).chmod(0o600)
        listening.listen(_BACKLOG)
    except OSError as fault:
        listening.close()
        raise Unavailable(f"the data directory {data} cannot hold a socket: {fault}") from fault
    return directory, listening


class _Hatch(Server):
    """A server that heeds no signals: it ends when the API servers have."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the public server."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the Unix socket."""
        assert sockets is not None
        loop = asyncio.get_running_loop()
        self.servers = [await loop.create_unix_server(self.protocol, sock=sockets[0], backlog=_BACKLOG)]
        self.started = True
        self._serves()


class Hatch:
    """The core's private door. Make it with :meth:`open`."""

    def __init__(self, server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
        self._server = server
        self._serving = serving

    @classmethod
    async def open(cls, app: ASGIApp, listening: socket.socket) -> "Hatch":
        """Serve an application to API servers."""
        serves = asyncio.Event()
        config = config_of(Received(app), _PATIENCE, keep_alive_seconds=_KEEP_ALIVE_SECONDS)
        server = _Hatch(config, serves.set)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await serves.wait()
        return cls(server, serving)

    async def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        await self._serving

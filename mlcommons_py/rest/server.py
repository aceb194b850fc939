"""Serving HTTP with uvicorn."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from mlcommons_py.errors import Unavailable
from mlcommons_py.rest.accepting import Acceptor, Turns
from mlcommons_py.rest.connection import Connection
from mlcommons_py.upstream import notice_silence

KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048


class Server(uvicorn.Server):
    """A uvicorn server that says when it serves; its first signal ends it gracefully, the second at once."""

    def __init__(
        self,
        config: uvicorn.Config,
        serves: Callable[[], None],
        ends: Callable[[], None] | None = None,
        turns: Turns | None = None,
    ) -> None:
        super().__init__(config)
        self._serves = serves
        self._ends = ends
        self._turns = turns

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        if self._turns is None:
            await super().startup(sockets)
        else:
            assert sockets is not None
            await self._share(sockets[0], self._turns)
        self._serves()

    async def _share(self, listening: socket.socket, turns: Turns) -> None:
        """Start on a socket that other processes accept from, too."""
        acceptor = Acceptor(listening, self.protocol, self.config.ssl, turns, self._open)
        self.servers = [acceptor]  # type: ignore[list-item]
        self.started = True

    def protocol(self) -> asyncio.Protocol:
        """Return what speaks on a new connection."""
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _open(self) -> int:
        return len(self.server_state.connections)

    async def on_tick(self, counter: int) -> bool:
        """Let other processes know how many connections are left."""
        if self._turns is not None:
            self._turns.note(self._open())
        return await super().on_tick(counter)

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
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as fault:
        raise Unavailable(f"cannot listen on {host}:{port}: {fault}; choose another with --port") from fault
    notice_silence(listening)  # connections have it from here
    return listening


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
    turns: Turns | None = None,
    tls: ssl.SSLContext | None = None,
    connection: type[Connection] = Connection,
) -> bool:
    """Serve until SIGTERM or SIGINT; then finish what runs, for so many seconds at most.

    A second signal ends it at once; True is returned then. With ``tls`` it speaks https. ``serves`` is called when
    connections are accepted, ``ends`` when none are any more; ``turns`` divides them among the processes that accept
    from the socket, where it is not this one alone; ``connection`` says how long clients are waited for.
    """
    server = Server(config_of(app, shutdown_seconds, tls=tls, connection=connection), serves, ends, turns)
    await server.serve(sockets=[listening])
    if server.force_exit:
        for task in server.server_state.tasks:
            task.cancel()
    for left in [*server.server_state.connections]:
        if isinstance(left, Connection):
            left.give_up(Unavailable("the service is shutting down"))
    return server.force_exit

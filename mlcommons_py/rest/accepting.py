"""Accepting connections of a socket that other processes accept from, too, so that each gets its share.

The system wakes all of them for each connection, and who runs first has it. A client keeps its connection for long, so
that one process might come to serve everybody while the others idle.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

OTHERS_FIRST_SECONDS = 0.01
"""How long a connection is left to processes that have fewer; one that none of them takes is accepted then."""

_AT_ONCE = 16
"""Connections that are accepted when they were left to others for so long in vain."""

_RETRY_SECONDS = 1.0


class Turns(Protocol):
    """Knows how many connections each process has."""

    def note(self, count: int | None) -> None:
        """Let the others know how many this one has; None when it accepts none any more."""

    def others_first(self, count: int) -> bool:
        """Return whether another process that accepts has fewer than ``count``."""


class Acceptor:
    """Accepts connections from now on; it stands where uvicorn has a server of asyncio's.

    Args:
        protocol: makes what speaks on a connection.
        count: returns how many connections this process has.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        turns: Turns,
        count: Callable[[], int],
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._tls = tls
        self._turns = turns
        self._count = count
        self._making: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        listening.setblocking(False)
        turns.note(count())
        self._loop.add_reader(listening, self._ready)

    def close(self) -> None:
        """Accept nothing any more."""
        self._turns.note(None)
        self._loop.remove_reader(self._listening)
        if self._waiting is not None:
            self._waiting.cancel()

    async def wait_closed(self) -> None:
        """Wait for connections that were accepted and not yet set up."""
        if self._making:
            await asyncio.wait(self._making)

    def _ready(self) -> None:
        if self._turns.others_first(self._open()):
            self._later(OTHERS_FIRST_SECONDS)
        else:
            self._accept()

    def _open(self) -> int:
        return self._count() + len(self._making)

    def _later(self, seconds: float) -> None:
        """Look again after a while, and take then what is still there."""
        self._loop.remove_reader(self._listening)
        self._waiting = self._loop.call_later(seconds, self._again)

    def _again(self) -> None:
        self._loop.add_reader(self._listening, self._ready)
        for _ in range(_AT_ONCE):
            if not self._accept():
                break

    def _accept(self) -> bool:
        """Accept a connection, and return whether there was one; the next may be for another process."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as fault:
            log.warning("no connection can be accepted: %s; it is tried again", fault)
            self._later(_RETRY_SECONDS)
            return False
        making = self._loop.create_task(self._made(connection))
        self._making.add(making)
        making.add_done_callback(self._making.discard)
        self._turns.note(self._open())
        return True

    async def _made(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client hung up, or does not speak TLS
            await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._tls)

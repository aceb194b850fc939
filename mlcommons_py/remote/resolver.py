"""From the name of a host to its addresses."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host and port; raises :class:`OSError` where there are none."""

_THREADS = 8


class SystemLookup:
    """Asks the system, in threads of its own: a name server that hangs holds up nothing but the calls to its names."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "lookup")
        self._running: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host; who asks for the same while it is being looked up waits for that.

        Raises:
            OSError: the system knows none.
        """
        key = (host, port)
        running = self._running.get(key)
        if running is None:
            running = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key))
        return await asyncio.shield(running)

    def close(self) -> None:
        """Look nothing up any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))

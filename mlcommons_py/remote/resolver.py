"""From the name of a provider's host to the addresses that are called: looked up once, checked, and used as checked."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlcommons_py.remote.addresses import Address

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host and port; raises :class:`OSError` where there are none."""

_THREADS = 8

Admit = Callable[[str, list[Address]], None]
"""Raises :class:`~mlcommons_py.errors.IllegalArgument` where an address of a host may not be called."""


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


class Resolver:
    """The resolver of an HTTP client, in the form of ``aiohttp.abc.AbstractResolver``.

    The client connects to nothing but what this returns, and asks anew for each connection: a name that resolves
    differently the next time is checked again, and what was checked is never looked up a second time.
    """

    def __init__(self, lookup: Lookup, admit: Admit) -> None:
        self._lookup = lookup
        self._admit = admit

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: int = socket.AF_UNSPEC,  # noqa: ARG002 - the signature is the client's
    ) -> list[dict[str, Any]]:
        """Return a host's addresses, all of them checked; ``family`` does not narrow them.

        Raises:
            IllegalArgument: one of them may not be called.
            OSError: the host has none.
        """
        addresses = [ipaddress.ip_address(one.partition("%")[0]) for one in await self._lookup(host, port)]
        if not addresses:
            raise OSError(f"{host} has no address")
        self._admit(host, addresses)
        return [
            {
                "hostname": host,
                "host": str(one),
                "port": port,
                "family": socket.AF_INET if one.version == 4 else socket.AF_INET6,
                "proto": socket.IPPROTO_TCP,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for one in addresses
        ]

    async def close(self) -> None:
        """Do nothing; nothing is kept."""

"""From the name of a provider's host to the addresses that are called: looked up once, checked, and used as checked."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from mlcommons_py.remote.addresses import Address

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host and port; raises :class:`OSError` where there are none."""

Admit = Callable[[str, list[Address]], None]
"""Raises :class:`~mlcommons_py.errors.IllegalArgument` where an address of a host may not be called."""


async def system_lookup(host: str, port: int) -> list[str]:
    """Return the addresses that the system knows for a host.

    Raises:
        OSError: it knows none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
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

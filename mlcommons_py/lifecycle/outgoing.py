"""Outgoing HTTP whose checked address is the connected one.

The name of a host is resolved once; each address is checked; the connection goes to a checked address, so that a name
that resolves differently the next time gains nothing. Redirects are not followed, proxies of the environment not used.
"""

import asyncio
import ipaddress
from collections.abc import Iterable
from typing import Any

import httpcore

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.plugin_settings import PREFIX
from mlcommons_py.remote.addresses import is_public
from mlcommons_py.remote.resolver import Lookup, SystemLookup


async def _addresses(host: str, port: int, *, private: bool, lookup: Lookup) -> list[str]:
    """Return the addresses of a host that may be connected to.

    Raises:
        IllegalArgument: one of them is not public, and ``private`` is not allowed.
    """
    listed = await lookup(host, port)
    if not private and not all(is_public(ipaddress.ip_address(one.partition("%")[0])) for one in listed):
        raise IllegalArgument(
            f"Remote inference host name has private ip address: {host}. It may be called where the setting"
            f" {PREFIX}connector.private_ip_enabled is true."
        )
    return listed


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a host, checks its addresses, and connects to what it checked."""

    def __init__(self, *, private: bool, lookup: Lookup | None = None) -> None:
        """Allow addresses that are ``private``, or not; ``lookup`` finds them, None for the system."""
        self._private = private
        self._lookup = SystemLookup() if lookup is None else lookup
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that answers, all of them being allowed."""
        try:
            async with asyncio.timeout(timeout):
                listed = await _addresses(host, port, private=self._private, lookup=self._lookup)
        except TimeoutError as fault:
            raise httpcore.ConnectTimeout(f"no name server answered for {host} in time") from fault
        except OSError as fault:
            raise httpcore.ConnectError(f"cannot resolve {host}: {fault}") from fault
        for address in listed[:-1]:
            try:
                return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._plain.connect_tcp(listed[-1], port, timeout, local_address, socket_options)

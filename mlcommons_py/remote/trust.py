"""What connectors may call: the endpoints that are trusted, and the addresses behind them.

The rules are those of ``MLValidatableAsyncHttpClient.java`` and ``AbstractConnector.java``, with what they forget.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.expressions import compiled
from mlcommons_py.plugin_settings import PREFIX, PluginSettings
from mlcommons_py.remote.addresses import Address, Network, forms, is_public
from mlcommons_py.remote.endpoint import Endpoint, parse

_ENDPOINTS = "trusted_connector_endpoints_regex"
_PRIVATE_ENDPOINTS = "trusted_connector_private_endpoints_regex"
_RESTRICTED = "connector.restricted_ip_patterns"
_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


class Reach(IntEnum):
    """Which addresses that are not public a request may go to: none, those that the operator listed, or any."""

    PUBLIC = 0
    LISTED = 1
    ANY = 2


@dataclass(frozen=True, slots=True)
class Target:
    """A trusted endpoint, and how far a request to it may go."""

    endpoint: Endpoint
    reach: Reach


class Trust:
    """Decides what may be called; settings count from the moment they change."""

    def __init__(self, settings: PluginSettings, private_endpoints: str = "") -> None:
        """Take the operator's list: hosts and address ranges (CIDR), with commas between, that may be private.

        Raises:
            IllegalArgument: the list has something else in it.
        """
        self._settings = settings
        self._hosts, self._networks = listed(private_endpoints)

    def check(self, url: str, *, private: bool | None = None) -> Target:
        """Return where a URL leads; ``private`` allows addresses that are not public, None as the settings say.

        The addresses of a name are looked up when it is called, and go through :meth:`admit`.

        Raises:
            IllegalArgument: the URL, or the address in it, is not trusted. The text does not repeat the URL.
        """
        patterns = self._settings["trusted_connector_endpoints_regex"]
        if not patterns:
            raise IllegalArgument(
                f"Trusted connector endpoints regex is not configured. Please set {PREFIX}{_ENDPOINTS}."
            )
        if not _matches(_ENDPOINTS, patterns, url):
            raise IllegalArgument("Connector URL is not matching the trusted connector endpoint regex")
        endpoint = parse(url)
        reach = self._reach(endpoint, url, private)
        if endpoint.address is not None:
            self.admit(endpoint.host, [endpoint.address], reach)
        elif endpoint.host == "localhost" or endpoint.host.endswith(".localhost"):
            self.admit(endpoint.host, [_LOOPBACK], reach)
        return Target(endpoint, reach)

    def _reach(self, endpoint: Endpoint, url: str, private: bool | None) -> Reach:
        """Return which private addresses a URL may lead to."""
        patterns = self._settings["trusted_connector_private_endpoints_regex"]
        if patterns and not _matches(_PRIVATE_ENDPOINTS, patterns, url):
            return Reach.PUBLIC
        if private or (private is None and self._settings["connector.private_ip_enabled"]):
            return Reach.ANY
        return Reach.ANY if endpoint.host in self._hosts else Reach.LISTED

    def admit(self, host: str, addresses: Iterable[Address], reach: Reach) -> None:
        """Check the addresses of a host, all of them.

        Raises:
            IllegalArgument: one of them may not be called.
        """
        restricted = self._settings["connector.restricted_ip_patterns"]
        for address in addresses:
            if restricted and any(_matches(_RESTRICTED, restricted, str(one)) for one in forms(address)):
                raise IllegalArgument(f"Remote inference host name has restricted ip address: {host}")
            if is_public(address) or reach is Reach.ANY:
                continue
            if reach is Reach.LISTED and any(one in net for net in self._networks for one in forms(address)):
                continue
            if reach is Reach.PUBLIC and self._settings["connector.private_ip_enabled"]:
                raise IllegalArgument("Connector URL is not matching the trusted connector private endpoint regex")
            raise IllegalArgument(
                f"Remote inference host name has private ip address: {host}. It may be called where the setting"
                f" {PREFIX}connector.private_ip_enabled is true, or the operator's private_endpoints has the host or"
                " the address."
            )


def listed(text: str) -> tuple[frozenset[str], tuple[Network, ...]]:
    """Return the hosts and the address ranges of an operator's list.

    Raises:
        IllegalArgument: it has something else in it.
    """
    hosts, networks = set(), []
    for one in filter(None, map(str.strip, text.split(","))):
        try:
            networks.append(ipaddress.ip_network(one))
        except ValueError:
            try:
                endpoint = parse(f"http://{one}")
            except IllegalArgument as fault:
                raise _not_listed(one) from fault
            if "/" in one or "?" in one:
                raise _not_listed(one) from None
            hosts.add(endpoint.host)
    return frozenset(hosts), tuple(networks)


def _not_listed(text: str) -> IllegalArgument:
    return IllegalArgument(f"[private_endpoints] takes hosts and ranges such as 10.1.0.0/16, not [{text}]")


def _matches(setting: str, patterns: Sequence[str], text: str) -> bool:
    return _do_match(setting, tuple(patterns), text)


@lru_cache(maxsize=1024)
def _do_match(setting: str, patterns: tuple[str, ...], text: str) -> bool:
    try:
        return any(one.fullmatch(text) is not None for one in _compiled(setting, patterns))
    except UnicodeEncodeError as fault:
        raise IllegalArgument("Connector URL has a lone surrogate in it") from fault


@lru_cache(maxsize=16)
def _compiled(setting: str, patterns: tuple[str, ...]) -> list[Any]:
    return [compiled(one, PREFIX + setting) for one in patterns]

"""URLs of providers, read in one way only.

What two programs may read differently (a user before the host, a backslash, a number in place of an address) is
refused, so that the host that is checked is the one that is called. The result is the URL that goes out.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from functools import lru_cache

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.addresses import Address

MAX_LENGTH = 16 << 10
"""Most characters of a URL."""

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#\\]*)(/[^?#]*)?(\?[^#]*)?)?", re.DOTALL)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NOT_SENT = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]|%(?![0-9A-Fa-f]{2})")
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?=/|$)", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a request goes.

    Attributes:
        scheme: ``http`` or ``https``.
        host: lower case; of an international name its ASCII form; an IPv6 address without brackets.
        target: path and query, with what may not stand in a URL percent-encoded.
        address: of a host that is an address; None of a name.
        authority: host and port; the port only where it is not the usual one.
        origin: scheme, host and port; the port only where it is not the usual one.
        url: what goes out.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: Address | None = None
    authority: str = field(init=False, repr=False)
    origin: str = field(init=False, repr=False)
    url: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        authority = host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"
        origin = f"{self.scheme}://{authority}"
        object.__setattr__(self, "authority", authority)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "url", origin + self.target)


@lru_cache(maxsize=1024)
def parse(url: str) -> Endpoint:
    """Return where a URL leads.

    >>> parse("HTTPS://API.example.com:443/v1/größe?x=a b").url
    Traceback (most recent call last):
    mlcommons_py.errors.IllegalArgument: Connector URL has a blank, a control character or a backslash in it
    >>> parse("HTTPS://API.example.com:443/v1/größe").url
    'https://api.example.com/v1/gr%C3%B6%C3%9Fe'

    Raises:
        IllegalArgument: it is no URL of a provider, or could be read in two ways. The text never has the URL in it,
            which may carry a key.
    """
    if len(url) > MAX_LENGTH:
        raise IllegalArgument(f"Connector URL has {len(url)} characters; {MAX_LENGTH} are allowed")
    if _FORBIDDEN.search(url):
        raise IllegalArgument("Connector URL has a blank, a control character or a backslash in it")
    parts = _PARTS.match(url)
    scheme = parts[1].lower() if parts is not None else ""
    if parts is None or scheme not in _PORTS:
        raise IllegalArgument(f"Protocol is not http or https: {scheme}")
    authority = parts[2]
    if authority is not None and parts.end() != len(url):
        raise IllegalArgument("Connector URL has a fragment (#), which no provider would see; write %23")
    if authority is not None and "@" in authority:
        raise IllegalArgument("Connector URL has a user in it; put credentials into [credential] and a header")
    found = _AUTHORITY.fullmatch(authority or "")
    if found is None or not 0 < int(found[2] or 1) < 1 << 16:
        raise IllegalArgument("Connector URL has no valid host and port; it looks like https://host:443/path")
    host, address = _host(found[1])
    path = parts[3] or "/"
    if _DOTS.search(path):
        raise IllegalArgument("Connector URL has the segment . or .. in its path; write the path that is meant")
    target = _NOT_SENT.sub(_encoded, path + (parts[4] or ""))
    return Endpoint(scheme, host, int(found[2] or _PORTS[scheme]), target, address)


def _encoded(match: re.Match[str]) -> str:
    try:
        return "".join(f"%{byte:02X}" for byte in match[0].encode())
    except UnicodeEncodeError as fault:
        raise IllegalArgument("Connector URL has a lone surrogate in it") from fault


def _host(text: str) -> tuple[str, Address | None]:
    if text.startswith("["):
        try:
            six = ipaddress.IPv6Address(text[1:-1])
        except ValueError as fault:
            raise IllegalArgument(f"Connector URL has no valid IPv6 address as its host: {text}") from fault
        return str(six), six
    name = (_ascii(text) if not text.isascii() else text.lower()).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # As a browser does: whatever ends in a number is an address. Only one way to write it is unambiguous.
        try:
            four = ipaddress.IPv4Address(name)
        except ValueError as fault:
            raise IllegalArgument(
                f"Connector URL has no valid IPv4 address as its host: {name}; write four decimal numbers"
            ) from fault
        return str(four), four
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise IllegalArgument("Connector URL has no valid host name; letters, digits, - and . are allowed")
    return name, None


def _ascii(text: str) -> str:
    import idna  # comes with the HTTP client; needed for international names only

    try:
        return idna.encode(text, uts46=True).decode().lower()
    except idna.IDNAError as fault:
        raise IllegalArgument(f"Connector URL has no valid international host name: {fault}") from fault

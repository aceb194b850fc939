"""Header fields between client and cluster: what goes through, what does not, and what is added."""

from collections.abc import Iterator

from mlcommons_py.errors import BadRequest
from mlcommons_py.gateway.exchange import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that mean one connection only (RFC 9110, 7.6.1, and RFC 2616, 13.5.1)."""

_FRAMING = frozenset({b"content-length", b"host"})
"""Fields that a ``Connection`` field cannot take away: without them it is another message."""


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Return the values of a field, in order; ``name`` is in lower case."""
    return [value for one, value in headers if one.lower() == name]


def tokens(headers: Headers, name: bytes) -> list[bytes]:
    """Return the members of a field that is a list, in lower case."""
    found = values(headers, name)
    return [token.strip().lower() for value in found for token in value.split(b",")] if found else []


def end_to_end(headers: Headers) -> Iterator[tuple[bytes, bytes]]:
    """Return the fields that go through.

    >>> list(end_to_end([(b"Connection", b"x-a"), (b"X-A", b"1"), (b"X-B", b"2")]))
    [(b'X-B', b'2')]
    """
    dropped = _dropped(headers)
    return ((name, value) for name, value in headers if name.lower() not in dropped)


def _dropped(headers: Headers) -> frozenset[bytes]:
    named = tokens(headers, b"connection")
    return HOP_BY_HOP | (set(named) - _FRAMING) if named else HOP_BY_HOP


def chunked(headers: Headers) -> bool:
    """Return whether a request's body comes in chunks.

    Raises:
        BadRequest: it comes in an encoding that has to be undone before, or has one host too many: another server may
            take such a request for two.
    """
    names = [name.lower() for name, _ in headers]
    if names.count(b"host") > 1:
        raise BadRequest("a request has one [Host]; send no second one")
    if b"transfer-encoding" not in names:
        return False
    codings = tokens(headers, b"transfer-encoding")
    if codings != [b"chunked"]:
        raise BadRequest("the only [Transfer-Encoding] of a request can be chunked; send it without others", 501)
    if b"content-length" in names:
        raise BadRequest("a request has [Content-Length] or [Transfer-Encoding]; send one of them")
    return True


def asked(headers: Headers, client: str, scheme: str, authority: bytes, *, in_chunks: bool) -> Headers:
    """Return a request's fields as the cluster gets them.

    ``Host`` becomes the cluster's own, which names it where several share an address; the client's goes on in
    ``X-Forwarded-Host``, and its address at the end of ``X-Forwarded-For``.
    """
    sent = [(b"Host", authority)]
    hosts, addresses, others = [], [], set()
    dropped = _dropped(headers)
    for name, value in headers:
        low = name.lower()
        if low in dropped:
            continue
        if low == b"host":
            hosts.append(value)
        elif low == b"x-forwarded-for":
            addresses.append(value)
        else:
            sent.append((name, value))
            others.add(low)
    addresses.append(client.encode())
    sent.append((b"X-Forwarded-For", b", ".join(addresses)))
    if b"x-forwarded-proto" not in others:
        sent.append((b"X-Forwarded-Proto", scheme.encode()))
    if hosts and b"x-forwarded-host" not in others:
        sent.append((b"X-Forwarded-Host", hosts[0]))
    if b"trailers" in tokens(headers, b"te"):
        sent += [(b"TE", b"trailers"), (b"Connection", b"TE")]
    if in_chunks:
        sent.append((b"Transfer-Encoding", b"chunked"))
    return sent


def render(first: bytes, headers: Headers) -> bytes:
    """Return a head as it is written; ``first`` is its first line."""
    return b"".join([first, b"\r\n", *(b"%s: %s\r\n" % field for field in headers), b"\r\n"])


def origin(target: bytes) -> bytes:
    """Return a target without scheme and authority, as a server of its own is asked.

    >>> origin(b"http://cluster:9200/a?b"), origin(b"/a//b?http://x"), origin(b"http://cluster?b")
    (b'/a?b', b'/a//b?http://x', b'/?b')
    """
    if target[:1] in (b"/", b"*"):
        return target
    _, scheme, rest = target.partition(b"://")
    if not scheme:
        return target
    cut = min((at for at in map(rest.find, (b"/", b"?", b"#")) if at >= 0), default=len(rest))
    return rest[cut:] if rest[cut : cut + 1] == b"/" else b"/" + rest[cut:]

"""Header fields between client and cluster: what goes through, what does not, and what is added."""

from mlcommons_py.errors import BadRequest
from mlcommons_py.header_fields import Fields, Headers

_NEVER_BEHIND = frozenset(
    {b"content-length", b"host", b"authorization", b"cookie", b"content-encoding", b"content-type"}
)

_TOLD = frozenset({b"x-forwarded-proto", b"x-forwarded-host"})
"""Fields that stand as the first proxy of a chain wrote them."""


def chunked(fields: Fields) -> bool:
    """Return whether a request's body comes in chunks.

    Raises:
        BadRequest: it comes in an encoding that has to be undone before, or has one host too many: another server may
            take such a request for two.
    """
    names = fields.names
    if names.count(b"host") > 1:
        raise BadRequest("a request has one [Host]; send no second one")
    if b"transfer-encoding" not in names:
        return False
    if fields.tokens(b"transfer-encoding") != [b"chunked"]:
        raise BadRequest("the only [Transfer-Encoding] of a request can be chunked; send it without others", 501)
    if b"content-length" in names:
        raise BadRequest("a request has [Content-Length] or [Transfer-Encoding]; send one of them")
    return True


def asked(fields: Fields, client: str, scheme: str, authority: bytes, *, in_chunks: bool) -> Headers:
    """Return a request's fields as the cluster gets them.

    ``Host`` becomes the cluster's own, which names it where several share an address; the client's goes on in
    ``X-Forwarded-Host``, and its address at the end of ``X-Forwarded-For``.
    """
    dropped = fields.dropped()
    sent = [(b"Host", authority)]
    hosts, addresses, named = [], [], set()
    for low, field in zip(fields.names, fields.pairs, strict=True):
        if low in dropped:
            continue
        if low == b"host":
            hosts.append(field[1])
        elif low == b"x-forwarded-for":
            addresses.append(field[1])
        else:
            sent.append(field)
            if low in _TOLD:
                named.add(low)
    addresses.append(client.encode())
    sent.append((b"X-Forwarded-For", b", ".join(addresses)))
    if b"x-forwarded-proto" not in named:
        sent.append((b"X-Forwarded-Proto", scheme.encode()))
    if hosts and b"x-forwarded-host" not in named:
        sent.append((b"X-Forwarded-Host", hosts[0]))
    if b"trailers" in fields.tokens(b"te"):
        sent += [(b"TE", b"trailers"), (b"Connection", b"TE")]
    if in_chunks:
        sent.append((b"Transfer-Encoding", b"chunked"))
    return sent


def render(first: bytes, headers: Headers) -> bytes:
    """Return a head as it is written; ``first`` is its first line."""
    return b"".join([first, b"\r\n", *[b"%b: %b\r\n" % field for field in headers], b"\r\n"])


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


def chunk(data: bytes) -> bytes:
    """Return a part of a body as one chunk; nothing is none, since an empty chunk is the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Headers) -> bytes:
    """Return the end of a chunked body.

    Trailers that would say where a message ends, or who sent it, are left out (RFC 9110, 6.5.1).
    """
    return render(b"0", [one for one in Fields(trailers).end_to_end() if one[0].lower() not in _NEVER_BEHIND])

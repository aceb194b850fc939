"""The header fields of an HTTP message."""

from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]

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


class Fields:
    """The fields of a head, looked at many times and lower-cased once.

    Attributes:
        pairs: names as they were spelled, and values, in order.
        names: the names in lower case.
    """

    __slots__ = ("names", "pairs")

    def __init__(self, pairs: Headers) -> None:
        self.pairs = pairs
        self.names = [name.lower() for name, _ in pairs]

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field, in order; ``name`` is in lower case."""
        if name not in self.names:
            return []
        return [value for low, (_, value) in zip(self.names, self.pairs, strict=True) if low == name]

    def tokens(self, name: bytes) -> list[bytes]:
        """Return the members of a field that is a list, in lower case."""
        if name not in self.names:
            return []
        return [token.strip().lower() for value in self.values(name) for token in value.split(b",")]

    def end_to_end(self) -> list[tuple[bytes, bytes]]:
        """Return the fields that go through.

        >>> Fields([(b"Connection", b"x-a"), (b"X-A", b"1"), (b"X-B", b"2")]).end_to_end()
        [(b'X-B', b'2')]
        """
        if HOP_BY_HOP.isdisjoint(self.names):
            return list(self.pairs)
        dropped = self.dropped()
        return [pair for low, pair in zip(self.names, self.pairs, strict=True) if low not in dropped]

    def dropped(self) -> frozenset[bytes]:
        """Return the names of the fields that do not go through."""
        if b"connection" not in self.names:
            return HOP_BY_HOP
        return HOP_BY_HOP | (frozenset(self.tokens(b"connection")) - _FRAMING)

"""Content codings of HTTP, undone piece by piece: what clients and providers made of a body with gzip or deflate.

gzip may have several members (RFC 1952, section 2.2). ``deflate`` is zlib's format (RFC 9110, section 8.4.1.2), and to
some nothing but deflated data, with neither zlib's head nor its end.
"""

import zlib
from collections.abc import Iterator

CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
"""The names that a ``Content-Encoding`` may have here."""

_PIECE = 256 << 10
"""Most bytes that are decompressed in one go, and that are taken for it: a millisecond's work."""

_GZIP_OR_ZLIB = 47
"""Window bits with which zlib tells the two apart by itself."""

_BARE = -15


class Decoder:
    """What one of :data:`CODINGS` made of a body; :meth:`feed` it a part, and :meth:`take` until it is hungry.

    Attributes:
        hungry: whether all that was fed was taken.
    """

    def __init__(self, coding: str) -> None:
        self.hungry = True
        self._may_be_bare = coding == "deflate"
        self._left = memoryview(b"")
        self._member: zlib._Decompress | None = None

    @property
    def complete(self) -> bool:
        """Whether the body may end here; one of no bytes at all may."""
        return self.hungry and (self._member is None or self._member.eof)

    def feed(self, data: bytes) -> None:
        """Take the next part of the body, once the last was taken."""
        assert self.hungry
        self._left = memoryview(data)
        self.hungry = not data

    def take(self) -> bytes:
        """Return the next piece of what was fed, decompressed; a piece may be empty though others follow.

        Raises:
            zlib.error: it cannot be decompressed.
        """
        given = self._left[:_PIECE]
        if given and (self._member is None or self._member.eof):
            is_bare = self._member is None and self._may_be_bare and _is_bare(given[0])
            self._member = zlib.decompressobj(_BARE if is_bare else _GZIP_OR_ZLIB)
        if self._member is None or self._member.eof:
            piece = b""
        else:
            piece = self._member.decompress(given, _PIECE)
            left = len(self._member.unused_data if self._member.eof else self._member.unconsumed_tail)
            self._left = self._left[len(given) - left :]
        self.hungry = not self._left and len(piece) < _PIECE
        return piece

    def pieces(self, most: int) -> list[bytes]:
        """Return pieces of what was fed, of so many bytes or a little more together; raises as :meth:`take`."""
        found, size = [], 0
        while not self.hungry and size < most:
            if piece := self.take():
                found.append(piece)
                size += len(piece)
        return found

    def decoded(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next part of the body holds, in pieces; raises as :meth:`take`."""
        self.feed(data)
        while not self.hungry:
            if piece := self.take():
                yield piece


def _is_bare(first: int) -> bool:
    """Return whether compressed data that begin with this byte have neither zlib's head nor gzip's."""
    return first & 0x0F != 8 and first != 0x1F

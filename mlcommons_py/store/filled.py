"""A document with its content, as it is sent to a cluster: its base64 is made piece by piece, and never there whole."""

from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import pybase64
from aiohttp.abc import AbstractStreamWriter

from mlcommons_py.store import CONTENT

_PIECE = 192 << 10
"""Bytes that are encoded at once, a multiple of 3. Freed, the memory of so few is used for the next."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A document's JSON text, with content as its last field.

    >>> b"".join(Filled(b'{"n":1}', b"abcd").pieces())
    b'{"n":1,"model_content":"YWJjZA=="}'

    Attributes:
        encoded: the JSON object without its content.
        content: the content's bytes.
    """

    encoded: bytes
    content: bytes

    def __len__(self) -> int:
        """Return the length of the whole, in bytes."""
        return len(self._head()) + -(-len(self.content) // 3) * 4 + len(_TAIL)

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole, piece by piece."""
        yield self._head()
        content = memoryview(self.content)
        for start in range(0, len(content), _PIECE):
            yield pybase64.b64encode(content[start : start + _PIECE])
        yield _TAIL

    def _head(self) -> bytes:
        comma = b"" if self.encoded == b"{}" else b","
        return b'%b%b"%b":"' % (self.encoded[:-1], comma, CONTENT.encode())


_TAIL = b'"}'


class FilledPayload(aiohttp.Payload):
    """A filled document for aiohttp, as often as it is to be sent."""

    _autoclose = True
    _value: Filled

    def __init__(self, value: Filled) -> None:
        super().__init__(value)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return it as text."""
        return b"".join(self._value.pieces()).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it, no faster than it is taken."""
        for piece in self._value.pieces():
            await writer.write(piece)

"""An answer as it comes in: its head, and its body decompressed and within bounds."""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.exchange import Headers
from mlcommons_py.remote.faults import unreadable

if TYPE_CHECKING:
    import aiohttp

_PIECE = 256 << 10
"""Most bytes that are decompressed in one go."""

_GZIP_OR_ZLIB = 47
"""Window bits with which zlib tells the two apart by itself."""


class Answer:
    """An answer whose head came.

    :meth:`chunks`, and iterating, yield its body, decompressed, as it comes; :meth:`close` ends it, read or not.

    Attributes:
        headers: names in lower case; values of a name that came more than once are joined by commas.
        attempts: how many requests it took.
    """

    def __init__(
        self,
        wire: "aiohttp.ClientResponse",
        translate: Callable[[BaseException], RemoteFailed],
        leave: Callable[[], None],
        most: int,
    ) -> None:
        """Take the HTTP client's answer.

        Args:
            wire: the answer.
            translate: makes an error of a fault of the client.
            leave: is called when the answer is closed.
            most: bytes that its body may have where it is read as a whole; -1 for any number.
        """
        self.status = wire.status
        self.headers: Headers = _headers(wire)
        self.attempts = 1
        self._wire = wire
        self._translate = translate
        self._leave: Callable[[], None] | None = leave
        self._most = most

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.chunks()

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            RemoteFailed: it is too long, cannot be decompressed, or ends in the midst.
        """
        most = self._most
        if 0 <= most < (self._wire.content_length or 0):
            raise too_long(most)
        parts, size = [], 0
        async for part in self:
            size += len(part)
            if 0 <= most < size:
                raise too_long(most)
            parts.append(part)
        return b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body, decompressed, as it comes.

        Raises:
            RemoteFailed: it cannot be decompressed, or ends in the midst.
        """
        encoding = self.headers.get("content-encoding", "").lower()
        if encoding in ("", "identity"):
            async for part in self._arriving():
                yield part
            return
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise unreadable(f"the answer has the Content-Encoding [{encoding[:40]}]; gzip and deflate are understood")
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        began = False
        try:
            async for part in self._arriving():
                while part:
                    if member.eof:  # another member follows
                        member = zlib.decompressobj(_GZIP_OR_ZLIB)
                    began = True
                    yield member.decompress(part, _PIECE)
                    part = member.unused_data if member.eof else member.unconsumed_tail
            while began and not member.eof and (rest := member.decompress(b"", _PIECE)):
                yield rest
        except zlib.error as fault:
            raise unreadable(f"the answer is not what its Content-Encoding [{encoding}] says: {fault}") from fault
        if began and not member.eof:
            raise unreadable(f"the answer's {encoding} data ends in the midst")

    async def _arriving(self) -> AsyncIterator[bytes]:
        import aiohttp

        try:
            async for part in self._wire.content.iter_any():
                yield part
        except (aiohttp.ClientError, OSError) as fault:  # a TimeoutError is an OSError
            raise self._translate(fault) from fault

    def close(self) -> None:
        """Give the connection back if the body was read to its end, hang up if not."""
        leave, self._leave = self._leave, None
        if leave is not None:
            self._wire.close()
            leave()


def too_long(most: int) -> RemoteFailed:
    """Return the error for an answer that is longer than ``max_json_size`` says."""
    return unreadable(f"the answer is longer than {most} bytes; raise [plugins.ml_commons.max_json_size] to take it")


def _headers(wire: "aiohttp.ClientResponse") -> Headers:
    headers: dict[str, str] = {}
    for name, value in wire.headers.items():
        key = name.lower()
        if not value.isascii():  # the client hands on bytes that are no text as half surrogates
            value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers

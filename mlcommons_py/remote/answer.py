"""An answer as it comes in: its head, and its body decompressed and within bounds."""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.exchange import Headers
from mlcommons_py.remote.faults import unreadable

if TYPE_CHECKING:
    import aiohttp

_PIECE = 256 << 10
"""Most bytes that are decompressed in one go."""

_OTHERS = frozenset({"aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd"})
"""Content codings that IANA knows, beside those that are undone."""

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
        decode = self._decoder()
        parts, size = [], 0
        while arrived := await self._arrived():
            for part in (arrived,) if decode is None else decode.of(arrived):
                size += len(part)
                if 0 <= most < size:
                    raise too_long(most)
                parts.append(part)
        if decode is not None:
            decode.end()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body, decompressed, as it comes.

        Raises:
            RemoteFailed: it cannot be decompressed, or ends in the midst.
        """
        decode = self._decoder()
        while arrived := await self._arrived():
            for part in (arrived,) if decode is None else decode.of(arrived):
                yield part
        if decode is not None:
            decode.end()

    async def _arrived(self) -> bytes:
        """Return what came of the body since the last time, or nothing at its end."""
        content = self._wire.content
        if content.at_eof() and content.exception() is None:
            return b""
        import aiohttp

        try:
            return await content.readany()
        except (aiohttp.ClientError, OSError) as fault:  # a TimeoutError is an OSError
            raise self._translate(fault) from fault

    def _decoder(self) -> "_Inflated | None":
        encoding = self.headers.get("content-encoding", "").lower()
        if encoding in ("", "identity"):
            return None
        if encoding not in ("gzip", "x-gzip", "deflate"):
            name = encoding if encoding in _OTHERS else "unknown"  # it may be anything that the provider was sent
            raise unreadable(f"the answer has the Content-Encoding [{name}]; gzip and deflate are understood")
        return _Inflated(encoding)

    def close(self) -> None:
        """Give the connection back if the body was read to its end, hang up if not."""
        leave, self._leave = self._leave, None
        if leave is not None:
            if not self._wire.closed:  # by the end of its body
                self._wire.close()
            leave()


class _Inflated:
    """What gzip or zlib made of a body, piece by piece."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._began = False

    def of(self, part: bytes) -> Iterator[bytes]:
        """Yield what a part of the body holds.

        Raises:
            RemoteFailed: it cannot be decompressed.
        """
        try:
            while part:
                if self._member.eof:  # another member follows
                    self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
                self._began = True
                yield self._member.decompress(part, _PIECE)
                part = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            while self._began and not self._member.eof and (rest := self._member.decompress(b"", _PIECE)):
                yield rest
        except zlib.error as fault:
            raise unreadable(f"the answer is not what its Content-Encoding [{self._encoding}] says: {fault}") from fault

    def end(self) -> None:
        """Note that nothing more comes.

        Raises:
            RemoteFailed: something is missing.
        """
        if self._began and not self._member.eof:
            raise unreadable(f"the answer's {self._encoding} data ends in the midst")


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

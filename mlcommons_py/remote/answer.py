"""An answer as it comes in: its head, and its body decompressed, within bounds and in time."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from mlcommons_py.content_coding import CODINGS, Decoder
from mlcommons_py.errors import RemoteFailed
from mlcommons_py.header_fields import Fields
from mlcommons_py.remote import faults
from mlcommons_py.remote.connections import Line
from mlcommons_py.remote.endpoint import Endpoint
from mlcommons_py.remote.exchange import Headers
from mlcommons_py.remote.faults import unreadable

_AT_ONCE = 1 << 20
"""Bytes up to which a body is written in one piece; a longer one would hold up the loop where it is encrypted."""

_PART = 256 << 10
_AHEAD = 256 << 10
"""Bytes of an answer that may wait for who reads it."""

_IN_THREAD = 1 << 20
"""Bytes that are decompressed off the loop before it has them."""

_LONG = 4 << 20
"""Bytes from which on putting a body together would hold the loop up for milliseconds."""

_OTHERS = frozenset({"aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd"})
"""Content codings that IANA knows, beside those that are undone."""


class Answer:
    """An answer on its way, from the moment its request goes out.

    :meth:`chunks`, and iterating, yield its body, decompressed, as it comes; :meth:`close` ends it, read or not.

    Attributes:
        status: 0 until the head came.
        headers: names in lower case; values of a name that came more than once are joined by commas.
        attempts: how many requests it took.
    """

    def __init__(
        self, line: Line, endpoint: Endpoint, reading: float, until: float, most: int, ended: Callable[[bool], None]
    ) -> None:
        """Take a connection that is idle.

        Args:
            line: the connection.
            endpoint: where it leads.
            reading: seconds that the next of the answer may be waited for.
            until: when, by the loop's clock, all of it is to be there.
            most: bytes that its body may have where it is read as a whole; -1 for any number.
            ended: is called when the answer is closed, and told whether the connection can serve another request.
        """
        self.status = 0
        self.headers: Headers = {}
        self.attempts = 1
        self._line = line
        self._endpoint = endpoint
        self._reading = reading
        self._until: float | None = until
        self._most = most
        self._ended: Callable[[bool], None] | None = ended
        self._sent = False
        self._is_last = False
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.chunks()

    async def ask(self, method: str, head: bytes, body: bytes) -> None:
        """Send the request, as far as it is wanted: who answers early may not read it.

        Raises:
            RemoteFailed: the connection is lost, or nobody reads on.
        """
        line = self._line
        self._expect()
        whole = len(body) <= _AT_ONCE
        line.begin(method, head + body if whole else head, self._came, self._came)
        if not whole:
            for at in range(0, len(body), _PART):
                while not line.may_write and line.head is None:
                    await self._more()
                if line.head is not None:
                    return
                line.write(body[at : at + _PART])
        self._sent = True

    async def begun(self) -> None:
        """Wait for the head.

        Raises:
            RemoteFailed: it does not come in time, or the connection is lost.
        """
        line = self._line
        while (head := line.head) is None:
            await self._more()
        self.status = head.status
        self.headers = _headers(head.fields)

    def let_flow(self) -> None:
        """Let the rest take as long as it will, as long as something comes."""
        self._until = None
        if not self._line.complete:
            self._expect()

    async def read(self) -> bytes:
        """Return the whole body, once the head came.

        Raises:
            RemoteFailed: it is too long, cannot be decompressed, or ends in the midst.
        """
        most = self._most
        head = self._line.head
        assert head is not None
        if 0 <= most < (head.length or 0):
            raise too_long(most)
        decoder = self._decoder()
        parts: list[bytes] = []
        size = 0
        while some := await self._some(decoder):
            size += sum(map(len, some))
            if 0 <= most < size:
                raise too_long(most)
            parts += some
        if len(parts) == 1:
            return parts[0]
        return b"".join(parts) if size < _LONG else await asyncio.to_thread(b"".join, parts)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body, decompressed, as it comes.

        Raises:
            RemoteFailed: it cannot be decompressed, or ends in the midst.
        """
        decoder = self._decoder()
        while some := await self._some(decoder):
            for part in some:
                yield part

    def close(self) -> None:
        """Give the connection back; it is kept if both the request and the answer came to their end."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self._sent and self._line.reusable)

    async def _some(self, decoder: Decoder | None) -> Sequence[bytes]:
        """Return what comes next of the body, decompressed, or nothing at its end.

        The first piece of what arrived is made at once, and is all of most answers; what there is beyond it is not
        made on the loop.

        Raises:
            RemoteFailed: it cannot be decompressed, or ends in the midst.
        """
        if decoder is None:
            arrived = await self._arrived()
            return (arrived,) if arrived else ()
        encoding = self._encoding()
        try:
            while True:
                if not decoder.hungry:
                    some = await asyncio.to_thread(decoder.pieces, _IN_THREAD)
                elif arrived := await self._arrived():
                    decoder.feed(arrived)
                    some = [decoder.take()]
                elif decoder.complete:
                    return ()
                else:
                    raise unreadable(f"the answer's {encoding} data ends in the midst")
                if any(some):
                    return some
        except zlib.error as fault:
            raise unreadable(f"the answer is not what its Content-Encoding [{encoding}] says: {fault}") from fault

    async def _arrived(self) -> bytes:
        """Return what came of the body since the last time, or nothing at its end."""
        line = self._line
        while not line.held:
            if line.complete:
                return b""
            await self._more()
        data = line.taken()
        if line.is_paused:
            line.resume_reading()
            self._expect()
        return data

    async def _more(self) -> None:
        """Wait until something came, or the provider reads on.

        Raises:
            RemoteFailed: the connection is lost.
        """
        if self._line.lost is not None:
            raise self._lost()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _came(self) -> None:
        line = self._line
        if not line.complete and line.lost is None:
            self._expect()
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif line.held > _AHEAD and not line.complete:
            # Whoever reads is slower than the provider, which is not the provider's fault.
            line.pause_reading()
            self._is_last = True
            line.expect(self._left())

    def _expect(self) -> None:
        left = self._left()
        self._is_last = left is not None and left < self._reading
        self._line.expect(left if self._is_last else self._reading)

    def _left(self) -> float | None:
        """Return the seconds that the rest may take; None where there is no end to that."""
        return None if self._until is None else self._until - self._line.now()

    def _lost(self) -> RemoteFailed:
        line = self._line
        if line.misread is not None:
            fault = faults.misread(self._endpoint, line.misread)
            fault.__cause__ = line.misread
        elif line.is_late:
            fault = faults.endless() if self._is_last else faults.silent()
            fault.__cause__ = TimeoutError(line.lost)
        else:
            fault = faults.closed()
            fault.__cause__ = ConnectionError(line.lost)
        return fault

    def _encoding(self) -> str:
        return self.headers.get("content-encoding", "").lower()

    def _decoder(self) -> Decoder | None:
        encoding = self._encoding()
        if encoding in ("", "identity"):
            return None
        if encoding not in CODINGS:
            name = encoding if encoding in _OTHERS else "unknown"  # it may be anything that the provider was sent
            raise unreadable(f"the answer has the Content-Encoding [{name}]; gzip and deflate are understood")
        return Decoder(encoding)


def too_long(most: int) -> RemoteFailed:
    """Return the error for an answer that is longer than ``max_json_size`` says."""
    return unreadable(f"the answer is longer than {most} bytes; raise [plugins.ml_commons.max_json_size] to take it")


def _headers(fields: Fields) -> Headers:
    headers: dict[str, str] = {}
    for name, (_, value) in zip(fields.names, fields.pairs, strict=True):
        key, text = name.decode("ascii"), value.rstrip(b" \t").decode("utf-8", "replace")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers

"""A provider that answers every request with the same embedding after a pause, in a process of its own."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httptools
import orjson
import uvloop

DIMENSION = 384


def _answer() -> bytes:
    vector = [round(0.001 * number - 0.19, 6) for number in range(DIMENSION)]
    body = orjson.dumps({"object": "list", "data": [{"index": 0, "embedding": vector}], "model": "fake"})
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_ANSWER = _answer()


class _Connection(asyncio.Protocol):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep what to answer on."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Answer no more."""
        self._transport = None

    def on_message_complete(self) -> None:
        """Answer after the pause."""
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, self._send)
        else:
            self._send()

    def _send(self) -> None:
        if self._transport is not None:
            self._transport.write(_ANSWER)


async def _serve(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(seconds), "0.0.0.0", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def provider(milliseconds: int) -> Iterator[int]:
    """Start a provider that answers after a pause; give its port, the same on every address of the loopback."""
    command = [sys.executable, "-m", "benchmarks.provider", str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]) / 1000))

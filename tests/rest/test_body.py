"""Bodies that come slowly, or stop coming."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mlcommons_py.errors import StatusError
from mlcommons_py.rest.asked import Asked
from mlcommons_py.rest.body import read_body

PAUSE = 1.0


def coming(receive: Callable[[], Awaitable[dict[str, Any]]], *headers: tuple[bytes, bytes]) -> Asked:
    """Return a request whose body a function gives."""
    return Asked({"type": "http", "method": "POST", "path": "/", "headers": [*headers]}, receive)


async def test_body_as_servers_give_it() -> None:
    """A body is bytes, of whatever type its parts come in, and its length may be announced with leading zeros."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": bytearray(b"abc"), "more_body": False}

    body = await read_body(coming(receive, (b"content-length", b"0" * 5000 + b"3")), 100, "too long")

    assert (type(body), body) == (bytes, b"abc")


async def test_body_that_stops() -> None:
    """A body that pauses for too long is given up with 408, which says how much of it came."""
    messages = [{"type": "http.request", "body": b"abc", "more_body": True}]

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    with pytest.raises(StatusError, match="there were 3 bytes of it") as caught:
        await read_body(coming(receive), 100, "too long", patience=0.05)

    assert (caught.value.status, caught.value.type) == (408, "status_exception")


@pytest.mark.parametrize("begun", [b"x", bytes(5000)])
async def test_body_that_trickles(begun: bytes) -> None:
    """A body that never pauses for long is given up if it is slower than the least rate, however fast it began."""
    parts = [begun]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": parts.pop() if parts else b"x", "more_body": True}

    async with asyncio.timeout(20):
        with pytest.raises(StatusError) as caught:
            await read_body(coming(receive), 10_000, "too long", patience=0.2, slowest=100)

    assert caught.value.status == 408


class Told(asyncio.SelectorEventLoop):
    """An event loop whose clock goes on only where a test says so."""

    now = 0.0

    def time(self) -> float:
        """Return what the test says."""
        return self.now


def test_body_that_is_fast_enough() -> None:
    """A body above the least rate may take longer than one pause."""
    parts = [b"x" * 1000] * 20
    loop = Told()

    async def receive() -> dict[str, Any]:
        loop.now += 0.9 * PAUSE
        await asyncio.sleep(0)  # now the loop looks whose time has come
        return {"type": "http.request", "body": parts.pop(), "more_body": bool(parts)}

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        body = runner.run(read_body(coming(receive), 100_000, "too long", patience=PAUSE, slowest=1000))

    assert len(body) == 20_000
    assert loop.now > 10 * PAUSE

"""Bodies as long as chunks: who may have them in memory while they come in, and for how long."""

import asyncio
import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from mlcommons_py.errors import ContentTooLong, ParseFailed, StatusError
from mlcommons_py.rest.asked import Asked
from mlcommons_py.rest.raw_body import raw_body

LIMIT = 4_000_000
PATIENCE = 20.0
NOWHERE = Path("/nowhere")
"""No file can be made there."""


class Sender:
    """Sends a body part by part, as a test tells it."""

    def __init__(self, announced: int | None = None, encoding: str = "identity") -> None:
        self._parts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._encoding = encoding
        self._announced = announced
        self.taken = 0

    def send(self, part: bytes, *, last: bool = False) -> "Sender":
        """Send a part."""
        self._parts.put_nowait({"type": "http.request", "body": part, "more_body": not last})
        return self

    def leave(self) -> "Sender":
        """Hang up."""
        self._parts.put_nowait({"type": "http.disconnect"})
        return self

    async def _receive(self) -> dict[str, Any]:
        part = await self._parts.get()
        self.taken += 1
        return part

    def request(self) -> Asked:
        """Return the request."""
        headers = [(b"content-encoding", self._encoding.encode())]
        if self._announced is not None:
            headers.append((b"content-length", b"%d" % self._announced))
        return Asked({"type": "http", "method": "POST", "path": "/", "headers": headers}, self._receive)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


async def take(sender: Sender, directory: Path, places: asyncio.Semaphore, patience: float = PATIENCE) -> bytes:
    """Return a body, which is done with at once."""
    async with raw_body(sender.request(), LIMIT, "too long", directory, places, patience=patience) as body:
        return body


@pytest.mark.parametrize("announced", [None, 6, 10])
async def test_quick_body(announced: int | None) -> None:
    """What comes quickly into a free place needs no file, whatever length is announced."""
    sender = Sender(announced).send(b"abc").send(b"def", last=True)

    assert await take(sender, NOWHERE, asyncio.Semaphore(1)) == b"abcdef"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_body_that_turns_slow(tmp_path: Path, encoding: str) -> None:
    """Who stops in the middle loses the place to others, and the body goes on in a file."""
    places = asyncio.Semaphore(1)
    plain = b"".join(b"%d" % number for number in range(300_000))
    sent = gzip.compress(plain) if encoding == "gzip" else plain
    slow = Sender(len(sent), encoding).send(sent[:500_000])
    taking = asyncio.create_task(take(slow, tmp_path, places, patience=0.05))
    await until(lambda: slow.taken == 1)
    assert places.locked()
    await until(lambda: not places.locked())

    assert await take(Sender().send(b"quick", last=True), NOWHERE, places) == b"quick"
    slow.send(sent[500_000:900_000]).send(sent[900_000:], last=True)

    assert await taking == plain


async def test_place_is_held_while_the_body_is(tmp_path: Path) -> None:
    """A place is taken for as long as something is done with the body."""
    places = asyncio.Semaphore(1)
    sender = Sender().send(b"x", last=True)
    async with raw_body(sender.request(), LIMIT, "too long", tmp_path, places):
        assert places.locked()
    assert not places.locked()


@pytest.mark.parametrize(
    ("sender", "raised"),
    [
        (lambda: Sender(10).send(b"x").leave(), ClientDisconnect),
        (lambda: Sender().send(bytes(LIMIT)).send(b"x"), ContentTooLong),
        (lambda: Sender(LIMIT + 1), ContentTooLong),
        (lambda: Sender(encoding="gzip").send(b"no gzip", last=True), ParseFailed),
        (lambda: Sender(encoding="br"), StatusError),
        (lambda: Sender(10).send(b"x"), FileNotFoundError),
    ],
    ids=["disconnected", "too long", "announced too long", "broken", "unknown encoding", "no file to go on in"],
)
async def test_place_is_given_back(sender: Callable[[], Sender], raised: type[Exception]) -> None:
    """However the taking of a body fails, its place is free again."""
    places = asyncio.Semaphore(1)

    with pytest.raises(raised):
        await take(sender(), NOWHERE, places, patience=0.05)

    assert not places.locked()


@pytest.mark.parametrize("begun", [False, True])
async def test_place_is_given_back_by_who_is_cancelled(tmp_path: Path, begun: bool) -> None:
    """A request that is cancelled gives its place back, while its body comes in and afterwards."""
    places = asyncio.Semaphore(1)
    sender = Sender().send(b"x", last=begun)

    async def work() -> None:
        async with raw_body(sender.request(), LIMIT, "too long", tmp_path, places, patience=PATIENCE):
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await until(lambda: sender.taken == 1)
    assert places.locked()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert not places.locked()


async def test_memory_of_many(tmp_path: Path) -> None:
    """Of many long bodies that come at once only so many are in memory, whole or in part."""
    places = asyncio.Semaphore(2)
    part = bytes(250_000)
    most = now = 0

    async def work(sender: Sender) -> int:
        nonlocal most, now
        request = sender.request()
        async with raw_body(request, LIMIT, "too long", tmp_path, places, patience=PATIENCE) as body:
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            return len(body)

    senders = [Sender(LIMIT) for _ in range(30)]
    tracemalloc.start()
    try:
        working = [asyncio.create_task(work(sender)) for sender in senders]
        for sent in range(1, LIMIT // len(part) + 1):
            for sender in senders:
                sender.send(part, last=sent * len(part) == LIMIT)
            await until(lambda sent=sent: all(sender.taken == sent for sender in senders))  # type: ignore[misc]
        assert await asyncio.gather(*working) == [LIMIT] * 30
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most <= 2
    # Two bodies, and of each of the others what is collected before it is written.
    assert peak < 2 * LIMIT + 30 * 3 * len(part)

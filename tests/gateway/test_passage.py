"""Many requests at once, slow ones, and those that are under way when the service ends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import orjson
import pytest

from tests.gateway.conftest import Before, Connect
from tests.gateway.peers import OK, PATIENCE, Fake, Wire

GET = b"GET /a HTTP/1.1\r\nHost: me\r\n\r\n"


class Held:
    """A cluster that answers when it is told to, and knows how many requests wait."""

    def __init__(self) -> None:
        self.waiting = 0
        self.came = asyncio.Condition()
        self.go = asyncio.Semaphore(0)

    async def script(self, wire: Wire) -> None:
        """Answer each request without a body in its turn."""
        while await wire.head():
            await self._count(1)
            await self.go.acquire()
            await self._count(-1)
            await wire.send(OK)

    async def _count(self, change: int) -> None:
        async with self.came:
            self.waiting += change
            self.came.notify_all()

    async def has(self, waiting: int) -> None:
        """Wait until so many requests wait."""
        async with asyncio.timeout(PATIENCE), self.came:
            await self.came.wait_for(lambda: self.waiting == waiting)


@pytest.fixture
async def held(fake: Fake) -> Held:
    """The fake cluster, holding its answers back."""
    cluster = Held()
    fake.script = cluster.script
    return cluster


@pytest.fixture
async def narrow(before: Before, fake: Fake) -> AsyncIterator[Connect]:
    """A function that connects to a service that lets one request at a time through."""
    port = await before(fake.url, places=1)
    wires: list[Wire] = []

    async def connect() -> Wire:
        wires.append(Wire(*await asyncio.open_connection("127.0.0.1", port)))
        return wires[-1]

    yield connect
    for one in wires:
        one.close()


async def test_turn_is_waited_for(narrow: Connect, held: Held) -> None:
    """A request that finds all places taken goes through when one is free."""
    first, second = await narrow(), await narrow()
    await first.send(GET)
    await held.has(1)
    await second.send(GET)
    for _ in range(2):
        held.go.release()

    assert [(await one.answer())[1] for one in (first, second)] == [b"ok", b"ok"]


async def test_no_turn(narrow: Connect, held: Held) -> None:
    """A request for which there is no place in a second is 429, in OpenSearch's error shape; the next is served."""
    first, second = await narrow(), await narrow()
    await first.send(GET)
    await held.has(1)
    await second.send(GET)
    head, body = await second.answer()

    assert head.startswith(b"HTTP/1.1 429 ")
    error = orjson.loads(body)["error"]
    assert (error["type"], error["reason"]) == (
        "rejected_execution_exception",
        "1 requests are under way at the cluster; try again later",
    )
    held.go.release()
    assert (await first.answer())[1] == b"ok"
    held.go.release()
    await second.send(GET)
    assert (await second.answer())[1] == b"ok"


@pytest.mark.parametrize("first_too", [False, True])
async def test_place_of_who_left(narrow: Connect, held: Held, *, first_too: bool) -> None:
    """A client that goes away, before or behind its turn, leaves its place to the next."""
    first, second, third = await narrow(), await narrow(), await narrow()
    await first.send(GET)
    await held.has(1)
    await second.send(GET)
    second.close(reset=True)
    await third.send(GET)
    if first_too:
        first.close(reset=True)
    for _ in range(2):
        held.go.release()

    assert (await third.answer())[1] == b"ok"


async def test_pipelined_with_own(connect: Connect, fake: Fake) -> None:
    """Requests to the service and to the cluster behind it, sent without waiting, are answered in their order."""

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            length = 3 if head.startswith(b"POST") else 0
            body = await wire.exactly(length) if length else head.split()[1]
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    fake.script = script
    wire = await connect()
    ours = b"GET /_health/live HTTP/1.1\r\nHost: me\r\n\r\n"
    post = b"POST /b HTTP/1.1\r\nHost: me\r\nContent-Length: 3\r\n\r\nabc"
    await wire.send(GET + ours + post + ours + GET)
    bodies = [(await wire.answer())[1] for _ in range(5)]

    assert [bodies[0], bodies[2], bodies[4]] == [b"/a", b"abc", b"/a"]
    assert bodies[1] == bodies[3] != b""


async def test_slow_cluster(connect: Connect, fake: Fake) -> None:
    """A cluster that does not read holds the client up, and not the whole upload in memory."""
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go.wait()
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await wire.exactly(64 << 20)
        await wire.send(OK)

    fake.script = script
    wire = await connect()
    await wire.send(b"POST /_bulk HTTP/1.1\r\nHost: me\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
    sent = 0

    async def upload() -> None:
        nonlocal sent
        for _ in range(64):
            await wire.send(b"x" * (1 << 20))
            sent += 1

    uploading = asyncio.ensure_future(upload())
    seen = -1
    async with asyncio.timeout(PATIENCE):
        while sent != seen:
            seen = sent
            await asyncio.sleep(0.3)
    assert sent < 48
    go.set()
    await uploading

    assert (await wire.answer())[1] == b"ok"


async def test_upload_through_retry(connect: Connect, fake: Fake) -> None:
    """A request that is sent again because a kept connection was gone comes with the whole of its chunked body."""
    bodies = []

    async def script(wire: Wire) -> None:
        await wire.head()
        bodies.append(await wire.until(b"0\r\n\r\n"))
        await wire.send(OK)
        assert (await wire.head()).startswith(b"GET /a ")

    fake.script = script
    wire = await connect()
    for _ in range(3):
        await wire.send(b"GET /a HTTP/1.1\r\nHost: me\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        assert (await wire.answer())[1] == b"ok"

    assert bodies == [b"2\r\nhi\r\n0\r\n\r\n"] * 3


async def accepts(connect: Connect) -> bool:
    """Return whether the service takes new connections."""
    try:
        (await connect()).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it was about to be accepted
        return False
    return True


async def test_shutdown_waits(connect: Connect, held: Held) -> None:
    """A request that is under way when the service is told to end is answered, and its connection closed."""
    wire = await connect()
    await wire.send(GET)
    await held.has(1)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        while await accepts(connect):
            pass
    held.go.release()

    assert (await wire.answer())[1] == b"ok"
    assert await wire.rest() == b""


async def test_shutdown_is_bounded(before: Before, fake: Fake, held: Held) -> None:
    """What the cluster does not answer for longer than a shutdown may take is answered with 503."""
    port = await before(fake.url, shutdown_seconds=0.1)
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    await wire.send(GET)
    await held.has(1)
    os.kill(os.getpid(), signal.SIGTERM)
    head, body = await wire.answer()

    assert head.startswith(b"HTTP/1.1 503 ")
    assert orjson.loads(body)["error"]["reason"] == "the service is shutting down"
    wire.close()

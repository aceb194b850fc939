"""Clients that keep the service waiting, ask for more than they read, or break off."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest
from starlette.types import Receive, Scope, Send

from mlcommons_py.errors import Unavailable
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import Pool
from mlcommons_py.rest.connection import Connection
from mlcommons_py.rest.reading import HEAD_BYTES
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.through import Through
from tests.gateway.peers import OK, PATIENCE, Fake, Wire

pytestmark = pytest.mark.only("embedded", reason="the cluster is a script, and no document is read")

GET = b"GET /a HTTP/1.1\r\nHost: me\r\n\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: me\r\nTransfer-Encoding: chunked\r\n\r\n"


class Seen(Connection):
    """Is known to the test while it is open."""

    open: "list[Seen]" = []  # noqa: RUF012 - the server makes them, the test looks at them

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Be known."""
        super().connection_made(transport)
        Seen.open.append(self)
        self.read = 0

    def data_received(self, data: bytes) -> None:
        """Count."""
        super().data_received(data)
        self.read += len(data)

    @classmethod
    async def has_read(cls, count: int) -> None:
        """Wait until the only connection has read so many bytes."""
        async with asyncio.timeout(PATIENCE):
            while not cls.open or cls.open[0].read < count:
                await asyncio.sleep(0.001)

    def connection_lost(self, exc: Exception | None) -> None:
        """Be forgotten."""
        super().connection_lost(exc)
        Seen.open.remove(self)


class Impatient(Seen):
    """Waits a quarter of a second for what it otherwise waits a minute for."""

    body_seconds = 0.25
    slowest = 4.0


class Split:
    """An application that answers ``/own``, passes ``/late`` on itself, and has all else passed on beneath ASGI."""

    def __init__(self, url: str) -> None:
        self.gateway = Gateway(Pool([url], None))
        self._through = Through(self.gateway, None)

    def way(self, path: str, _method: str) -> Through | None:
        """Return the way of what is not this one's."""
        return None if path in ("/own", "/late") else self._through

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what body came."""
        if scope["path"] == "/late":
            await self._through(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


Open = Callable[..., Awaitable[Wire]]


@pytest.fixture
async def connect(fake: Fake) -> AsyncIterator[Open]:
    """A function that connects to the application, over connections of some kind."""
    wires: list[Wire] = []
    tasks: list[asyncio.Task[bool]] = []
    app = Split(fake.url)

    async def start(kind: type[Connection] = Seen) -> Wire:
        listening, serves = listen("127.0.0.1", 0), asyncio.Event()
        port = listening.getsockname()[1]
        tasks.append(asyncio.create_task(serve(app, listening, 0.1, serves.set, connection=kind)))
        await asyncio.wait_for(serves.wait(), PATIENCE)
        wires.append(Wire(*await asyncio.open_connection("127.0.0.1", port)))
        return wires[-1]

    yield start
    for wire in wires:
        wire.close(reset=True)
    if not all(task.done() for task in tasks):
        os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
    app.gateway.close()


async def fill(wire: Wire, block: bytes, most: int) -> int:
    """Send until nothing is taken for half a second, or for so many bytes; return how many were sent."""
    sent = 0
    try:
        while sent < most:
            wire.writer.write(block)
            await asyncio.wait_for(wire.writer.drain(), 0.5)
            sent += len(block)
    except (TimeoutError, ConnectionError):
        pass
    return sent


@pytest.mark.parametrize("path", [b"/a", b"/late"])
async def test_answers_nobody_reads(connect: Open, fake: Fake, path: bytes) -> None:
    """A client that asks on and on without reading an answer is not asked for, and gets them all once it reads."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n" + bytes(50_000)

    async def script(other: Wire) -> None:
        while await other.head():
            await other.send(answer)

    fake.script = script
    wire = await connect()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sending = asyncio.create_task(wire.send(GET.replace(b"/a", path) * 600))
    seen, size = -1, 0
    async with asyncio.timeout(PATIENCE):
        while not size or size != seen:
            await asyncio.sleep(0.3)
            seen, size = size, Seen.open[0].transport.get_write_buffer_size()
    assert size < 1 << 20
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(600):
        assert len((await wire.answer())[1]) == 50_000

    await sending


async def test_body_before_its_turn(connect: Open, fake: Fake) -> None:
    """The body of a request that waits for the one before it is not taken into memory."""
    go = asyncio.Event()

    async def script(other: Wire) -> None:
        await other.head()
        await other.exactly(2)
        await go.wait()
        await other.send(OK)
        await other.rest()

    fake.script = script
    wire = await connect()
    first = b"POST /a HTTP/1.1\r\nHost: me\r\nContent-Length: 2\r\n\r\nhi"
    await wire.send(first + first.replace(b": 2", b": 1000000000"))
    assert await fill(wire, bytes(1 << 20), 64 << 20) < 48 << 20
    go.set()

    assert (await wire.answer())[1] == b"ok"


@pytest.mark.parametrize("end", [b"0\r\n", b"5;"])
@pytest.mark.parametrize("path", [b"/a", b"/own"])
async def test_trailers_without_end(connect: Open, fake: Fake, path: bytes, end: bytes) -> None:
    """Trailers and extensions of chunks that grow and grow are refused."""
    wire = await connect()
    begun = CHUNKED % path + b"2\r\nhi\r\n"
    await wire.send(begun)
    await Seen.has_read(len(begun))
    await wire.send(end)
    await Seen.has_read(len(begun + end))
    filling = (b"a:b\r\n" if end == b"0\r\n" else b"aaaaa") * (HEAD_BYTES // 5 - 10)
    await wire.send(filling)
    await Seen.has_read(len(begun + end + filling))
    await wire.send(b"a" * 60)
    head, body = await wire.answer()

    assert head.startswith(b"HTTP/1.1 400 ")
    assert str(HEAD_BYTES) in orjson.loads(body)["error"]


@pytest.mark.parametrize("path", [b"/a", b"/own"])
async def test_many_chunks(connect: Open, fake: Fake, path: bytes) -> None:
    """A body may have any number of chunks."""

    async def script(other: Wire) -> None:
        await other.head()
        await other.until(b"\r\n0\r\n\r\n")
        await other.send(OK)

    fake.script = script
    wire = await connect()
    await wire.send(CHUNKED % path)
    for _ in range(50):
        await wire.send(b"1\r\nx\r\n" * 1000)
    await wire.send(b"0\r\n\r\n")

    assert (await wire.head()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("started", [False, True])
async def test_nonsense_behind_a_request(connect: Open, fake: Fake, *, started: bool) -> None:
    """What is no HTTP behind a request under way is not answered: the answer would be taken for that request's."""
    came = asyncio.Event()

    async def script(other: Wire) -> None:
        await other.head()
        if started:
            await other.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")
        came.set()
        await other.rest()

    fake.script = script
    wire = await connect()
    await wire.send(GET)
    await asyncio.wait_for(came.wait(), PATIENCE)
    if started:
        await wire.until(b"abc")
    await wire.send(b"NONSENSE\r\n\r\n")

    assert await wire.rest() == b""


@pytest.mark.parametrize("path", [b"/a", b"/own"])
async def test_nonsense_within_a_body(connect: Open, path: bytes) -> None:
    """A body whose chunks are none is 400 while nothing was answered."""
    wire = await connect()
    await wire.send(CHUNKED % path + b"2\r\nhi\r\n")
    await Seen.has_read(1)
    await wire.send(b"nonsense\r\n")

    assert (await wire.rest()).startswith(b"HTTP/1.1 400 ")


async def test_nothing_begins_at_the_end(connect: Open, fake: Fake) -> None:
    """What waits behind a request that is given up when the service ends is not begun."""
    heads: list[bytes] = []
    came = asyncio.Event()

    async def script(other: Wire) -> None:
        while True:
            heads.append(await other.head())
            came.set()

    fake.script = script
    wire = await connect()
    await wire.send(GET + GET.replace(b"/a", b"/b"))
    await asyncio.wait_for(came.wait(), PATIENCE)
    Seen.open[0].give_up(Unavailable("the service is shutting down"))
    head, _ = await wire.answer()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in head
    assert await wire.rest() == b""

    assert len(heads) == 1


async def test_old_client_offers_another_protocol(connect: Open) -> None:
    """An HTTP/1.0 client that offers another protocol is hung up on behind its answer, as any of its version."""
    wire = await connect()
    await wire.send(b"GET /own HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")

    assert (await wire.rest()).startswith(b"HTTP/1.1 200 ")


LONG = b"POST /a HTTP/1.1\r\nHost: me\r\nContent-Length: 1000000000\r\n\r\n"


@pytest.mark.parametrize(
    ("before", "path", "begun"),
    [
        (b"", b"/a", b""),
        (b"", b"/late", b"some"),
        (GET, b"/a", b"some"),
        (GET, b"/a", bytes(100_000)),
        (GET, b"/late", b""),
        (GET.replace(b"/a", b"/own"), b"/a", b""),
    ],
)
async def test_silent_in_its_body(connect: Open, fake: Fake, before: bytes, path: bytes, begun: bytes) -> None:
    """A client that stops within a body that is passed on is 408, and the cluster is done with it."""
    over = asyncio.Event()

    async def script(other: Wire) -> None:
        while (await other.head()).startswith(b"GET"):
            await asyncio.sleep(2 * Impatient.body_seconds)
            await other.send(OK)
        await other.rest()
        over.set()

    fake.script = script
    wire = await connect(Impatient)
    await wire.send(before + LONG.replace(b"/a", path) + begun)
    if before:
        assert (await wire.head()).startswith(b"HTTP/1.1 200 ")
        await wire.exactly(2 if before == GET else 0)
    head, body = await wire.answer()

    assert head.startswith(b"HTTP/1.1 408 ")
    assert "the body came too slowly" in orjson.loads(body)["error"]["reason"]
    await asyncio.wait_for(over.wait(), PATIENCE)


async def test_silent_behind_half_an_answer(connect: Open, fake: Fake) -> None:
    """Where the answer has begun the connection is cut."""

    async def script(other: Wire) -> None:
        await other.head()
        await other.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")
        await other.rest()

    fake.script = script
    wire = await connect(Impatient)
    await wire.send(LONG)
    await wire.until(b"abc")

    assert await wire.rest() == b""


@pytest.mark.parametrize("begun", [b"", bytes(100_000)])
async def test_steady_and_too_slow(connect: Open, fake: Fake, begun: bytes) -> None:
    """A body that is passed on and brings too little is 408 though it never stops, however much came before."""
    over = asyncio.Event()

    async def script(other: Wire) -> None:
        await other.head()
        await other.rest()
        over.set()

    class Strict(Impatient):
        slowest = 1000.0

    fake.script = script
    wire = await connect(Strict)
    await wire.send(LONG + begun)

    async def trickle() -> None:
        while not over.is_set():
            await wire.send(b"x")
            await asyncio.sleep(0.1 * Strict.body_seconds)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(trickle(), over.wait())
    head, body = await wire.answer()

    assert head.startswith(b"HTTP/1.1 408 ")
    assert "send at least 1000 bytes a second" in orjson.loads(body)["error"]["reason"]


async def test_slow_but_not_too_slow(connect: Open, fake: Fake) -> None:
    """A body may come for as long as enough of it comes, and the cluster may take its time to answer it."""

    async def script(other: Wire) -> None:
        await other.head()
        await other.exactly(4)
        await asyncio.sleep(3 * Impatient.body_seconds)
        await other.send(OK)

    fake.script = script
    wire = await connect(Impatient)
    await wire.send(LONG.replace(b"1000000000", b"4"))
    for _ in range(4):
        await asyncio.sleep(0.6 * Impatient.body_seconds)
        await wire.send(b"x")

    assert (await wire.answer())[1] == b"ok"


async def test_slow_cluster_is_no_fault_of_the_client(connect: Open, fake: Fake) -> None:
    """A client that waits because the cluster does not read has its time when the cluster reads on."""
    size = 32 << 20

    async def script(other: Wire) -> None:
        await other.head()
        transport = other.writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(4 * Impatient.body_seconds)
        transport.resume_reading()  # type: ignore[attr-defined]
        await other.exactly(size)
        await other.send(OK)

    fake.script = script
    wire = await connect(Impatient)
    await wire.send(LONG.replace(b"1000000000", b"%d" % size))
    await wire.send(bytes(size))

    assert (await wire.answer())[1] == b"ok"


async def test_answer_that_is_not_taken(connect: Open, fake: Fake) -> None:
    """A client that takes nothing of its answer is hung up on, and the cluster is done with it."""
    over = asyncio.Event()

    async def script(other: Wire) -> None:
        await other.head()
        try:
            await other.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
            while True:
                await other.send(bytes(1 << 20))
        except ConnectionError:
            over.set()

    fake.script = script
    wire = await connect(Impatient)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await wire.send(GET)

    await asyncio.wait_for(over.wait(), PATIENCE)


async def test_vanished_clients_are_noticed(connect: Open) -> None:
    """The system asks a client that says nothing whether it is still there."""
    wire = await connect()
    await wire.send(GET)
    await wire.answer()
    accepted = Seen.open[0].transport.get_extra_info("socket")

    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30

"""Clusters and clients that go away, at every point of an exchange."""

import asyncio
import time

import orjson
import pytest

from tests.gateway.conftest import Before, Connect
from tests.gateway.peers import OK, PATIENCE, Fake, Wire, fine

pytestmark = pytest.mark.only("embedded", reason="the cluster is a script, and no document is read")

GET = b"GET /a HTTP/1.1\r\nHost: me\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: me\r\nContent-Length: 2\r\n\r\nhi"


async def status_of(wire: Wire, request: bytes) -> int:
    """Send a request; return its answer's status."""
    await wire.send(request)
    head, _ = await wire.answer()
    return int(head.split()[1])


async def test_down(connect: Connect, fake: Fake) -> None:
    """While the cluster is down, the answer is 503 in its own error shape within a second; then all is well again."""
    await fake.stop()
    wire = await connect()
    began = time.monotonic()
    await wire.send(GET)
    head, body = await wire.answer()

    assert time.monotonic() - began < 1
    assert head.startswith(b"HTTP/1.1 503 ")
    error = orjson.loads(body)
    assert (error["status"], error["error"]["type"]) == (503, "status_exception")
    assert "cannot be reached" in error["error"]["reason"]
    await fake.start()
    assert await status_of(wire, GET) == 200


async def test_silent_address(before: Before) -> None:
    """An address where nobody answers is given up within a second, too."""
    # The second connection waits in the backlog of a listener that accepts none; the third gets no answer at all.
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0, backlog=0, start_serving=False)
    listener = server.sockets[0]
    listener._sock.listen(0)  # type: ignore[attr-defined]
    address = listener.getsockname()
    held = [await asyncio.open_connection(*address)]
    port = await before(f"http://127.0.0.1:{address[1]}")
    wires = [Wire(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(3)]
    began = time.monotonic()
    for wire in wires:
        await wire.send(GET)
    answers = asyncio.as_completed([wire.answer() for wire in wires], timeout=PATIENCE)
    head, _ = await next(iter(answers))

    assert head.startswith(b"HTTP/1.1 503 ")
    assert time.monotonic() - began < 1
    for one in wires:
        one.close()
    for _, writer in held:
        writer.close()
    server.close()


async def test_next_address(before: Before, fake: Fake) -> None:
    """Of several addresses one that is up is used, whichever are down."""
    down = Fake()
    await down.start()
    other = Fake()
    await other.start()
    wire = Wire(*await asyncio.open_connection("127.0.0.1", await before(down.url, fake.url, other.url)))
    assert [await status_of(wire, GET) for _ in range(6)] == [200] * 6
    assert min(down.connections, fake.connections, other.connections) == 1
    await down.stop()

    assert [await status_of(wire, GET) for _ in range(6)] == [200] * 6
    await other.stop()
    assert [await status_of(wire, POST.replace(b"hi", b"").replace(b"2", b"0")) for _ in range(6)] == [200] * 6
    wire.close()


async def once(wire: Wire) -> None:
    """Answer one request, and hang up at the next."""
    await wire.head()
    await wire.send(OK)
    await wire.head()


async def test_stale_connection(connect: Connect, fake: Fake) -> None:
    """A request that changes nothing is sent again when a kept connection turns out to be gone."""
    fake.script = once
    wire = await connect()

    assert [await status_of(wire, GET) for _ in range(4)] == [200] * 4
    assert fake.connections == 4


async def test_stale_with_body(connect: Connect, fake: Fake) -> None:
    """So is a search by GET, with its body."""
    bodies = []

    async def script(wire: Wire) -> None:
        await wire.head()
        bodies.append(await wire.exactly(2))
        await wire.send(OK)
        await wire.head()

    fake.script = script
    wire = await connect()

    assert [await status_of(wire, POST.replace(b"POST", b"GET")) for _ in range(3)] == [200] * 3
    assert bodies == [b"hi"] * 3


async def test_change_sent_once(connect: Connect, fake: Fake) -> None:
    """A request that may change something is never sent twice; that its fate is unknown is said."""
    seen = 0

    async def script(wire: Wire) -> None:
        nonlocal seen
        await wire.head()
        await wire.send(OK)
        await wire.head()
        seen += 1

    fake.script = script
    wire = await connect()
    assert await status_of(wire, GET) == 200
    await wire.send(POST)
    head, body = await wire.answer()

    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"is unknown" in body
    assert seen == 1


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("framing", [b"content-length: 1000", b"transfer-encoding: chunked"])
async def test_broken_answer(connect: Connect, fake: Fake, framing: bytes, *, reset: bool) -> None:
    """An answer that breaks off does so at the client, too: it never looks whole."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
        await wire.send(b"3\r\none\r\n")
        wire.close(reset=reset)

    fake.script = script
    wire = await connect()
    await wire.send(GET)
    await wire.head()

    assert not (await wire.rest()).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\na\r\n\r\n"]
)
async def test_no_answer(connect: Connect, fake: Fake, answer: bytes) -> None:
    """A cluster that hangs up before its answer has begun, or that speaks no HTTP, is 503, and the client stays."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.exactly(2)
        await wire.send(answer)

    fake.script = script
    wire = await connect()
    assert await status_of(wire, POST) == 503
    fake.script = fine
    assert await status_of(wire, GET) == 200


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize(
    "sent",
    [
        GET,
        POST,
        b"POST /a HTTP/1.1\r\nHost: me\r\nContent-Length: 100\r\n\r\nsome",
        b"POST /a HTTP/1.1\r\nHost: me\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
    ],
)
async def test_client_leaves(connect: Connect, fake: Fake, sent: bytes, *, reset: bool) -> None:
    """When the client goes away, while it sends or waits, the cluster's connection is cut, so that it stops."""
    came, cut = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        came.set()
        await wire.rest()
        cut.set()

    fake.script = script
    wire = await connect()
    await wire.send(sent)
    await asyncio.wait_for(came.wait(), PATIENCE)
    wire.close(reset=reset)

    await asyncio.wait_for(cut.wait(), PATIENCE)


async def test_client_leaves_answer(connect: Connect, fake: Fake) -> None:
    """When the client goes away in the middle of an answer, the rest of it is not fetched."""
    cut = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        try:
            for _ in range(1000):
                await wire.send(b"x" * 1_000_000)
        except ConnectionError:
            cut.set()

    fake.script = script
    wire = await connect()
    await wire.send(GET)
    await wire.exactly(1_000_000)
    wire.close()

    await asyncio.wait_for(cut.wait(), PATIENCE)


async def test_many_at_once(connect: Connect, fake: Fake) -> None:
    """Fifty clients at once are answered each by its own answer."""

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            target = head.split()[1]
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(target), target))

    fake.script = script

    async def client(number: int) -> bool:
        wire = await connect()
        for turn in range(20):
            target = b"/%d/%d" % (number, turn)
            await wire.send(b"GET %b HTTP/1.1\r\nHost: me\r\n\r\n" % target)
            if (await wire.answer())[1] != target:
                return False
        return True

    assert all(await asyncio.gather(*map(client, range(50))))
    assert fake.connections <= 50

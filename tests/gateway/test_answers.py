"""What of the cluster's answer reaches the client, and when."""

import asyncio
import gzip

import pytest

from tests.gateway.conftest import Connect
from tests.gateway.peers import OK, PATIENCE, Fake, Wire

pytestmark = pytest.mark.only("embedded", reason="the cluster is a script, and no document is read")

GET = b"GET /a HTTP/1.1\r\nHost: me\r\n\r\n"


async def ask(connect: Connect, fake: Fake, answer: bytes, request: bytes = GET) -> Wire:
    """Send a request that the cluster answers with some bytes."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(answer)
        await wire.rest()

    fake.script = script
    wire = await connect()
    await wire.send(request)
    return wire


async def test_bytes_unchanged(connect: Connect, fake: Fake) -> None:
    """An answer with a length arrives byte by byte as it was: status, reason, order and spelling of fields, body."""
    body = gzip.compress(b"a" * 5000)
    answer = (
        b"HTTP/1.1 299 So so\r\nX-OpenSearch-Version: 3\r\nWarning: 299 a\r\nwarning: 299 b\r\nX-\xc3\xa4b: \xff\r\n"
        b"Content-Encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    ).replace(b"X-\xc3\xa4b", b"X-b") + body
    wire = await ask(connect, fake, answer)

    assert await wire.exactly(len(answer)) == answer


@pytest.mark.parametrize("length", [0, 1234])
async def test_head_method(connect: Connect, fake: Fake, length: int) -> None:
    """The answer to HEAD keeps the length of the body that GET would have, and the connection goes on."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % length

    async def script(wire: Wire) -> None:
        while await wire.head():
            await wire.send(answer)

    fake.script = script
    wire = await connect()
    for _ in range(3):
        await wire.send(b"HEAD /a HTTP/1.1\r\nHost: me\r\n\r\n")
        assert await wire.head() == answer

    assert fake.connections == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_no_body(connect: Connect, fake: Fake, status: int) -> None:
    """An answer that has no body by its status is complete with its head."""
    head = b"HTTP/1.1 %d X\r\nEtag: a\r\n\r\n" % status
    wire = await ask(connect, fake, head)

    assert await wire.head() == head


async def test_unbuffered(connect: Connect, fake: Fake) -> None:
    """The first part of an answer is at the client before the cluster sends the second."""
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await asyncio.wait_for(go.wait(), PATIENCE)
        await wire.send(b"3\r\ntwo\r\n0\r\n\r\n")

    fake.script = script
    wire = await connect()
    await wire.send(GET)
    assert b"Transfer-Encoding: chunked" in await wire.head()
    assert await wire.until(b"one\r\n") == b"3\r\none\r\n"
    go.set()
    assert await wire.until(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"


async def test_ends_with_connection(connect: Connect, fake: Fake) -> None:
    """An answer that only the end of its connection ends is made chunked."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.0 200 OK\r\n\r\nall of it")

    fake.script = script
    wire = await connect()
    await wire.send(GET)

    assert await wire.head() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (await wire.until(b"0\r\n\r\n")).replace(b"\r\n", b"").endswith(b"all of it0")


async def test_old_client(connect: Connect, fake: Fake) -> None:
    """A client of HTTP/1.0 gets a chunked answer without the chunks, up to the end of the connection."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    wire = await ask(connect, fake, chunked, b"GET /a HTTP/1.0\r\n\r\n")

    assert await wire.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwo"


async def test_informational(connect: Connect, fake: Fake) -> None:
    """An early hint is dropped; the answer behind it is the answer."""
    wire = await ask(connect, fake, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)

    assert await wire.answer() == (OK.removesuffix(b"ok"), b"ok")


async def test_pipelined(connect: Connect, fake: Fake) -> None:
    """Requests sent without waiting are answered in their order."""
    seen = []

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            target = head.split()[1]
            seen.append(target)
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(target), target))

    fake.script = script
    wire = await connect()
    await wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: me\r\n\r\n" % number for number in range(5)))

    assert [(await wire.answer())[1] for _ in range(5)] == [b"/0", b"/1", b"/2", b"/3", b"/4"]


async def test_kept_alive(connect: Connect, fake: Fake) -> None:
    """Requests one after another, from several clients, share one connection to the cluster."""
    for _ in range(3):
        wire = await connect()
        for _ in range(3):
            await wire.send(GET)
            assert (await wire.answer())[1] == b"ok"

    assert fake.connections == 1


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip"])
async def test_coding_that_is_not_undone(connect: Connect, fake: Fake, coding: bytes) -> None:
    """An answer in an encoding that would be lost on the way is 502."""
    wire = await ask(connect, fake, b"HTTP/1.1 200 OK\r\ntransfer-encoding: %b\r\n\r\n2\r\nok\r\n0\r\n\r\n" % coding)

    assert (await wire.answer())[0].startswith(b"HTTP/1.1 502 ")


async def test_two_answers(connect: Connect, fake: Fake) -> None:
    """What the cluster sends beyond its answer is nobody's: neither this client nor the next sees it."""
    wire = await ask(connect, fake, OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    assert (await wire.answer())[1] == b"ok"
    wire = await ask(connect, fake, OK)
    assert (await wire.answer())[1] == b"ok"

    assert fake.connections == 2


async def test_slow_reader(connect: Connect, fake: Fake) -> None:
    """A client that does not read holds the cluster up, and not the whole answer in memory."""
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            await wire.send(b"x" * (1 << 20))
            sent += 1

    fake.script = script
    wire = await connect()
    await wire.send(GET)
    await wire.head()
    before = -1
    async with asyncio.timeout(PATIENCE):
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
    assert sent < 48

    assert len(await wire.exactly(64 << 20)) == 64 << 20

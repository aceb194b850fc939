"""Connections to providers, and what servers do with them."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote.conftest import asking, settings_of
from tests.remote.fake import PATIENCE, SILENT, Answer, Fake

ONCE = ClientConfig()

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Served:
    """A server, and how many connections it has had."""

    url: str
    connections: int = 0


@contextlib.asynccontextmanager
async def serving(serve: Serve, *, greets: bool = False) -> AsyncIterator[Served]:
    """Serve each connection so once the head of a request came on it, or at once where the server ``greets``."""
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        served.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if not greets:
                await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        served = Served(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        yield served
        if running:
            await asyncio.wait(running, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200\r\n\r\nold", b"old"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n", b"hi"),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (
            b"HTTP/1.1 104 More\nContent-Length: 1\n\nxHTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
            b"hi",
        ),
    ],
)
async def test_what_else_is_an_answer(fake: Fake, transport: Transport, raw: bytes, body: bytes) -> None:
    """Lines without CR or in two, a body that the end ends, hints in advance, blanks and trailers can be read."""
    fake.on("/", Answer(raw=raw))

    incoming = await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")

    assert (incoming.status, incoming.body) == (200, body)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (300 << 10),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n" + b"X: y\r\n" * (100 << 10),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (20 << 10),
    ],
)
async def test_a_head_without_an_end_is_refused(fake: Fake, transport: Transport, raw: bytes) -> None:
    """However much a provider says before, between and behind the parts of a body, little of it is kept."""
    fake.on("/", Answer(raw=raw))

    with pytest.raises(RemoteFailed, match="is no HTTP: more than 262144 bytes came beside its body"):
        await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")


async def test_what_was_not_asked_for_is_nobody_s_answer(transport: Transport) -> None:
    """A second answer behind the first, or one on an idle connection, never becomes that of the next request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue")
        if served.connections > 1:
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"HTTP/1.1 500 Fake\r\nContent-Length: 4\r\n\r\nfake")
        await reader.read()

    async with serving(serve) as served:
        answers = []
        for _ in range(4):
            answer = await transport.send(asking(served.url, b"", method="GET"), ONCE, model_id="m")
            answers.append((answer.status, answer.body))
            await asyncio.sleep(0.02)
        await transport.close()

    assert (answers, served.connections) == ([(200, b"true")] * 4, 4)


async def test_who_speaks_first_speaks_no_http(transport: Transport) -> None:
    """A server that greets, as those of mail do, is told apart from one that hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    async with serving(serve, greets=True) as served:
        with pytest.raises(RemoteFailed, match="is no HTTP"):
            await transport.send(asking(served.url), ONCE, model_id="m")


async def test_nobody_gets_what_follows_an_answer_without_a_body(transport: Transport) -> None:
    """A connection on which the answer of status 204 speaks of a body, which may still come, is not used again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n")
        await reader.read()

    async with serving(serve) as served:
        for _ in range(2):
            asked = asking(served.url, b"", method="GET")
            answer = await transport.send(asked, ClientConfig(read_timeout=1), model_id="m")
            assert (answer.status, answer.body) == (204, b"")
        await transport.close()

    assert served.connections == 2


async def test_connections_that_a_provider_ends_leave_nothing(transport: Transport) -> None:
    """Nothing is kept of a connection that waited for its next request, nor of a provider that has none left."""
    ends = [asyncio.Event(), asyncio.Event()]
    left = [*ends]
    both = asyncio.Barrier(2)

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = left.pop(0)
        await both.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await end.wait()

    async with serving(serve) as served:
        asked = asking(served.url, b"", method="GET")
        await asyncio.gather(*(transport.send(asked, ONCE, model_id="m") for _ in range(2)))
        (kept,) = transport._connections._kept.values()
        lines = [weakref.ref(line) for line in kept.lines]
        assert len(kept.idle) == len(lines) == 2
        async with asyncio.timeout(PATIENCE):
            ends[0].set()
            while len(kept.idle) == 2:
                await asyncio.sleep(0.01)
            ends[1].set()
            while transport._connections._kept:
                await asyncio.sleep(0.01)

    assert (len(kept.idle), len(kept.lines)) == (0, 0)
    gc.collect()
    assert [line() for line in lines] == [None, None]


async def test_who_changes_the_protocol_speaks_no_http(fake: Fake, transport: Transport) -> None:
    """Nobody asked for another protocol, and the error says what the server did."""
    fake.on("/", Answer(raw=b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"))

    with pytest.raises(RemoteFailed, match="is no HTTP: the server changes to another protocol"):
        await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")


@pytest.mark.parametrize("reads", [False, True])
async def test_who_answers_early_need_not_read_the_request(transport: Transport, reads: bool) -> None:
    """The refusal of a long body is the answer; the connection is not used again, though all that was sent was read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbi")
        with contextlib.suppress(TimeoutError):
            while reads:
                await asyncio.wait_for(reader.read(1 << 20), 0.1)
        writer.write(b"g")
        await done.wait()

    done = asyncio.Event()
    async with serving(serve) as served:
        for _ in range(2):
            incoming = await transport.send(asking(served.url, bytes(32 << 20)), ONCE, model_id="m")
            assert (incoming.status, incoming.body) == (413, b"big")
        done.set()

    assert served.connections == 2


async def test_who_reads_nothing_is_not_waited_for(transport: Transport) -> None:
    """A provider that takes nothing of a long body is given up as one that says nothing."""

    async def serve(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await gone.wait()

    gone = asyncio.Event()
    async with serving(serve) as served:
        with pytest.raises(RemoteFailed, match="Read timed out"):
            await transport.send(asking(served.url, bytes(64 << 20)), ClientConfig(read_timeout=1), model_id="m")
        gone.set()


async def test_a_slow_reader_holds_the_provider_up(transport: Transport) -> None:
    """What a stream's reader does not take stays at the provider, and the provider is not blamed for the pause."""
    part, sent = b"x" * (64 << 10), 0

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(part) << 10))
        for _ in range(1 << 10):
            writer.write(part)
            await writer.drain()
            sent += len(part)

    async with serving(serve) as served:
        config = ClientConfig(read_timeout=1)
        async with transport.stream(asking(served.url, b"", method="GET"), config, model_id="m") as answer:
            await asyncio.sleep(1.2)
            before, size = sent, 0
            async for one in answer:
                size += len(one)

    assert before < 32 << 20
    assert size == sent == len(part) << 10


async def test_one_address_of_a_name_will_do(fake: Fake) -> None:
    """A name of which one address refuses connections is called at the next one."""
    settings = settings_of()

    async def look_up(_host: str, _port: int) -> list[str]:
        return ["127.0.0.3", "127.0.0.1"]

    transport = Transport(Trust(settings), settings, lookup=look_up)
    fake.on("/", Answer(200, {}))

    assert (await transport.send(asking(f"http://two.example:{fake.port}/"), ONCE, model_id="m")).status == 200
    await transport.close()


async def test_the_end_of_the_service_ends_calls(fake: Fake, transport: Transport) -> None:
    """What is under way when the transport is closed is hung up on."""
    fake.on("/", SILENT)
    call = asyncio.ensure_future(transport.send(asking(f"{fake.url}/"), ONCE, model_id="m"))
    await fake.asked(1)

    await transport.close()

    with pytest.raises(RemoteFailed, match="The connection was closed"):
        await call
    await fake.idle()

"""The server over real sockets: connections, signals, what is no HTTP."""

import asyncio
import contextlib
import gzip
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import orjson
import pytest

from mlcommons_py.errors import Unavailable
from mlcommons_py.rest.connection import Connection
from mlcommons_py.rest.door import Handler, Route
from mlcommons_py.rest.reading import HEAD_BYTES
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.services import Services
from mlcommons_py.rest.web import web_app

pytestmark = pytest.mark.only("embedded", reason="the door in front of handlers that no store is behind")

PATIENCE = 20.0


class Impatient(Connection):
    """Waits a tenth of a second for what it otherwise waits half a minute for."""

    head_seconds = 0.1
    rest_seconds = 0.1


class Hasty(Connection):
    """Keeps an idle connection for two tenths of a second."""

    head_seconds = 0.1

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.timeout_keep_alive = 0.2  # type: ignore[assignment]


class Watched(Connection):
    """Tells how many bytes it has read."""

    read = 0

    def data_received(self, data: bytes) -> None:
        """Read on."""
        super().data_received(data)
        Watched.read += len(data)

    @classmethod
    async def has_read(cls, count: int) -> None:
        """Wait until so many bytes were read."""
        async with asyncio.timeout(PATIENCE):
            while cls.read < count:
                await asyncio.sleep(0.001)


class Slow:
    """Makes a handler that goes on until it is told to end."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()

    def handler(self) -> Handler:
        """Return the handler."""

        async def wait(services: Services, request: Request) -> object:
            self.began.set()
            await self.may_end.wait()
            return {"done": True}

        return wait


async def echo(services: Services, request: Request) -> object:
    """Answer the body, and how long it was."""
    return {"bytes": len(request.body), "body": await request.json_or_none()}


Serving = Callable[..., AbstractAsyncContextManager["Running"]]


class Running:
    """A server that runs, and how it was wired."""

    def __init__(self, port: int, slow: Slow, task: "asyncio.Task[bool]") -> None:
        self.port = port
        self.slow = slow
        self.task = task
        self.url = f"http://127.0.0.1:{port}"
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        """Close the connections, and end the server if it still runs."""
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        self.slow.may_end.set()
        if not self.task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await self.ended()

    async def ended(self) -> None:
        """Wait until the server has ended by itself."""
        await asyncio.wait_for(self.task, PATIENCE)


@pytest.fixture
def serving(services: Services) -> Serving:
    """A function that serves small handlers on a free port."""

    @contextlib.asynccontextmanager
    async def running(
        shutdown_seconds: float = PATIENCE, connection: type[Connection] = Connection
    ) -> AsyncIterator[Running]:
        slow, serves = Slow(), asyncio.Event()
        table = (
            Route("GET", "/slow", slow.handler()),
            Route("POST", "/echo", echo),
            Route("POST", "/raw", echo, body="raw"),
        )
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        app = web_app(services, table)
        task = asyncio.ensure_future(serve(app, listening, shutdown_seconds, serves.set, connection=connection))
        await asyncio.wait_for(serves.wait(), PATIENCE)
        server = Running(port, slow, task)
        try:
            yield server
        finally:
            await server.close()

    return running


def head(method: str, path: str, *fields: str) -> bytes:
    """Return a request's line and header."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *fields, "", ""]).encode("latin-1")


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read an answer with a length; return its status and body."""
    lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).lower().split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
    return int(lines[0].split()[1]), await asyncio.wait_for(reader.readexactly(length), PATIENCE)


async def hung_up(reader: asyncio.StreamReader) -> bool:
    """Wait until the other side hangs up."""
    with contextlib.suppress(ConnectionResetError):
        while await asyncio.wait_for(reader.read(65536), PATIENCE):
            pass
    return True


def test_port_taken() -> None:
    """An address that is taken is named, with the way out."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"127.0.0.1:{port}.*--port"):
            listen("127.0.0.1", port)


def test_no_address() -> None:
    """An address that this machine does not have is refused."""
    with pytest.raises(Unavailable, match=r"cannot listen on 192\.0\.2\.1:0"):
        listen("192.0.2.1", 0)


async def test_keep_alive(serving: Serving) -> None:
    """One connection carries many requests, also after an error."""
    async with serving() as server:
        reader, writer = await server.connect()
        for body, status in ((b'{"a":1}', 200), (b"{", 400), (b'{"a":2}', 200)):
            fields = ("content-type: application/json", f"content-length: {len(body)}")
            writer.write(head("POST", "/echo", *fields) + body)
            assert (await read_answer(reader))[0] == status


async def test_idle_connection(serving: Serving) -> None:
    """A connection is kept for the next request, for so long after the last one and no longer."""
    async with serving(connection=Hasty) as server:
        reader, writer = await server.connect()
        for _ in range(5):
            writer.write(head("POST", "/raw", "content-length: 2") + b"{}")
            assert (await read_answer(reader))[0] == 200
            await asyncio.sleep(0.1)
        assert await hung_up(reader)


async def test_pipelined(serving: Serving) -> None:
    """Requests that are sent without waiting are answered in their order."""
    async with serving() as server:
        reader, writer = await server.connect()
        bodies = [b'{"n":%d}' % number for number in range(5)]
        fields = "content-type: application/json"
        writer.write(b"".join(head("POST", "/echo", fields, f"content-length: {len(one)}") + one for one in bodies))
        for number in range(5):
            assert orjson.loads((await read_answer(reader))[1])["body"] == {"n": number}


async def test_chunked_and_compressed(serving: Serving) -> None:
    """A body may come in chunks and compressed; the answer goes out compressed."""
    text = gzip.compress(orjson.dumps({"texts": ["lorem"] * 5000}))

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(text), 20):
            yield text[start : start + 20]

    async with serving() as server, httpx.AsyncClient(base_url=server.url) as client:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        answer = await client.post("/echo", content=parts(), headers=headers)

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["body"] == {"texts": ["lorem"] * 5000}


async def test_body_whose_parts_come_together(serving: Serving) -> None:
    """A body comes whole in whatever parts, long or short, it is read at once."""
    parts = [b'{"x":"' + b"a" * 100, b"b" * 70_000, *[b"d"] * 2000, b"c" * 9_000, b'"}']
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(head("POST", "/raw", "transfer-encoding: chunked") + chunks + b"0\r\n\r\n")
        status, content = await read_answer(reader)

    whole = b"".join(parts)
    assert (status, content) == (200, b'{"bytes":%d,"body":%b}' % (len(whole), whole))


async def test_slow_uploads_hold_up_no_other(serving: Serving) -> None:
    """However many chunks trickle in, one that comes at once is taken at once; they come whole in the end."""
    async with serving() as server, httpx.AsyncClient(base_url=server.url) as client:
        slow = []
        for _ in range(8):
            reader, writer = await server.connect()
            writer.write(head("POST", "/raw", "content-length: 10000000") + b"{")
            await writer.drain()
            slow.append((reader, writer))

        answer = await client.post("/raw", content=b"{}", timeout=10)
        reader, writer = slow[0]
        writer.write(b"}" + b" " * 9_999_998)
        late = await read_answer(reader)

    assert answer.json() == {"bytes": 2, "body": {}}
    assert late == (200, b'{"bytes":10000000,"body":{}}')


async def test_long_uploads_come_whole(serving: Serving) -> None:
    """A long chunk is what was sent, compressed or not."""
    text = orjson.dumps({"noise": secrets.token_hex(1 << 20)})
    async with serving() as server, httpx.AsyncClient(base_url=server.url) as client:
        plain = await client.post("/raw", content=text)
        packed = await client.post("/raw", content=gzip.compress(text), headers={"content-encoding": "gzip"})

    for answer in (plain, packed):
        assert (answer.json()["bytes"], answer.json()["body"]) == (len(text), orjson.loads(text))


async def test_expect_continue(serving: Serving) -> None:
    """A client that asks first is told to go on."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(head("POST", "/raw", "expect: 100-continue", "content-length: 2"))
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert await read_answer(reader) == (200, b'{"bytes":2,"body":{}}')


async def test_expect_refused(serving: Serving) -> None:
    """A client that asks first whether a too long body may come is told no, and hung up on."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(head("POST", "/raw", "expect: 100-continue", "content-length: 99999999"))
        status, _ = await read_answer(reader)
        assert status == 413
        assert await hung_up(reader)


async def test_refused_body_is_swallowed(serving: Serving) -> None:
    """A client that sends a too long body to its end and only then reads gets to see the refusal."""
    async with serving() as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post("/raw", content=bytes(30_000_000))
        assert answer.status_code == 413
        assert (await client.post("/raw", content=b"{}")).status_code == 200


async def test_refused_body_without_end(serving: Serving) -> None:
    """A client that never ends a body that was refused is hung up on."""
    async with serving(connection=Impatient) as server:
        reader, writer = await server.connect()
        writer.write(head("POST", "/raw", "content-length: 99999999") + b"some")
        status, _ = await read_answer(reader)
        assert status == 413
        assert await hung_up(reader)


@pytest.mark.parametrize("begun", [b"", b"GET / HT", head("GET", "/")[:-2]])
async def test_head_without_end(serving: Serving, begun: bytes) -> None:
    """A client that does not get on with its request is hung up on."""
    async with serving(connection=Impatient) as server:
        reader, writer = await server.connect()
        writer.write(begun)
        assert await hung_up(reader)


async def test_slow_body_and_handler_are_no_slow_head(serving: Serving) -> None:
    """The time for a head does not run while a body comes or a handler works."""
    async with serving(connection=Impatient) as server:
        reader, writer = await server.connect()
        writer.write(head("GET", "/slow"))
        await server.slow.began.wait()
        await asyncio.sleep(2 * Impatient.head_seconds)
        server.slow.may_end.set()
        assert (await read_answer(reader))[0] == 200
        writer.write(head("POST", "/raw", "content-length: 2"))
        await asyncio.sleep(2 * Impatient.head_seconds)
        writer.write(b"{}")
        assert (await read_answer(reader))[0] == 200


@pytest.mark.parametrize(
    "begun", [b"GET /", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 900 + b"c"]
)
async def test_head_too_long(serving: Serving, begun: bytes) -> None:
    """A head that grows and grows is refused."""
    Watched.read = 0
    async with serving(connection=Watched) as server:
        reader, writer = await server.connect()
        writer.write(begun)
        await Watched.has_read(len(begun))
        writer.write(b"x" * HEAD_BYTES)
        await Watched.has_read(len(begun) + HEAD_BYTES)
        writer.write(b"x")
        status, body = await read_answer(reader)
        assert (status, orjson.loads(body)["error"]) == (
            400,
            f"the request's line and header are longer than {HEAD_BYTES} bytes",
        )
        assert await hung_up(reader)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /raw HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /raw HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /slow HTTP/9.9\r\n\r\n",
    ],
)
async def test_no_http(serving: Serving, garbage: bytes) -> None:
    """What is no HTTP is 400 in JSON, and the next client is served."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(garbage)
        status, body = await read_answer(reader)
        assert (status, orjson.loads(body)["status"]) == (400, 400)
        assert await hung_up(reader)
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.post("/raw", content=b"{}")).status_code == 200


@pytest.mark.parametrize(
    ("field", "status"), [("transfer-encoding: gzip, chunked", 501), ("host: y\r\ntransfer-encoding: chunked", 400)]
)
async def test_ambiguous_head(serving: Serving, field: str, status: int) -> None:
    """A body in an encoding that is not undone here, and a second host, are refused, and the connection goes on."""
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(head("POST", "/raw", field) + b"2\r\n{}\r\n0\r\n\r\n")
        assert (await read_answer(reader))[0] == status
        writer.write(head("POST", "/raw", "content-length: 2") + b"{}")
        assert (await read_answer(reader))[0] == 200


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.2"])
async def test_upgrade_is_ignored(serving: Serving, upgrade: str) -> None:
    """A client that offers another protocol is answered in this one, its body read."""
    async with serving() as server:
        reader, writer = await server.connect()
        fields = ("connection: Upgrade, HTTP2-Settings", f"upgrade: {upgrade}", "http2-settings: AAMAAABkAAQ")
        writer.write(head("POST", "/raw", *fields, "content-length: 7") + b'{"a":1}')
        assert await read_answer(reader) == (200, b'{"bytes":7,"body":{"a":1}}')


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_shutdown_finishes_what_runs(serving: Serving, number: signal.Signals) -> None:
    """After a signal a request under way is answered, new connections are refused, and the server ends."""
    async with serving() as server:
        reader, writer = await server.connect()
        idle, _ = await server.connect()
        writer.write(head("GET", "/slow"))
        await server.slow.began.wait()
        os.kill(os.getpid(), number)
        assert await hung_up(idle)
        with pytest.raises(ConnectionRefusedError):
            await server.connect()
        assert not server.task.done()
        server.slow.may_end.set()
        assert await read_answer(reader) == (200, b'{"done":true}')
        await server.ended()


async def test_shutdown_is_bounded(serving: Serving) -> None:
    """What goes on for longer than a shutdown may take is answered with 503."""
    async with serving(shutdown_seconds=0.2) as server:
        reader, writer = await server.connect()
        writer.write(head("GET", "/slow"))
        await server.slow.began.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await server.ended()
        status, body = await read_answer(reader)
        assert (status, orjson.loads(body)["error"]["reason"]) == (503, "the service is shutting down")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal(serving: Serving, second: signal.Signals) -> None:
    """A second signal ends the server at once."""
    async with serving(shutdown_seconds=PATIENCE) as server:
        _, writer = await server.connect()
        writer.write(head("GET", "/slow"))
        await server.slow.began.wait()
        began = asyncio.get_running_loop().time()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert not server.task.done()
        os.kill(os.getpid(), second)
        await server.ended()
        assert asyncio.get_running_loop().time() - began < PATIENCE / 2

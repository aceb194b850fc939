"""Requests that are passed on only after the application has thought about them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import orjson
import pytest
from starlette.types import Receive, Scope, Send

from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import Pool
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.through import Through
from tests.gateway.peers import OK, PATIENCE, Fake, Wire

HEAD = b"POST /a HTTP/1.1\r\nHost: me\r\nX-Odd_Name: 1\r\n"


class Late:
    """An application that passes every request on, but not before it is told to.

    Attributes:
        patient: whether it waits until the client has gone away, too.
    """

    def __init__(self, url: str) -> None:
        self.gateway = Gateway(Pool([url], None))
        self.came = asyncio.Event()
        self.go = asyncio.Event()
        self.done = asyncio.Event()
        self.patient = False
        self._through = Through(self.gateway, None)

    def way(self, path: str, method: str) -> None:
        """Know nothing by path and method alone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, and pass one request on."""
        self.came.set()
        await self.go.wait()
        while self.patient and (await receive())["type"] != "http.disconnect":
            pass
        await self._through(scope, receive, send)
        self.done.set()


@pytest.fixture
async def late(fake: Fake) -> AsyncIterator[Late]:
    """The application."""
    app = Late(fake.url)
    yield app
    app.gateway.close()


@pytest.fixture
async def wire(late: Late) -> AsyncIterator[Wire]:
    """A connection to it."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    serves = asyncio.Event()
    task = asyncio.ensure_future(serve(late, listening, 0.1, serves.set))
    await asyncio.wait_for(serves.wait(), PATIENCE)
    one = Wire(*await asyncio.open_connection("127.0.0.1", port))
    yield one
    one.close()
    if not task.done():
        os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, PATIENCE)


async def test_whole_request(late: Late, wire: Wire, fake: Fake) -> None:
    """Head, body and trailers arrive as they were sent, whether they came before the decision or behind it."""
    seen: list[bytes] = []

    async def script(other: Wire) -> None:
        for _ in range(2):
            seen.append(await other.head())
            seen.append(await other.until(b"\r\n0\r\nX-Sum: 7\r\n\r\n"))
            await other.send(OK)

    fake.script = script
    start, end = b"Transfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n", b"4\r\nlate\r\n0\r\nX-Sum: 7\r\n\r\n"
    await wire.send(HEAD + start)
    await asyncio.wait_for(late.came.wait(), PATIENCE)
    late.go.set()
    await wire.send(end)
    assert (await wire.answer())[1] == b"ok"
    late.came.clear()
    late.go.clear()
    await wire.send(HEAD + start + end)
    await asyncio.wait_for(late.came.wait(), PATIENCE)
    late.go.set()
    assert (await wire.answer())[1] == b"ok"

    for head, body in zip(seen[::2], seen[1::2], strict=True):
        assert head.startswith(b"POST /a HTTP/1.1\r\n")
        assert b"X-Odd_Name: 1\r\n" in head
        assert b"".join(body.split(b"\r\n")[1:-4:2]) == b"earlylate"


async def test_pipelined(late: Late, wire: Wire, fake: Fake) -> None:
    """Requests sent without waiting are answered in their order, and the connection goes on."""

    async def script(other: Wire) -> None:
        while head := await other.head():
            target = head.split()[1]
            await other.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(target), target))

    fake.script = script
    late.go.set()
    for _ in range(2):
        await wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: me\r\n\r\n" % number for number in range(5)))
        assert [(await wire.answer())[1] for _ in range(5)] == [b"/0", b"/1", b"/2", b"/3", b"/4"]


@pytest.mark.parametrize("decided", [False, True])
async def test_client_leaves(late: Late, wire: Wire, fake: Fake, *, decided: bool) -> None:
    """A client that goes away before the decision is not passed on; one that goes behind it takes its request back."""
    came, cut = asyncio.Event(), asyncio.Event()

    async def script(other: Wire) -> None:
        await other.head()
        came.set()
        await other.rest()
        cut.set()

    fake.script = script
    await wire.send(HEAD + b"Content-Length: 100\r\n\r\nsome")
    await asyncio.wait_for(late.came.wait(), PATIENCE)
    if decided:
        late.go.set()
        await asyncio.wait_for(came.wait(), PATIENCE)
        wire.close()
        await asyncio.wait_for(cut.wait(), PATIENCE)
    else:
        wire.close()
        late.patient = True
        late.go.set()
        await asyncio.wait_for(late.done.wait(), PATIENCE)
        assert fake.connections == 0


async def test_shutdown_is_bounded(late: Late, wire: Wire, fake: Fake) -> None:
    """What the other server does not answer for longer than a shutdown may take is answered with 503."""
    came = asyncio.Event()

    async def script(other: Wire) -> None:
        await other.head()
        came.set()
        await other.rest()

    fake.script = script
    late.go.set()
    await wire.send(b"GET /a HTTP/1.1\r\nHost: me\r\n\r\n")
    await asyncio.wait_for(came.wait(), PATIENCE)
    os.kill(os.getpid(), signal.SIGTERM)
    head, body = await wire.answer()

    assert head.startswith(b"HTTP/1.1 503 ")
    assert orjson.loads(body)["error"]["reason"] == "the service is shutting down"

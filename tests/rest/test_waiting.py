"""Clients that wait for an answer, over real sockets."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator

import pytest

from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.connection import Connection
from mlcommons_py.rest.door import Route
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.services import Services
from mlcommons_py.rest.waiting import Client
from mlcommons_py.rest.web import web_app
from tests.gateway.peers import PATIENCE, Wire

pytestmark = pytest.mark.only("embedded", reason="the door in front of handlers that no store is behind")

LONG = b"x" * (2 << 20)


async def echo(_services: Services, request: Request) -> object:
    """Return what came."""
    return await request.json("nothing")


async def long(_services: Services, _request: Request) -> object:
    """Return megabytes."""
    return Answer(LONG, media_type="text/plain")


async def refused(_services: Services, _request: Request) -> object:
    """Return an answer with a header that nobody may send."""
    return Answer({}, headers={"x-odd": "a\x01b"})


class Counted(Connection):
    """Tells how its answers were written."""

    writes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count what is written."""
        super().connection_made(_Counting(transport))  # type: ignore[arg-type]


class _Counting:
    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> object:
        if name in ("write", "writelines"):
            Counted.writes += 1
        return getattr(self._transport, name)


@pytest.fixture
async def wire(services: Services) -> AsyncIterator[Wire]:
    """A connection to the door."""
    routes = (Route("POST", "/echo", echo), Route("GET", "/long", long), Route("GET", "/odd", refused))
    listening, serves = listen("127.0.0.1", 0), asyncio.Event()
    port = listening.getsockname()[1]
    Counted.writes = 0
    serving = asyncio.create_task(serve(web_app(services, routes), listening, 0.1, serves.set, connection=Counted))
    await asyncio.wait_for(serves.wait(), PATIENCE)
    one = Wire(*await asyncio.open_connection("127.0.0.1", port))
    yield one
    one.close(reset=True)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, PATIENCE)


def asking(body: bytes = b"{}", more: bytes = b"") -> bytes:
    """Return a request for an echo."""
    head = b"POST /echo HTTP/1.1\r\nHost: me\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
    return head % (len(body), more) + body


async def test_an_answer_is_one_write(wire: Wire) -> None:
    """Head and body go out together, with the date, and the connection is kept unless the client wants it closed."""
    await wire.send(asking(b'{"a":1}'))
    first, body = await wire.answer()
    await wire.send(asking(b"{}", b"Connection: close\r\n"))
    last = await wire.rest()

    assert body == b'{"a":1}'
    assert first.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert b"connection:" not in first
    assert last.startswith(b"HTTP/1.1 200 OK\r\n")
    assert last.endswith(b"\r\nconnection: close\r\n\r\n{}")
    assert Counted.writes == 2


async def test_a_body_that_comes_behind_its_refusal(wire: Wire) -> None:
    """What is refused by its head may still be sent, and the next request is answered."""
    head, body = asking(b'{"a": 1}').replace(b"application/json", b"text/html").split(b"\r\n\r\n")
    await wire.send(head + b"\r\n\r\n")
    refusal, _ = await wire.answer()
    await wire.send(body + asking(b"{}"))
    answer, _ = await wire.answer()

    assert refusal.startswith(b"HTTP/1.1 406 ")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_who_does_not_read_is_waited_for(wire: Wire) -> None:
    """Answers behind those that the client has not read yet are not made before it reads, and come whole then."""
    Counted.writes = 0
    await wire.send(10 * b"GET /long HTTP/1.1\r\nHost: me\r\n\r\n" + asking(b"{}"))
    async with asyncio.timeout(PATIENCE):
        while not Counted.writes:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    written = Counted.writes

    assert [(await wire.answer())[1] == LONG for _ in range(10)] == [True] * 10
    assert (await wire.answer())[1] == b"{}"
    assert written < 10


async def test_an_unfit_header_is_not_sent(wire: Wire) -> None:
    """A field with a control character in it never reaches a client."""
    await wire.send(b"GET /odd HTTP/1.1\r\nHost: me\r\n\r\n")

    assert await wire.rest() == b""


async def test_a_request_leaves_no_garbage(wire: Wire) -> None:
    """Nothing of a request refers to itself when it is answered: looking for such things would cost all requests."""
    for _ in range(3):
        await wire.send(asking())
        await wire.answer()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await wire.send(asking())
            await wire.answer()
        assert gc.collect() < 50
    finally:
        gc.enable()


async def test_who_has_gone_already_is_told_of_at_once() -> None:
    """Work that begins when its client has gone need not wait to know."""
    told: list[bool] = []
    client = Client()

    client.leave()
    client.tell(lambda: told.append(True))
    client.tell(None)
    client.leave()

    assert told == [True]

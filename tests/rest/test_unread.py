"""Clients that do not read what is written for them to its end."""

import asyncio
import socket

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from mlcommons_py.rest.connection import Connection
from mlcommons_py.rest.server import config_of
from tests.gateway.peers import PATIENCE

pytestmark = pytest.mark.only("embedded", reason="nothing of the service is behind these connections")

PART = bytes(8 << 10)


class Impatient(Connection):
    """Waits a quarter of a second for a client to read."""

    body_seconds = 0.25


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer eight kilobytes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(PART))]})
    await send({"type": "http.response.body", "body": PART})


async def test_the_end_of_an_answer_that_is_not_taken() -> None:
    """A client that leaves the little that is written when the connection closes is hung up on."""
    loop = asyncio.get_running_loop()
    config, state = config_of(answer, 0.1), ServerState()
    config.load()
    served: list[Impatient] = []

    def connection() -> Impatient:
        served.append(Impatient(config, state, {}))
        return served[0]

    async with await loop.create_server(connection, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        asked, field = 0, b""
        while b"close" not in field:
            if state.connections and served[0].transport.get_write_buffer_size() >= 3 * len(PART):
                field = b"Connection: close\r\n"
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: me\r\n%b\r\n" % field)
            asked += 1
            while state.total_requests < asked:
                await asyncio.sleep(0.001)
        assert served[0].transport.is_closing()
        assert not served[0].flow.write_paused

        while state.connections:
            await asyncio.sleep(0.01)
        client.close()

"""A connection to a server, and when it can serve another request."""

import asyncio
import socket

from mlcommons_py.upstream import Upstream


async def test_what_was_answered_early_may_not_be_read_to_its_end() -> None:
    """A connection that still has some of a request to send is not used again, although the answer is complete."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        wire = socket.socket()
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        wire.connect(listening.getsockname())
        accepted, _ = listening.accept()
    home: list[Upstream] = []
    loop = asyncio.get_running_loop()
    _, upstream = await loop.create_connection(lambda: Upstream(b"x", home), sock=wire)
    for length, reusable in ((2, True), (8 << 20, False)):
        came = asyncio.Event()
        upstream.begin("POST", b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length + bytes(length), came.set)
        accepted.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await asyncio.wait_for(came.wait(), 20)
        assert (upstream.complete, upstream.taken(), upstream.reusable) == (True, b"big", reusable)
    accepted.close()
    upstream.abort("the test ends")

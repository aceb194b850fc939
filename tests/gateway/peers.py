"""A cluster that does on the wire what a test says, and a client that sees every byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

PATIENCE = 20.0


class Wire:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """Read up to the end of a head."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)

    async def exactly(self, count: int) -> bytes:
        """Read so many bytes."""
        return await asyncio.wait_for(self.reader.readexactly(count), PATIENCE)

    async def until(self, end: bytes) -> bytes:
        """Read up to some bytes."""
        return await asyncio.wait_for(self.reader.readuntil(end), PATIENCE)

    async def rest(self) -> bytes:
        """Read until the other side hangs up."""
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while part := await asyncio.wait_for(self.reader.read(65536), PATIENCE):
                parts.append(part)
        return b"".join(parts)

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def answer(self) -> tuple[bytes, bytes]:
        """Read an answer with a length; return its head and body."""
        head = await self.head()
        length = int(field(head, b"content-length"))
        return head, await self.exactly(length)

    def close(self, *, reset: bool = False) -> None:
        """Hang up."""
        if reset:
            self.writer.transport.abort()
        self.writer.close()


def field(head: bytes, name: bytes) -> bytes:
    """Return the value of a header field."""
    found = [line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(name + b":")]
    assert len(found) == 1, (name, head)
    return found[0]


Script = Callable[[Wire], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def fine(wire: Wire) -> None:
    """Answer every request without a body."""
    while await wire.head():
        await wire.send(OK)


class Fake:
    """A cluster that follows a script on every connection."""

    def __init__(self) -> None:
        self.script: Script = fine
        self.connections = 0
        self.faults: list[BaseException] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._wires: set[Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, at the port it had before, if any."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Hang up on everybody, and listen no more."""
        assert self._server is not None
        self._server.close()
        for wire in [*self._wires]:
            wire.close(reset=True)
        for task in [*self._tasks]:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._follow(Wire(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, wire: Wire) -> None:
        self._wires.add(wire)
        try:
            await self.script(wire)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as fault:  # noqa: BLE001 - a test's assertion, which the fixture raises
            self.faults.append(fault)
        finally:
            self._wires.discard(wire)
            wire.close()


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[Fake]:
    """Run a server that follows a test's script; what went wrong in the script is raised at its end."""
    server = Fake()
    await server.start()
    yield server
    await server.stop()
    for fault in server.faults:
        raise fault

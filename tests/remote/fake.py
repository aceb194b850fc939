"""A provider that answers as a test says, and keeps every request byte for byte.

::

    async with Fake() as fake:
        fake.on("/v1/embeddings", Answer(429, headers={"Retry-After": "1"}), Answer(200, {"data": []}))
        ...  # call fake.url + "/v1/embeddings"
        assert [one.json() for one in fake.requests] == [...]

Each request of a path takes the next answer; the last one repeats. A path that nobody scripted answers 404.
"""

import asyncio
import contextlib
import gzip
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0

ANY = "*"
"""The path that stands for every path without answers of its own."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came.

    Attributes:
        target: path and query, as they stood in the first line.
        headers: in order, the names as they were spelled.
        head: the first line and the headers, with the empty line behind them.
        connection: which connection it came on, counted from 1.
    """

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    head: bytes
    connection: int

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """Return the value of a header, whatever the case of its name; None where it was not sent."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """Return the body, which must be JSON in UTF-8."""
        return json.loads(self.body.decode())


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back.

    Attributes:
        body: bytes or a text as they are; anything else as JSON.
        headers: ``Content-Type`` is that of JSON unless it stands here; ``Content-Length`` is right unless it does.
        parts: sent in place of ``body``, each as one chunk and in one packet.
        delay: seconds before the first byte.
        drip: seconds between two parts; without ``parts``, between two bytes of the body.
        cut: hang up after so many bytes of the body; with 0, right behind the head.
        reset: whether hanging up is rude (a reset); before any byte where there is no ``cut``.
        raw: sent in place of everything above but ``delay``; hangs up then.
        after: what the connection waits for before the last part goes out.
        last: hang up politely when the answer is sent.
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[bytes] | None = None
    delay: float = 0.0
    drip: float = 0.0
    cut: int | None = None
    reset: bool = False
    raw: bytes | None = None
    after: asyncio.Event | None = None
    last: bool = False

    @property
    def bytes(self) -> bytes:
        """The body as it is sent."""
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body, ensure_ascii=False).encode()


Reply = Answer | Callable[[Asked], Answer]
"""An answer, or what makes one of a request."""

RESET = Answer(reset=True)
"""Hangs up without a word."""

SILENT = Answer(delay=3600.0)
"""Never answers."""


def gzipped(answer: Answer, *, encoding: str = "gzip") -> Answer:
    """Return an answer with its body compressed."""
    return replace(answer, body=gzip.compress(answer.bytes), headers={**answer.headers, "Content-Encoding": encoding})


def events(*data: str, names: Sequence[str] | None = None, end: str = "\n", **more: Any) -> Answer:
    """Return server-sent events, one part each; ``names`` are their types."""
    parts = []
    for number, text in enumerate(data):
        name = f"event: {names[number]}{end}" if names is not None else ""
        lines = "".join(f"data: {line}{end}" for line in text.split("\n"))
        parts.append(f"{name}{lines}{end}".encode())
    return Answer(200, parts=parts, headers={"Content-Type": "text/event-stream"}, **more)


def split(whole: bytes, size: int = 1) -> list[bytes]:
    """Return bytes in parts of a size, so that no character of several bytes stays whole."""
    return [whole[start : start + size] for start in range(0, len(whole), size)]


class Fake:
    """A provider on a free port of the loopback.

    Attributes:
        requests: all that came, in order.
        connections: how many were accepted.
        open: how many are open now.
        dropped: how many the other side hung up on while an answer was under way.
    """

    def __init__(self, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.port = 0
        self.requests: list[Asked] = []
        self.connections = 0
        self.dropped = 0
        self._tls = tls
        self._replies: dict[str, list[Reply]] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Its address, without a path."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self._tls is None else 'https'}://{name}:{self.port}"

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._writers)

    def on(self, path: str, *replies: Reply) -> Self:
        """Say what a path answers, from now on; :data:`ANY` is every path that has nothing of its own."""
        self._replies[path] = list(replies)
        return self

    async def start(self) -> Self:
        """Listen; at the port it had before, if any."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port, ssl=self._tls, limit=1 << 22)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Hang up on everybody, and listen no more."""
        assert self._server is not None
        self._server.close()
        for writer in [*self._writers]:
            writer.transport.abort()
        for task in [*self._tasks]:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def idle(self, connections: int = 0) -> None:
        """Wait until no more than so many connections are open."""
        async with asyncio.timeout(PATIENCE):
            while self.open > connections:
                await asyncio.sleep(0.005)

    async def asked(self, count: int) -> None:
        """Wait until so many requests came."""
        async with asyncio.timeout(PATIENCE):
            while len(self.requests) < count:
                await asyncio.sleep(0.005)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._writers.add(writer)
        try:
            while (asked := await _read(reader, number)) is not None:
                self.requests.append(asked)
                if not await self._reply(asked, reader, writer):
                    break
        except ConnectionError:
            self.dropped += 1
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            self._writers.discard(writer)

    async def _reply(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send the next answer; return whether the connection is good for more."""
        replies = self._replies.get(asked.path) or self._replies.get(ANY) or [Answer(404, {"error": "not scripted"})]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        answer = reply if isinstance(reply, Answer) else reply(asked)
        sending = asyncio.ensure_future(_send(answer, asked.method, writer))
        # A client that hangs up is noticed while the answer is being thought about.
        gone = asyncio.ensure_future(_gone(reader))
        try:
            await asyncio.wait([sending, gone], return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise ConnectionResetError("the client hung up")
            return sending.result()
        finally:
            for one in (sending, gone):
                one.cancel()
            await asyncio.wait([sending, gone])


async def _gone(reader: asyncio.StreamReader) -> None:
    while not reader.at_eof() and reader.exception() is None:
        await asyncio.sleep(0.005)


async def _read(reader: asyncio.StreamReader, number: int) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        return None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    fields = {name.lower(): value for name, value in headers}
    if "chunked" in fields.get("transfer-encoding", ""):
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(fields.get("content-length", 0)))
    return Asked(method, target, headers, body, head, number)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    whole = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        whole += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return whole


async def _send(answer: Answer, method: str, writer: asyncio.StreamWriter) -> bool:
    if answer.delay:
        await asyncio.sleep(answer.delay)
    if answer.raw is not None:
        writer.write(answer.raw)
        await writer.drain()
        return False
    if answer.reset and answer.cut is None:
        writer.transport.abort()
        return False
    chunked = answer.parts is not None
    body = answer.bytes
    headers = {"Content-Type": "application/json", **answer.headers}
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    else:
        headers.setdefault("Content-Length", str(len(body)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {answer.status} Scripted\r\n{lines}\r\n".encode())
    parts: Sequence[bytes] = answer.parts if answer.parts is not None else split(body) if answer.drip else [body]
    left = answer.cut
    for number, part in enumerate([] if method == "HEAD" else parts):
        if answer.drip and number:
            await asyncio.sleep(answer.drip)
        if answer.after is not None and number == len(parts) - 1:
            await answer.after.wait()
        sent = part if left is None else part[:left]
        writer.write(f"{len(part):x}\r\n".encode() + sent + b"\r\n" * (sent == part) if chunked else sent)
        await writer.drain()
        if left is not None and (left := left - len(sent)) <= 0:
            if answer.reset:
                writer.transport.abort()
            return False
    if chunked:
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    return not answer.last

"""One request of a client as it was sent, and the way of its answer back."""

import asyncio
import time
from typing import Protocol

from mlcommons_py.errors import MLCommonsError
from mlcommons_py.header_fields import Fields, Headers

EXTENSION = "mlcommons.exchange"
"""Where a scope's ``extensions`` has, under ``exchange``, a function that takes its request out of ASGI and returns the
:class:`Exchange`: ASGI has nothing to say about the request any more."""


class Flow(Protocol):
    """What is needed of uvicorn's flow control."""

    write_paused: bool

    async def drain(self) -> None:
        """Wait until the client reads."""


class Client(Protocol):
    """What is needed of the connection to a client."""

    @property
    def transport(self) -> asyncio.Transport: ...  # noqa: D102 - as asyncio's protocols have it

    @property
    def flow(self) -> Flow: ...  # noqa: D102 - as uvicorn's protocols have it

    def pause_reading(self) -> None:
        """Have the client wait with the rest of its request."""

    def resume_reading(self) -> None:
        """Have it go on."""

    def on_response_complete(self) -> None:
        """Go on with the next request."""


class Driven(Protocol):
    """What is told of the client's doings."""

    def came(self) -> None:
        """Something of the body came, or its end."""

    def resumed(self) -> None:
        """The client reads again."""

    def left(self) -> None:
        """The client went away."""

    def give_up(self, fault: MLCommonsError) -> None:
        """The service ends, and says so where nothing was answered yet."""


class Exchange:
    """One request of a client, beneath ASGI, which knows neither names as they were spelled nor trailers.

    What uvicorn asks its own record of a request, it can ask this one: ``keep_alive``, ``response_complete`` and
    ``disconnected``.

    Attributes:
        method, target: the request's, untouched.
        fields: its header fields.
        version: ``1.1`` or ``1.0``.
        address: the client's.
        scheme: how it reached the service, ``http`` or ``https``.
        began: when its head was complete, by ``time.perf_counter``.
        held: how many bytes of the body wait to be taken.
        more_body: whether the end of the body did not come yet.
        trailers: the fields after a chunked body, known when the body has ended.
        expects_continue: whether the client sends the body only when it is told to go on.
        started: whether anything of the answer was written.
        driven: who is told of what the client does; None once nobody is.
    """

    __slots__ = (
        "_body",
        "_client",
        "address",
        "began",
        "disconnected",
        "driven",
        "expects_continue",
        "fields",
        "held",
        "keep_alive",
        "method",
        "more_body",
        "response_complete",
        "scheme",
        "started",
        "target",
        "trailers",
        "version",
    )

    def __init__(
        self,
        client: Client,
        method: bytes,
        target: bytes,
        headers: Headers,
        trailers: list[tuple[bytes, bytes]],
        version: str,
        keep_alive: bool,
        address: str,
        scheme: str,
    ) -> None:
        self.method = method
        self.target = target
        self.fields = Fields(headers)
        self.version = version
        self.address = address
        self.scheme = scheme
        self.keep_alive = keep_alive
        self.began = time.perf_counter()
        self.expects_continue = b"expect" in self.fields.names and self.fields.tokens(b"expect") == [b"100-continue"]
        self.held = 0
        self.more_body = True
        self.trailers = trailers
        self.started = False
        self.response_complete = False
        self.disconnected = False
        self.driven: Driven | None = None
        self._body: list[bytes] = []
        self._client = client

    @property
    def write_paused(self) -> bool:
        """Whether the client does not read."""
        return self._client.flow.write_paused

    async def drain(self) -> None:
        """Wait until the client reads."""
        await self._client.flow.drain()

    def hold(self, data: bytes) -> None:
        """Keep a part of the body until it is taken."""
        self._body.append(data)
        self.held += len(data)

    def taken(self) -> bytes:
        """Return what came of the body and was not taken yet."""
        if not self.held:
            return b""
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.held = 0
        return data

    def pause_reading(self) -> None:
        """Have the client wait with the rest of its request."""
        self._client.pause_reading()

    def resume_reading(self) -> None:
        """Have it go on."""
        self._client.resume_reading()

    def go_on(self) -> None:
        """Tell a client that waits for it to send the body."""
        self.expects_continue = False
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def write(self, data: bytes) -> None:
        """Write bytes of the answer."""
        if not self.disconnected:
            self._client.transport.write(data)

    def finish(self) -> None:
        """Note that the answer is complete."""
        self.driven = None
        if self.disconnected:
            return
        self.response_complete = True
        if not self.keep_alive:
            self._client.transport.close()
        self._client.on_response_complete()

    def lose(self) -> None:
        """Note that the client went away."""
        self.disconnected = True
        if self.driven is not None:
            self.driven.left()

    def cut(self) -> None:
        """Hang up, so that the client cannot take what it got for the whole."""
        self.driven = None
        self.disconnected = True
        self._client.transport.abort()

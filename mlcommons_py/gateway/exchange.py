"""A client's request as it was sent, and its answer written as the cluster gave it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

EXTENSION = "mlcommons.exchange"
"""Where a scope's ``extensions`` has its :class:`Exchange`, under ``exchange``."""

Headers = Sequence[tuple[bytes, bytes]]


class Cycle(Protocol):
    """What is needed of uvicorn's record of one request and its answer."""

    disconnected: bool
    keep_alive: bool
    waiting_for_100_continue: bool
    body: bytearray
    more_body: bool
    response_started: bool
    response_complete: bool
    message_event: asyncio.Event
    on_response: Callable[[], None]


class Flow(Protocol):
    """What is needed of uvicorn's flow control."""

    write_paused: bool

    async def drain(self) -> None:
        """Wait until the client has taken what was written."""


class Exchange:
    """One request of a client, beneath ASGI, which knows neither names as they were spelled nor trailers.

    Attributes:
        target: the request's target, untouched.
        headers: its header fields in order, names as they were spelled.
        trailers: the fields after a chunked body, known when the body has ended.
        version: ``1.1`` or ``1.0``.
        on_gone: called once when the client goes away before the answer is complete.
    """

    def __init__(
        self, target: bytes, headers: Headers, version: str, cycle: Cycle, transport: asyncio.Transport, flow: Flow
    ) -> None:
        self.target = target
        self.headers = headers
        self.trailers: list[tuple[bytes, bytes]] = []
        self.version = version
        self.on_gone: Callable[[], None] | None = None
        self._cycle = cycle
        self._transport = transport
        self._flow = flow

    @property
    def gone(self) -> bool:
        """Whether the client went away."""
        return self._cycle.disconnected

    @property
    def started(self) -> bool:
        """Whether anything of the answer was written."""
        return self._cycle.response_started

    @property
    def expects_continue(self) -> bool:
        """Whether the client sends the body only when it is told to go on."""
        return self._cycle.waiting_for_100_continue

    @property
    def has_more(self) -> bool:
        """Whether something of the body came already, or its end."""
        return bool(self._cycle.body) or not self._cycle.more_body

    @property
    def keep_alive(self) -> bool:
        """Whether the connection shall serve another request."""
        return self._cycle.keep_alive

    def lose(self) -> None:
        """Note that the client went away."""
        self._cycle.disconnected = True
        self._cycle.message_event.set()
        if self.on_gone is not None:
            self.on_gone()

    def start(self) -> None:
        """Note that the answer begins: from now on nobody else writes one."""
        self._cycle.response_started = True
        self._cycle.waiting_for_100_continue = False

    async def write(self, data: bytes) -> None:
        """Write bytes of the answer; waits while the client does not read."""
        if self._flow.write_paused and not self._cycle.disconnected:
            await self._flow.drain()
        if not self._cycle.disconnected:
            self._transport.write(data)

    def finish(self) -> None:
        """Note that the answer is complete."""
        cycle = self._cycle
        if cycle.disconnected:
            return
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()

    def cut(self) -> None:
        """Hang up, so that the client cannot take what it got for the whole."""
        self.lose()
        self._transport.abort()

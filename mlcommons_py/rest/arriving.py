"""A request's body part by part, as it comes in: bounded in size and in time."""

import asyncio
import math

from starlette.requests import ClientDisconnect
from starlette.types import Message

from mlcommons_py.errors import ContentTooLong, StatusError
from mlcommons_py.rest.asked import Asked
from mlcommons_py.rest.pace import BODY_SECONDS, Pace

SLOWEST = 16 << 10
"""Bytes a second that a body must bring (:class:`~mlcommons_py.rest.pace.Pace`)."""


class Arriving:
    """A body as it comes in: its parts, none of them empty.

    Attributes:
        announced: how long the head says that it is, as it is sent; 0 where it does not say.
    """

    def __init__(
        self,
        request: Asked,
        limit: int,
        too_long: str,
        *,
        patience: float = BODY_SECONDS,
        slowest: float = SLOWEST,
    ) -> None:
        """Begin.

        Raises:
            ContentTooLong: it is announced to be longer than ``limit`` bytes; ``too_long`` is the text.
        """
        announced = request.headers.get("content-length", "").lstrip("0")  # int() takes no thousands of zeros
        self.announced = int(announced) if announced.isdecimal() else 0
        self._limit = limit
        self._too_long = too_long
        self._receive = request.receive
        self._client = request.client
        self._clock = asyncio.get_running_loop().time
        self._began = self._taken = self._clock()
        self._pace = Pace(patience, slowest, self._began)
        self._size = 0
        self._ended = False
        self._check(self.announced)

    async def part(self, until: float = math.inf) -> bytes | None:
        """Return the next part; None when there are no more.

        Raises:
            TimeoutError: none came ``until`` then, by the event loop's clock; the next call goes on.
            ContentTooLong: there is more than the limit. Nothing more of it is read.
            StatusError: it comes too slowly (408).
            ClientDisconnect: the client went away.
        """
        self._pace.rested(self._clock() - self._taken)
        while not self._ended:
            if self._client is not None and self._client.has_sent:
                return self._read(await self._receive())
            try:
                async with asyncio.timeout_at(min(self._pace.due, until)):
                    message = await self._receive()
            except TimeoutError as fault:
                self._taken = self._clock()
                if until < self._pace.due:
                    raise
                raise StatusError(
                    f"the body came too slowly: after {self._taken - self._began:.0f} s there were {self._size} bytes"
                    " of it",
                    408,
                ) from fault
            if part := self._read(message):
                self._taken = self._clock()
                self._pace.came(len(part), self._taken)
                return part
        return None

    def _read(self, message: Message) -> bytes | None:
        """Return the part of the body that a message has; None where it has none."""
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self._ended = not message.get("more_body", False)
        part = bytes(message.get("body", b""))  # uvicorn before 0.42 gives a bytearray of several parts
        self._size += len(part)
        self._check(self._size)
        return part or None

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise ContentTooLong(self._too_long)

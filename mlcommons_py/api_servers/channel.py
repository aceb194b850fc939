"""What two processes of the service ask and tell each other, over a pair of connected sockets.

A frame is ``<u32 length> <JSON>``, the length little-endian; it is ``[number, kind, value]``. Number 0 tells something
that is not answered; what is asked has a number of the asker's own, and so has its answer. The sockets have no name, so
that nobody else can get at what passes here: credentials do.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from mlcommons_py.errors import MLCommonsError, StatusError, Unavailable

log = logging.getLogger(__name__)

Answers = Mapping[str, Callable[[Any], Awaitable[Any]]]
"""What is answered, and how: a JSON value comes and another goes."""

_LENGTH = struct.Struct("<I")
_ANSWER, _FAULT = "=", "!"


class Channel:
    """One end. Make it with :meth:`open`.

    Attributes:
        ended: done when the other end is gone, or :meth:`close` was called.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Answers) -> None:
        self._reader = reader
        self._writer = writer
        self._answers = answers
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._hearing: set[asyncio.Task[None]] = set()
        self.ended = asyncio.create_task(self._receive())

    @classmethod
    async def open(cls, wire: socket.socket, answers: Answers) -> "Channel":
        """Return the end that a socket is."""
        reader, writer = await asyncio.open_connection(sock=wire)
        return cls(reader, writer, answers)

    async def ask(self, kind: str, value: object = None) -> Any:
        """Return what the other end answers.

        Raises:
            Unavailable: it is gone, or cannot say.
            StatusError: what is asked for cannot be.
        """
        if self.ended.done():
            raise Unavailable("the service is shutting down")
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(number, kind, value)
            return await answer
        finally:
            del self._waiting[number]

    def tell(self, kind: str, value: object = None) -> None:
        """Say something that is not answered; it is lost if the other end is gone."""
        if not self.ended.done():
            self._send(0, kind, value)

    async def close(self) -> None:
        """Send what is still to be sent, and hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await self.ended

    def _send(self, number: int, kind: str, value: object) -> None:
        frame = orjson.dumps([number, kind, value])
        self._writer.write(_LENGTH.pack(len(frame)) + frame)

    async def _receive(self) -> None:
        """Take in frames until the other end is gone."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                self._take(*orjson.loads(await self._reader.readexactly(length)))
        self._writer.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable("the service is shutting down"))
        for task in self._answering:
            task.cancel()
        if self._hearing:  # what was told last counts as well
            await asyncio.wait(self._hearing)

    def _take(self, number: int, kind: str, value: Any) -> None:
        if kind not in (_ANSWER, _FAULT):
            task = asyncio.create_task(self._answer(number, kind, value))
            tasks = self._answering if number else self._hearing
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            return
        answer = self._waiting.get(number)
        if answer is None or answer.done():
            return
        if kind == _ANSWER:
            answer.set_result(value)
        else:
            status, reason = value
            answer.set_exception(Unavailable(reason) if status == Unavailable.status else StatusError(reason, status))

    async def _answer(self, number: int, kind: str, value: Any) -> None:
        try:
            answer, sort = await self._answers[kind](value), _ANSWER
        except MLCommonsError as fault:
            answer, sort = [fault.status, fault.reason], _FAULT
        except Exception:
            log.exception("[%s] could not be answered", kind)
            answer, sort = [Unavailable.status, "the service failed; its log says why"], _FAULT
        if number and not self._writer.is_closing():
            self._send(number, sort, answer)

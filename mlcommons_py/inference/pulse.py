"""Whether a worker is there, and gets on with what it computes."""

import asyncio
from collections.abc import Callable

from mlcommons_py.inference.wire import Message, Pong

PINGS = 3
"""Pings in a row that say the same of a worker before it is believed: this process may have stood still itself."""


class Pulse:
    """What a worker's frames tell of it."""

    def __init__(self) -> None:
        self._frames = 0
        self._pong: Pong | None = None

    def felt(self, message: Message) -> None:
        """Take note of a frame."""
        self._frames += 1
        if isinstance(message, Pong):
            self._pong = message

    async def fails(self, ping: Callable[[], None], seconds: float, limit: float) -> str:
        """Return what is wrong as soon as something is.

        That is a worker that says nothing at all between :data:`PINGS` pings, so many seconds apart: one that computes
        does, for another thread answers. Or one whose every answer to them is that a batch has been computed for longer
        than ``limit`` seconds, one and the same, so that it was longer each time: the engine does not come back.
        """
        silent = stuck = 0
        while True:
            before, self._pong = self._frames, None
            ping()
            await asyncio.sleep(seconds)
            silent = silent + 1 if self._frames == before else 0
            busy = 0.0 if self._pong is None else self._pong.busy
            # A batch that was begun since the last answer is not that old.
            stuck = stuck + 1 if busy > limit + stuck * seconds else int(busy > limit)
            if silent == PINGS:
                return "did not answer any more"
            if stuck == PINGS:
                return f"computed one batch for more than {limit:g} s"

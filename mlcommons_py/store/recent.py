"""What was read a moment ago, for calls that cannot wait for the store each time."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from mlcommons_py.errors import MLCommonsError, Unavailable
from mlcommons_py.store.patience import awaited

FRESH = 1.0
"""Seconds for which what was read may be used without reading it again."""

_AHEAD = 0.6
"""Seconds after which it is read again without anybody waiting for it."""

SLOW = 0.5
"""Seconds that a call waits for the store before it goes by what was last known."""

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by id, each as it was at most :data:`FRESH` seconds ago, or as this process last changed it.

    While the store does not answer, a value is what it was when last known. One that is read anew and has not changed
    is the same object as before, with all that was worked out of it.

    Args:
        read: reads one; an :class:`~mlcommons_py.errors.MLCommonsError` other than ``Unavailable`` is an answer too.
    """

    def __init__(self, read: Callable[[str], Awaitable[T]]) -> None:
        self._read = read
        self._kept: dict[str, tuple[float, T]] = {}
        self._reading: dict[str, tuple[float, asyncio.Task[T]]] = {}
        self._changes = 0

    async def get(self, one_id: str) -> T:
        """Return the value of an id.

        Raises:
            MLCommonsError: what reading it raised.
        """
        at = time.monotonic()
        kept = self._kept.get(one_id)
        if kept is not None and at - kept[0] < FRESH:
            if at - kept[0] > _AHEAD and one_id not in self._reading:
                self._begin(one_id, at)
            return kept[1]
        began, reading = self._reading.get(one_id) or self._begin(one_id, at)
        if kept is None:
            return await asyncio.shield(reading)
        await asyncio.wait([reading], timeout=max(0.0, began + SLOW - at))
        if not reading.done() or isinstance(reading.exception(), Unavailable):
            return kept[1]
        return reading.result()

    def _begin(self, one_id: str, at: float) -> tuple[float, asyncio.Task[T]]:
        """Begin to read a value for all who ask for it meanwhile."""
        changes = self._changes

        async def read() -> T:
            with awaited():
                value = await self._read(one_id)
            if (kept := self._kept.get(one_id)) is not None and kept[1] == value:
                value = kept[1]
            if changes == self._changes:  # else it may be older than what this process wrote meanwhile
                self._kept[one_id] = (at, value)
            return value

        def ended(done: asyncio.Task[T]) -> None:
            if self._reading.get(one_id) == begun:
                del self._reading[one_id]
            if done.cancelled():
                return
            fault = done.exception()
            if isinstance(fault, MLCommonsError) and not isinstance(fault, Unavailable):
                self._kept.pop(one_id, None)

        begun = self._reading[one_id] = (at, asyncio.create_task(read()))
        begun[1].add_done_callback(ended)
        return begun

    def changed(self, one_id: str, known: T | None = None) -> None:
        """Read an id anew for the next who asks; what is known of it now serves only while the store does not answer.

        Without ``known`` that is what was known before.
        """
        self._changes += 1
        self._reading.pop(one_id, None)
        if known is None and (kept := self._kept.get(one_id)) is not None:
            known = kept[1]
        if known is not None:
            self._kept[one_id] = (-math.inf, known)

    def gone(self, one_id: str) -> None:
        """Forget an id."""
        self.changed(one_id)
        self._kept.pop(one_id, None)

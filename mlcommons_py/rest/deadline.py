"""When a client has kept a connection waiting for too long."""

import asyncio
from collections.abc import Callable


class Deadline:
    """A time by which something has to happen, put off again and again: far more deadlines are set than ever come.

    Args:
        passed: called when nothing did; it may set another.

    Attributes:
        due: the deadline, by the loop's clock; None where nothing is waited for.
    """

    __slots__ = ("_alarm", "_alarm_at", "_loop", "_passed", "due")

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self.due: float | None = None
        self._loop = loop
        self._passed = passed
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0

    def set(self, seconds: float | None) -> None:
        """Set it to so many seconds from now; None where nothing is waited for any more."""
        self.due = None if seconds is None else self._loop.time() + seconds

    def watch(self) -> None:
        """Have somebody look when it comes; one that is set later than the last time needs no look of its own."""
        if self.due is None or (self._alarm is not None and self._alarm_at <= self.due):
            return
        self.cancel()
        self._alarm_at = self.due
        self._alarm = self._loop.call_at(self.due, self._look)

    def cancel(self) -> None:
        """Look no more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _look(self) -> None:
        self._alarm = None
        if self.due is None or self.due > self._alarm_at:
            self.watch()
        else:
            self._passed()


class Unread:
    """Hangs up on a client that reads nothing of its answer for so many seconds."""

    __slots__ = ("_before", "_look", "_seconds", "_transport")

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._await()

    def _await(self) -> None:
        self._before = self._transport.get_write_buffer_size()
        self._look = asyncio.get_running_loop().call_later(self._seconds, self._looked)

    def _looked(self) -> None:
        if self._transport.get_write_buffer_size() < self._before:
            self._await()
        else:
            self._transport.abort()

    def cancel(self) -> None:
        """Look no more: it read all there was."""
        self._look.cancel()

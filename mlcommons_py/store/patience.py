"""Clients wait for what is asked of a store: a moment where it does not answer, and until all see what they did.

What runs by itself is patient for as long as it takes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Settle = Callable[[], Awaitable[None]]


class Awaited:
    """What a client waits for."""

    def __init__(self) -> None:
        self.task = asyncio.current_task()
        self._settle: set[Settle] = set()

    def wrote(self, settle: Settle) -> None:
        """Note that something was written in the client's name, which ``settle`` shows to all who search."""
        self._settle.add(settle)

    async def settled(self) -> None:
        """Return when all who search see what was written, by this task or those that it started."""
        while self._settle:
            await self._settle.pop()()


_waiting: ContextVar[Awaited | None] = ContextVar("waiting", default=None)


@contextmanager
def awaited() -> Iterator[Awaited]:
    """Within it, what this task asks of a store is not tried again for long while nobody answers.

    Tasks that it starts are not meant: they may go on when nobody waits any more.
    """
    before = _waiting.set(one := Awaited())
    try:
        yield one
    finally:
        _waiting.reset(before)


def is_awaited() -> bool:
    """Return whether somebody waits for what this task asks of a store."""
    one = _waiting.get()
    return one is not None and one.task is asyncio.current_task()


def wrote(settle: Settle) -> None:
    """Note that something was written that ``settle`` shows to all who search, for the client who waits, if any."""
    if (one := _waiting.get()) is not None:
        one.wrote(settle)

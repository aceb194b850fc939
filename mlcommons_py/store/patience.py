"""Who waits for a store that does not answer: a client for a moment, what runs by itself for as long as it takes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_waiting: ContextVar["asyncio.Task[object] | None"] = ContextVar("waiting", default=None)


@contextmanager
def awaited() -> Iterator[None]:
    """Within it, what this task asks of a store is not tried again for long while nobody answers.

    Tasks that it starts are not meant: they may go on when nobody waits any more.
    """
    before = _waiting.set(asyncio.current_task())
    try:
        yield
    finally:
        _waiting.reset(before)


def is_awaited() -> bool:
    """Return whether somebody waits for what this task asks of a store."""
    return _waiting.get() is asyncio.current_task()

"""Accepting connections of a socket that several processes accept from."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from mlcommons_py.api_servers.turns import Turns, shared
from mlcommons_py.rest.accepting import Acceptor
from mlcommons_py.rest.server import listen

PATIENCE = 20.0


class Held(asyncio.Protocol):
    """A connection that somebody holds."""

    def __init__(self, holder: "Holder") -> None:
        self._holder = holder

    def connection_made(self, _transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self._holder.count += 1
        self._holder.changed.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Count it no more."""
        self._holder.count -= 1
        self._holder.changed.set()


class Holder:
    """Stands for a process that accepts connections."""

    def __init__(self, listening: socket.socket, turns: Turns) -> None:
        self.count = 0
        self.changed = asyncio.Event()
        self._listening = listening.dup()
        self.acceptor = Acceptor(self._listening, lambda: Held(self), None, turns, lambda: self.count)

    async def close(self) -> None:
        """Accept nothing any more."""
        self.acceptor.close()
        await self.acceptor.wait_closed()
        self._listening.close()


Holders = Callable[..., list[Holder]]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket that is listened on."""
    with listen("127.0.0.1", 0) as one:
        yield one


@pytest.fixture
def memory() -> Iterator[int]:
    """Memory in which three processes count."""
    descriptor = shared(3)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
async def holders(listening: socket.socket, memory: int) -> AsyncIterator[Holders]:
    """A function that returns who accepts from it, each with a place in the memory."""
    made: list[Holder] = []

    def make(*slots: int) -> list[Holder]:
        made.extend(Holder(listening, Turns(memory, slot)) for slot in slots)
        return made

    yield make
    for one in made:
        await one.close()


async def _connect(listening: socket.socket, stack: AsyncExitStack, holders: list[Holder]) -> None:
    """Connect, and wait until somebody has the connection."""
    held = sum(one.count for one in holders)
    _, writer = await asyncio.open_connection(*listening.getsockname())
    stack.callback(writer.close)
    async with asyncio.timeout(PATIENCE):
        while sum(one.count for one in holders) == held:
            await asyncio.sleep(0)


async def test_each_gets_its_share(listening: socket.socket, holders: Holders) -> None:
    """Connections go to who has the fewest, whoever is woken first."""
    three = holders(0, 1, 2)
    async with AsyncExitStack() as stack:
        for _ in range(12):
            await _connect(listening, stack, three)

        assert [one.count for one in three] == [4, 4, 4]


async def test_who_accepts_none_is_not_waited_for(listening: socket.socket, memory: int, holders: Holders) -> None:
    """When a process stops accepting, those that are left take everything."""
    one, other = holders(0, 1)
    async with AsyncExitStack() as stack:
        await _connect(listening, stack, [one, other])
        await _connect(listening, stack, [one, other])
        other.acceptor.close()
        for _ in range(4):
            await _connect(listening, stack, [one, other])

        assert (one.count, other.count) == (5, 1)
        assert not Turns(memory, 2).others_first(5)


async def test_who_does_not_come_is_not_waited_for_long(
    listening: socket.socket, memory: int, holders: Holders
) -> None:
    """A connection that a process with fewer ones does not take is accepted by another all the same."""
    Turns(memory, 1).note(0)  # it serves nobody, and never looks
    (alone,) = holders(0)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await _connect(listening, stack, [alone])

        assert alone.count == 3


def test_the_dead_are_not_counted(memory: int) -> None:
    """A process that ended has no turn any more, and one that has not begun has none yet."""
    one, other = Turns(memory, 0), Turns(memory, 1)
    assert not one.others_first(5)
    other.note(2)
    assert one.others_first(3)
    assert not one.others_first(2)

    one.gone(1)

    assert not one.others_first(3)

"""What two processes ask and tell each other."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mlcommons_py.api_servers.channel import Answers, Channel
from mlcommons_py.api_servers.process import AT_FIRST
from mlcommons_py.errors import NotFound, StatusError, Unavailable

Pair = Callable[[Answers], Awaitable[tuple[Channel, Channel]]]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A function that returns two ends, the second of which answers."""
    ends: list[Channel] = []

    async def opened(answers: Answers) -> tuple[Channel, Channel]:
        one, other = socket.socketpair()
        ends.extend([await Channel.open(one, {}), await Channel.open(other, answers)])
        return ends[-2], ends[-1]

    yield opened
    for end in ends:
        await end.close()


async def test_answers_in_any_order(pair: Pair) -> None:
    """Each who asks gets their own answer, however long another takes; values may be large."""
    first, answered = asyncio.Event(), list[int]()

    async def double(value: Any) -> Any:
        if value == 1:
            await first.wait()
        answered.append(len(str(value)))
        return value * 2

    asker, _ = await pair({"double": double})
    slow = asyncio.create_task(asker.ask("double", 1))

    assert await asker.ask("double", "x" * 1_000_000) == "x" * 2_000_000
    first.set()
    assert await slow == 2
    assert answered == [1_000_000, 1]


async def test_faults_come_through(pair: Pair) -> None:
    """What cannot be is told apart from what cannot be said now; a fault of the code is the latter."""

    async def fail(value: Any) -> Any:
        raise {"gone": NotFound("there is none"), "down": Unavailable("no store"), "bug": KeyError("x")}[value]

    asker, _ = await pair({"fail": fail})

    with pytest.raises(StatusError, match="there is none") as gone:
        await asker.ask("fail", "gone")
    with pytest.raises(Unavailable, match="no store"):
        await asker.ask("fail", "down")
    with pytest.raises(Unavailable, match="its log says why"):
        await asker.ask("fail", "bug")
    assert gone.value.status == 404
    assert not isinstance(gone.value, Unavailable)


async def test_who_waits_learns_of_the_end(pair: Pair) -> None:
    """When the other end is gone, who waits for an answer is told, and who asks later."""

    async def never(_value: Any) -> Any:
        await asyncio.Event().wait()

    asker, other = await pair({"never": never})
    waiting = asyncio.create_task(asker.ask("never"))
    await asyncio.sleep(0)

    await other.close()

    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await asker.ask("never")
    asker.tell("never")
    await asyncio.wait_for(asker.ended, 20)


async def test_what_is_told_last_arrives() -> None:
    """What an end told before it hung up is taken in by the other, though it finds all of that at once."""
    told: list[int] = []

    async def take(value: Any) -> None:
        await asyncio.sleep(0)
        told.append(value)

    one, other = socket.socketpair()
    teller = await Channel.open(one, {})
    for number in range(100):
        teller.tell("take", number)
    await teller.close()

    taker = await Channel.open(other, {"take": take})
    await asyncio.wait_for(taker.ended, 20)

    assert told == list(range(100))


async def test_what_an_api_server_is_told_before_it_has_begun(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """News of models of which it knows nothing yet are no failure."""
    core, other = await pair(AT_FIRST)

    for kind in ("changed", "removed", "suspended"):
        core.tell(kind, "m")
    await core.close()
    await other.ended

    assert not caplog.records

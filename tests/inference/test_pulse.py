"""What the frames of a worker tell of it."""

import asyncio
from collections.abc import Sequence

import pytest

from mlcommons_py.inference.pulse import PINGS, Pulse
from mlcommons_py.inference.wire import Failed, Message, Pong

STUCK, FINE, OTHER = Pong(busy=61), Pong(busy=59), Failed(1, "x")


async def told(answers: Sequence[Message | None], seconds: float = 0) -> tuple[str, int]:
    """Return what a worker's answers to pings show, the last of them for ever and None for none, and after how many."""
    pulse, pings = Pulse(), 0

    def ping() -> None:
        nonlocal pings
        if (answer := answers[min(pings, len(answers) - 1)]) is not None:
            pulse.felt(answer)
        pings += 1

    return await asyncio.wait_for(pulse.fails(ping, seconds, 60), 20), pings


@pytest.mark.parametrize(
    ("answers", "why", "pings"),
    [
        ([None], "did not answer any more", PINGS),
        ([STUCK], "computed one batch for more than 60 s", PINGS),
        ([FINE, FINE, STUCK, FINE, STUCK, STUCK, FINE, STUCK], "computed one batch for more than 60 s", 7 + PINGS),
        ([STUCK, STUCK, OTHER, None, None, OTHER, FINE, None], "did not answer any more", 7 + PINGS),
        ([STUCK, None, STUCK, None, STUCK, FINE, None], "did not answer any more", 6 + PINGS),
    ],
)
async def test_failures(answers: Sequence[Message | None], why: str, pings: int) -> None:
    """A worker fails when so many pings in a row go unanswered, or are answered by how long a batch takes."""
    assert await told(answers) == (why, pings)


async def test_batches_that_all_take_long() -> None:
    """A worker that gets on is left at it, though each of its batches takes longer than anybody waits."""
    young, old = Pong(busy=60.005), (Pong(busy=60.005), Pong(busy=60.015), Pong(busy=60.025))

    assert await told([young] * 2 * PINGS + [None], 0.01) == ("did not answer any more", 3 * PINGS)
    assert await told([young, *old], 0.01) == ("computed one batch for more than 60 s", 1 + PINGS)

"""What guardrails of tests work with."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from mlcommons_py import content
from mlcommons_py.errors import IllegalArgument, ResourceNotFound
from mlcommons_py.guard.guardrail import Means, Side
from mlcommons_py.guard.guards import Guard, Guards

REFUSAL = "guardrails triggered for LLM output"

Search = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
Ask = Callable[[str, Mapping[str, str]], Awaitable[Mapping[str, Any]]]


async def no_index(index: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Know no index."""
    raise ResourceNotFound(f"no such index [{index}]")


async def no_model(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Know no model."""
    raise ResourceNotFound("Failed to find model")


def guards(search: Search = no_index, ask: Ask = no_model) -> Guards:
    """Return guards of the types and packs that the project ships."""
    return Guards(Means(search, ask, partial(content.read, "guardrails")), content.guardrails())


def guard(
    search: Search = no_index, ask: Ask = no_model, *, kind: str | None = None, side: Side = "input", **given: Any
) -> Guard:
    """Return the guard of a model that has a guardrail on one side."""
    stored: dict[str, Any] = {f"{side}_guardrail": given}
    if kind is not None:
        stored["type"] = kind
    made = guards(search, ask).of(stored)
    assert made is not None
    return made


async def refused(
    made: Guard,
    text: str,
    question: str | None = None,
    *,
    side: Side = "input",
    alone: bool = False,
    also: Sequence[str] = (),
) -> bool:
    """Return whether a guard refuses a text, with the very words of ML Commons."""
    reason = None
    try:
        await made.check(side, text, question, alone=alone, also=also)
    except IllegalArgument as fault:
        reason = fault.reason
    assert reason in (None, {"input": "guardrails triggered for user input", "output": REFUSAL}[side])
    return reason is not None


async def longest_pause(work: Awaitable[object]) -> float:
    """Return the longest time that the event loop did nothing else while some work was done.

    It is counted in seconds of CPU that this process took, in all of its threads: who else has the processor does not
    matter then, and what a thread does without letting the loop go on is counted, too.
    """
    doing = asyncio.ensure_future(work)
    longest, before = 0.0, time.process_time()
    while not doing.done():
        await asyncio.sleep(0)
        now = time.process_time()
        longest, before = max(longest, now - before), now
    await doing
    return longest

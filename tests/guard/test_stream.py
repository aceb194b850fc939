"""Streams under a guardrail."""

import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.guard.guards import Guard
from mlcommons_py.guard.stream import HELD, GuardedStream
from tests.guard.means import REFUSAL, guard


async def told(made: Guard, pieces: list[str]) -> tuple[str, bool]:
    """Return what a client gets of a stream, and whether it was refused."""
    stream, out, reason = made.stream(), "", None
    try:
        for piece in pieces:
            out += await stream.feed(piece)
        out += await stream.end()
    except IllegalArgument as fault:
        reason = fault.reason
    assert reason in (None, REFUSAL)
    return out, reason is not None


def cut(text: str, size: int) -> list[str]:
    """Return a text in pieces."""
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("at", [0, 1, 63, 64, 127, 128, 500, 1990])
async def test_across_boundaries(size: int, at: int) -> None:
    """A word that comes in pieces is found, and not a letter of it goes out."""
    made = guard(side="output", regex=["(?s).*SECRET.*"])
    text = "x" * at + "SECRET" + "x" * (2000 - at)
    out, was_refused = await told(made, cut(text, size))
    assert was_refused
    assert "x" * len(out) == out
    assert len(out) <= at


@pytest.mark.parametrize("size", [1, 5, 64, 4000])
async def test_harmless(size: int) -> None:
    """A harmless text goes out whole and in order."""
    text = "".join(random.Random(size).choices("abc äé🚀\n", k=3000))
    assert await told(guard(side="output", regex=["(?s).*SECRET.*"]), cut(text, size)) == (text, False)


async def test_flows() -> None:
    """Text goes out while more is coming, and what stays behind is little."""
    stream = guard(side="output", regex=["x"]).stream()
    out, most = "", 0
    for count in range(1, 1001):
        out += await stream.feed("abcd")
        most = max(most, 4 * count - len(out))
    assert most <= HELD + 4000 // 16 + 4


async def test_packs_in_pieces() -> None:
    """A card's number that comes digit by digit is found before its first digit goes out."""
    out, was_refused = await told(
        guard(side="output", packs=["pii"]), list("Sure: 4111 1111 1111 1111 is it. " + "y" * 300)
    )
    assert was_refused
    assert out == "Sure: "[: len(out)]


async def test_disguised_in_pieces() -> None:
    """A word of wide letters with invisible characters between them is found across pieces."""
    made = guard(side="output", regex=["(?s).*bad.*"])
    assert (await told(made, ["fine " * 40, "ｂ", "\u200b", "ａ", "d", " fine " * 40]))[1]


async def test_without_guardrail() -> None:
    """Without a guardrail on the output every piece goes out at once."""
    stream = guard(side="input", regex=["x"]).stream()
    assert [await stream.feed("x"), await stream.feed("y"), await stream.end()] == ["x", "y", ""]


async def test_judged_whole() -> None:
    """Under a model that judges nothing goes out before the end, and it is asked once."""
    asked: list[Mapping[str, str]] = []

    async def ask(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        asked.append(parameters)
        return {"inference_results": [{"output": [{"dataAsMap": {"response": "accept"}}]}]}

    made = guard(ask=ask, kind="model", side="output", model_id="judge", response_validation_regex='"accept"')
    stream = made.stream()
    assert [await stream.feed("a" * 1000) for _ in range(5)] == [""] * 5
    assert await stream.end() == "a" * 5000
    assert asked == [{"question": "a" * 5000}]


async def test_work_grows_with_the_text() -> None:
    """A text of 100 kB in single letters is judged some hundred times, not 100,000 times."""
    seen: list[int] = []

    async def check(text: str) -> None:
        seen.append(len(text))

    stream = GuardedStream(check)
    out = "".join([await stream.feed("a") for _ in range(100_000)]) + await stream.end()
    assert len(out) == 100_000
    assert len(seen) < 200
    assert sum(seen) < 30 * len(out)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ab ", max_size=200), max_size=30))
async def test_every_beginning_passed(pieces: list[str]) -> None:
    """Whatever went out was judged, in that text or a longer one that begins with it, before it went out."""
    judged = [""]

    async def check(text: str) -> None:
        judged.append(text)

    stream, out = GuardedStream(check), ""
    for piece in pieces:
        out += await stream.feed(piece)
        assert any(text.startswith(out) for text in judged)
    out += await stream.end()
    assert out == "".join(pieces)
    assert judged[-1] == out

"""Guardrails of the type ``model``: another model judges."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.guard.guards import Guards
from tests.guard.means import Ask, guard, guards, refused

ACCEPT = r'^\s*"[Aa]ccept"\s*$'
JUDGE: dict[str, Any] = {"kind": "model", "model_id": "judge", "response_validation_regex": ACCEPT}


def answer(response: Any) -> Mapping[str, Any]:
    """Return the answer of a model whose tensor has a response."""
    return {"inference_results": [{"output": [{"name": "response", "dataAsMap": {"response": response}}]}]}


def judging(*questions: str, asked: list[Mapping[str, str]] | None = None) -> Ask:
    """Return the judge that accepts some questions and no others."""

    async def ask(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        assert model_id == "judge"
        if asked is not None:
            asked.append(parameters)
        return answer("accept" if parameters["question"] in questions else "reject")

    return ask


async def test_accepts_and_refuses() -> None:
    """A text passes if the answer, as JSON with its quotes, is what the expression describes."""
    made = guard(ask=judging("nice?"), **JUDGE)
    assert not await refused(made, '{"prompt":"nice?"}', "nice?", alone=True)
    assert await refused(made, '{"prompt":"evil?"}', "evil?", alone=True)


async def test_what_is_asked() -> None:
    """The judge is asked the input's question, and its body unless the question is alone; the output's as it is."""
    asked: list[Mapping[str, str]] = []
    made = guard(ask=judging("what?", asked=asked), response_filter="$.choices[0]", **JUDGE)
    body = '{"answer": "tea \\"now\\""}'
    assert not await refused(made, body, "what?", alone=True)
    for question in ("what?", None, ""):
        assert await refused(made, body, question, alone=not question, also=["in the URL"])
    await refused(guard(ask=judging(asked=asked), side="output", **JUDGE), body, "what?", side="output")
    both = f"{body}\nin the URL"
    assert asked == [
        *({"question": text, "response_filter": "$.choices[0]"} for text in ("what?", "what?", both, both, both)),
        {"question": body},
    ]


async def test_nothing_to_judge() -> None:
    """An empty text passes, and nobody is asked."""
    asked: list[Mapping[str, str]] = []
    assert not await refused(guard(ask=judging(asked=asked), **JUDGE), "")
    assert asked == []


@pytest.mark.parametrize(
    "malformed",
    [
        {},
        {"inference_results": []},
        {"inference_results": [{}]},
        {"inference_results": [{"output": [{"name": "x", "data": [1.0]}]}]},
        {"inference_results": [{"output": [{"dataAsMap": {"other": "accept"}}]}]},
        {"inference_results": [{"output": [{"dataAsMap": "accept"}]}]},
        answer(None),
        answer({"verdict": "accept"}),
        answer(["accept"]),
        answer("accept it"),
        answer('accept"\n"accept'),
    ],
)
@pytest.mark.parametrize("side", ["input", "output"])
async def test_malformed_answers(malformed: Mapping[str, Any], side: Any) -> None:
    """An answer of another form than asked for refuses, on both sides."""

    async def ask(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        return malformed

    assert await refused(guard(ask=ask, side=side, **JUDGE), "text", "text", side=side)
    loose = {**JUDGE, "response_validation_regex": '"accept"'}
    assert await refused(guard(ask=ask, side=side, **loose), "text", "text", side=side)


@pytest.mark.parametrize("side", ["input", "output"])
async def test_judge_that_fails(side: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A judge whose provider answers 500 refuses, on both sides, and the log says why."""

    async def ask(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        raise RemoteFailed("Error from remote service: no", 500)

    assert await refused(guard(ask=ask, side=side, **JUDGE), "text", "text", side=side)
    assert "Error from remote service: no" in caplog.text


@pytest.mark.parametrize("side", ["input", "output"])
async def test_judge_that_does_not_answer(side: Any) -> None:
    """A judge that does not answer in time refuses, on both sides, and is not waited for any longer."""
    left = asyncio.Event()

    async def ask(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return answer("accept")

    made = guard(ask=ask, side=side, **JUDGE)
    made._sides[side].seconds = 0.01
    assert await refused(made, "text", "text", side=side)
    assert left.is_set()


async def test_judge_of_itself() -> None:
    """A model that is its own guardrail, by way of another, refuses instead of asking without end."""
    kept: list[Guards] = []
    asked: list[str] = []

    async def ask(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        asked.append(model_id)
        other = {"a": "b", "b": "a"}[model_id]
        inner = kept[0].of(rules(other))
        assert inner is not None
        await inner.check("input", parameters["question"])
        return answer("accept")

    def rules(model_id: str) -> dict[str, Any]:
        return {"type": "model", "input_guardrail": {"model_id": model_id, "response_validation_regex": ACCEPT}}

    kept.append(guards(ask=ask))
    made = kept[0].of(rules("a"))
    assert made is not None
    assert await refused(made, "text")
    assert asked == ["a", "b"]

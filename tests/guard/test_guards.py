"""Guards: what a model's guardrails may be, and that they fail closed."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.guard.guardrail import GuardrailType, Means, Said
from mlcommons_py.guard.guards import Guard, Guards
from tests.guard.means import guard, guards, no_index, no_model, refused

LONE: list[tuple[Any, str]] = [
    (
        {"type": "other"},
        "The type of guardrails is required, can not be null. [guardrails.type] is to be one of local_regex, model.",
    ),
    (
        {"type": 3},
        "The type of guardrails is required, can not be null. [guardrails.type] is to be one of local_regex, model.",
    ),
    ({"x": 1}, "[guardrails] has the unknown field [x]; it may have input_guardrail, output_guardrail, type"),
    ({"input_guardrail": []}, "[guardrails.input_guardrail] must be an object, not list"),
    (
        {"output_guardrail": {"regexes": []}},
        "[guardrails.output_guardrail] has the unknown field [regexes]; it may have packs, regex, stop_words",
    ),
    ({"input_guardrail": {"regex": "x"}}, "[guardrails.input_guardrail.regex] must be a list of strings"),
    ({"input_guardrail": {"regex": [1]}}, "[guardrails.input_guardrail.regex] must be a list of strings"),
    (
        {"input_guardrail": {"stop_words": {}}},
        "[guardrails.input_guardrail.stop_words] must be a list of objects with [index_name] and [source_fields]",
    ),
    (
        {"input_guardrail": {"stop_words": [{"source_fields": ["a"]}]}},
        "[guardrails.input_guardrail.stop_words.index_name] is missing",
    ),
    (
        {"input_guardrail": {"stop_words": [{"index_name": "a"}]}},
        "[guardrails.input_guardrail.stop_words.source_fields] is missing",
    ),
    (
        {"input_guardrail": {"packs": ["pi"]}},
        (
            "[guardrails.input_guardrail.packs] there is no [pi] among the guardrails; there are: pii, profanity,"
            " prompt_injection"
        ),
    ),
    (
        {"type": "model", "input_guardrail": {"response_validation_regex": "x"}},
        "[guardrails.input_guardrail.model_id] is missing",
    ),
    (
        {"type": "model", "input_guardrail": {"model_id": "m"}},
        "[guardrails.input_guardrail.response_validation_regex] is missing",
    ),
    (
        {"type": "model", "input_guardrail": {"regex": []}},
        (
            "[guardrails.input_guardrail] has the unknown field [regex]; it may have model_id, response_filter,"
            " response_validation_regex"
        ),
    ),
    ("x", "[guardrails] must be an object, not str"),
]


@pytest.mark.parametrize(("given", "text"), LONE)
def test_wrong_guardrails(given: Any, text: str) -> None:
    """Guardrails of the wrong form are refused, and the text names the field."""
    with pytest.raises(IllegalArgument) as raised:
        guards().check(given)
    assert raised.value.reason == text


def test_no_guardrails() -> None:
    """A model without guardrails has no guard."""
    guards().check(None)
    assert guards().of(None) is None
    assert guards().of({}) is None


async def test_type_may_be_missing() -> None:
    """Guardrails without a type are of the type ``local_regex``."""
    assert await refused(guard(regex=[".*bad.*"]), "so bad")


async def test_null_is_no_guardrail() -> None:
    """A side that is null, as an update may leave it, has no guardrail."""
    made = guards().of({"type": None, "input_guardrail": None, "output_guardrail": {"regex": ["x"]}})
    assert made is not None
    await made.check("input", "x")
    assert (made.watches("input"), made.watches("output")) == (False, True)
    assert await refused(made, "x", side="output")


def test_each_guard_is_made_once() -> None:
    """The same guardrails, in whatever order they are spelled, are one guard."""
    kept = guards()
    first = kept.of({"input_guardrail": {"regex": ["a"]}, "type": "local_regex"})
    assert kept.of({"type": "local_regex", "input_guardrail": {"regex": ["a"]}}) is first
    assert kept.of({"type": "local_regex", "input_guardrail": {"regex": ["b"]}}) is not first


def test_stored_guardrails_that_cannot_be_used() -> None:
    """Guardrails that another service stored, and that cannot be run here, let nothing pass."""
    with pytest.raises(IllegalArgument, match="look-around is not supported"):
        guards().of({"input_guardrail": {"regex": ["(?=a)"]}})


class Broken:
    """A guardrail that never judges."""

    whole = False

    def __init__(self, fault: Exception | None, seconds: float) -> None:
        self.fault = fault
        self.seconds = seconds

    async def accepts(self, said: Said) -> bool:  # noqa: ARG002
        """Fail, or never come back."""
        if self.fault is None:
            await asyncio.Event().wait()
            return True
        raise self.fault


def broken(fault: Exception | None, seconds: float = 60.0) -> Guard:
    """Return the guard of a model with a broken guardrail."""

    def make(given: Mapping[str, Any], means: Means, field: str) -> Broken:
        return Broken(fault, seconds)

    types = {"broken": GuardrailType("broken", frozenset(), make)}
    made = Guards(Means(no_index, no_model, lambda _: {}), types).of({"type": "broken", "input_guardrail": {}})
    assert made is not None
    return made


@pytest.mark.parametrize(
    "fault", [RuntimeError("wires crossed"), IllegalArgument("out of order"), KeyError("response")]
)
async def test_guardrail_that_fails(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A guardrail that fails refuses, and the log says why but not what was said."""
    with caplog.at_level(logging.WARNING):
        assert await refused(broken(fault), "a secret text")
    assert f"{type(fault).__name__}: " in caplog.text
    assert str(fault.args[0]) in caplog.text
    assert "a secret text" not in caplog.text


async def test_the_log_names_model_and_judge(caplog: pytest.LogCaptureFixture) -> None:
    """Of a judge that is gone the log says which it is, and whose."""
    judge = {"model_id": "judge-7", "response_validation_regex": ".*"}
    stored = {"type": "model", "input_guardrail": judge}
    for model_id in ("guarded-1", "guarded-2"):
        made = guards().of(stored, model_id)
        assert made is not None
        with caplog.at_level(logging.WARNING):
            assert await refused(made, "a text")
        assert f"the guardrail [model 'judge-7'] on input of model {model_id} failed" in caplog.text


async def test_guardrail_that_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    """A guardrail that does not answer in time refuses, and the log says so."""
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(10):
            assert await refused(broken(None, 0.01), "a text")
    assert "the guardrail [broken] on input of a model took longer" in caplog.text

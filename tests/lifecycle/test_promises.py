"""Interfaces, guardrails and limits of local models that run."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlcommons_py.errors import BadRequest, IllegalArgument, MLCommonsError
from mlcommons_py.models.documents import MODELS
from tests.lifecycle.conftest import House

AT_USER = "Request is throttled at user level. If you think there's an issue, please contact your cluster admin."
INTERFACE = {
    "input": {
        "properties": {
            "algorithm": {"const": "TEXT_EMBEDDING"},
            "text_docs": {"maxItems": 2, "items": {"type": "string"}},
            "return_number": {"const": True},
        },
        "required": ["text_docs"],
    },
    "output": {
        "properties": {
            "inference_results": {
                "items": {"properties": {"output": {"items": {"properties": {"data": {"minItems": 32}}}}}}
            }
        }
    },
}


@pytest.fixture
async def house(build: Callable[..., Any]) -> House:
    """A service."""
    made: House = await build()
    await made.app.reconciler.restore()
    return made


async def refusal(house: House, model_id: str, *texts: str | None, user: str | None = None) -> str | None:
    """Return why a predict is refused; None if it is answered."""
    try:
        answer = await house.app.services.predictor.predict(model_id, {"text_docs": list(texts)}, user=user)
    except MLCommonsError as fault:
        return fault.reason
    assert len(answer["inference_results"]) == len(texts)
    return None


async def test_local_model(house: House, tiny: bytes) -> None:
    """A model that runs here is held to its interface and its guardrails, also as they change while it runs."""
    guardrails = {"input_guardrail": {"regex": [".*bad.*"]}}
    model_id = await house.proven(tiny, interface=INTERFACE, guardrails=guardrails)
    await house.deploy(model_id)

    assert await refusal(house, model_id, "fine", "good") is None
    assert await refusal(house, model_id, "fine", "so bad") == "guardrails triggered for user input"
    too_many = await refusal(house, model_id, "a", "b", "c")
    assert too_many is not None
    assert too_many.startswith(
        "Error validating input schema, if you think this is expected, please update your 'input'"
    )
    assert too_many.endswith("Validation failed: [/text_docs: does not hold to [maxItems] of 2]")
    null = await refusal(house, model_id, "a", None)
    assert null is not None
    assert null.endswith("[/text_docs/1: null found, string expected]")

    models = house.app.services.models
    wrong = {"output": '{"properties": {"inference_results": {"maxItems": 0}}}'}
    await models.change(model_id, lambda read: replace(read, interface=wrong))
    output = await refusal(house, model_id, "fine")
    assert output is not None
    assert output.startswith(
        "Error validating output schema, if you think this is expected, please update your 'output'"
    )

    rules = {"output_guardrail": {"regex": [".*FLOAT32.*"]}}
    await models.change(model_id, lambda read: replace(read, interface=None, guardrails=rules))
    assert await refusal(house, model_id, "fine") == "guardrails triggered for LLM output"


@pytest.mark.parametrize(
    ("stored", "kind", "text"),
    [
        ({"guardrails": {"input_guardrail": {"regex": ["(?=a)"]}}}, IllegalArgument, "look-around is not supported"),
        ({"interface": {"input": '{"$ref": "http://127.0.0.1/x"}'}}, IllegalArgument, "nothing is fetched"),
        ({"interface": {"input": "false"}}, BadRequest, "nothing is allowed here"),
    ],
)
async def test_what_others_stored(
    house: House, tiny: bytes, stored: dict[str, Any], kind: type[MLCommonsError], text: str
) -> None:
    """What another service stored, and cannot be used, refuses every request."""
    model_id = await house.proven(tiny)
    await house.deploy(model_id)
    await house.app.store.update(MODELS, model_id, stored)
    with pytest.raises(kind, match=text):
        await house.app.services.predictor.predict(model_id, {"text_docs": ["x"]})


async def test_limits_over_services(join: Callable[..., Any], tiny: bytes) -> None:
    """Two services let half of a limit through each, and one hears within a second what the other was told."""
    first, second = await join(), await join()
    limit = {"limit": "4", "unit": "DAYS"}
    model_id = await first.proven(tiny, rate_limiter=limit)
    await first.deploy(model_id)
    both = sorted([first.node_id, second.node_id])
    for house in (first, second):

        async def known(house: House = house) -> bool:
            return house.app.services.nodes.running(model_id) == both

        await house.until(known)

    at_model = "Request is throttled at model level."
    for house in (first, second):
        assert [await refusal(house, model_id, "x") for _ in range(4)] == [None, None, at_model, at_model]

    free = {"limit": "1000000", "unit": "SECONDS"}
    await first.app.services.models.change(model_id, lambda read: replace(read, rate_limiter=free))
    ann = {"user_rate_limiter": {"ann": {"limit": "0", "unit": "DAYS"}}}
    assert await refusal(second, model_id, "x", user="ann") in (None, at_model)
    await first.app.services.controllers.create(model_id, ann)
    await hears(second, model_id, AT_USER)
    await first.app.services.controllers.update(model_id, {"user_rate_limiter": {"ann": free}})
    await hears(second, model_id, None)


async def hears(house: House, model_id: str, wanted: str | None) -> None:
    """Wait until a request of a user is refused so, or answered; a second and a half at most."""
    async with asyncio.timeout(1.5):
        while await refusal(house, model_id, "x", user="ann") != wanted:
            await asyncio.sleep(0.01)

"""Controllers through their routes."""

from typing import Any

import httpx
import pytest

from mlcommons_py.models.documents import MODELS
from mlcommons_py.rest.services import Services
from tests.rest.test_models import META, ML, reason, register

PATH = f"{ML}/controllers"
ANN = {"limit": "4", "unit": "MINUTES"}
NONE = "Failed to find model controller with the provided model ID"
NO_MODEL = "Failed to find model to create the corresponding model controller with the provided model ID"


@pytest.fixture(autouse=True)
async def open_to_uploads(client: httpx.AsyncClient) -> None:
    """Allow uploads and URLs."""
    names = ("allow_registering_model_via_local_file", "allow_registering_model_via_url")
    setting = {f"plugins.ml_commons.{name}": True for name in names}
    assert (await client.put("/_cluster/settings", json={"transient": setting})).status_code == 200


async def enabled(client: httpx.AsyncClient, model_id: str) -> Any:
    """Return what a model says of its controller."""
    return (await client.get(f"{ML}/models/{model_id}")).json().get("is_controller_enabled")


async def test_life(client: httpx.AsyncClient) -> None:
    """A controller is created, shown, replaced, merged into and deleted; its model says whether it has one."""
    model_id = await register(client)
    path = f"{PATH}/{model_id}"
    assert await enabled(client, model_id) is None

    made = await client.post(path, json={"user_rate_limiter": {"ann": {"limit": 4, "unit": "MINUTES"}, "bob": {}}})
    assert (made.status_code, made.json()) == (200, {"model_id": model_id, "status": "CREATED"})
    assert (await client.get(path)).json() == {"model_id": model_id, "user_rate_limiter": {"ann": ANN}}
    assert await enabled(client, model_id) is True

    cy = {"limit": "0.5", "unit": "SECONDS"}
    again = await client.post(path, json={"user_rate_limiter": {"cy": cy}})
    assert again.json() == {"model_id": model_id, "status": "UPDATED"}
    assert (await client.get(path)).json()["user_rate_limiter"] == {"cy": cy}

    merged = await client.put(path, json={"user_rate_limiter": {"ann": ANN, "cy": {"limit": 2}}})
    answer = merged.json()
    assert (answer["_id"], answer["_index"], answer["result"]) == (model_id, ".plugins-ml-controller", "updated")
    assert (await client.get(path)).json() == {
        "model_id": model_id,
        "user_rate_limiter": {"cy": {"limit": "2", "unit": "SECONDS"}, "ann": ANN},
    }

    deleted = await client.delete(path)
    assert (deleted.status_code, deleted.json()["result"]) == (200, "deleted")
    assert await enabled(client, model_id) is False
    assert (await client.get(path)).status_code == 404


async def test_goes_with_its_model(client: httpx.AsyncClient) -> None:
    """A model that is deleted takes its controller along."""
    model_id = await register(client)
    await client.post(f"{PATH}/{model_id}", json={"user_rate_limiter": {"ann": ANN}})
    assert (await client.delete(f"{ML}/models/{model_id}")).status_code == 200
    missing = await client.get(f"{PATH}/{model_id}")
    assert (missing.status_code, reason(missing)) == (404, NONE)


@pytest.mark.parametrize(
    ("method", "body", "status", "kind", "text"),
    [
        ("POST", {"user_rate_limiter": {}}, 404, "status_exception", NO_MODEL),
        ("PUT", {"user_rate_limiter": {}}, 404, "status_exception", NO_MODEL),
        ("GET", None, 404, "status_exception", NONE),
        ("DELETE", None, 404, "status_exception", "Failed to find model controller"),
        ("POST", None, 400, "parse_exception", "Create model controller request has empty body"),
        ("PUT", None, 400, "parse_exception", "Update model controller request has empty body"),
    ],
)
async def test_unknown_model(
    client: httpx.AsyncClient, method: str, body: Any, status: int, kind: str, text: str
) -> None:
    """Every verb says in ML Commons' words that there is no such model, or no body."""
    answer = await client.request(method, f"{PATH}/none", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["reason"]) == (status, kind, text)


async def test_update_before_create(client: httpx.AsyncClient) -> None:
    """A controller that is not there cannot be updated."""
    model_id = await register(client)
    answer = await client.put(f"{PATH}/{model_id}", json={"user_rate_limiter": {"ann": ANN}})
    assert answer.status_code == 409
    assert reason(answer) == (
        "Model controller haven't been created for the model. Consider calling create model controller api instead."
        f" Model ID: {model_id}"
    )


@pytest.mark.parametrize(
    ("limiters", "status", "text"),
    [
        ({"ann": {"limit": -1, "unit": "DAYS"}}, 400, "Limit field must be a positive number."),
        ({"ann": {"limit": 1, "unit": "days"}}, 400, "No enum constant java.util.concurrent.TimeUnit.days"),
        (
            {"ann": {"limit": 1}},
            400,
            "[user_rate_limiter.ann.unit] is missing; a limit has [limit] and [unit], such as 4 and MINUTES",
        ),
        ({"ann": 3}, 400, "[user_rate_limiter.ann] must be an object with [limit] and [unit]"),
        ([], 400, "[user_rate_limiter] must be an object, not list"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_wrong_limits(client: httpx.AsyncClient, method: str, limiters: Any, status: int, text: str) -> None:
    """A limit that is none is refused, and nothing of the body is stored."""
    model_id = await register(client)
    path = f"{PATH}/{model_id}"
    await client.post(path, json={"user_rate_limiter": {"bob": ANN}})
    answer = await client.request(method, path, json={"user_rate_limiter": limiters})
    assert (answer.status_code, reason(answer)) == (status, text)
    assert (await client.get(path)).json()["user_rate_limiter"] == {"bob": ANN}


async def test_other_functions(client: httpx.AsyncClient, services: Services) -> None:
    """Models of other functions take no controller."""
    await services.models._store.put(MODELS, "s", {"name": "s", "algorithm": "SPARSE_ENCODING"})
    answer = await client.post(f"{PATH}/s", json={"user_rate_limiter": {}})
    assert (answer.status_code, reason(answer)) == (
        403,
        "Creating model controller on this operation on the function category SPARSE_ENCODING is not supported.",
    )


async def test_while_deploying(client: httpx.AsyncClient, services: Services) -> None:
    """No controller is created while its model is being deployed."""
    model_id = await register(client)
    document = await services.models.document(model_id)
    assert document is not None
    await services.models._store.put(MODELS, model_id, {**document.source, "model_state": "DEPLOYING"})
    answer = await client.post(f"{PATH}/{model_id}", json={"user_rate_limiter": {}})
    assert answer.status_code == 409
    assert reason(answer).startswith(
        "Creating a model controller during its corresponding model in DEPLOYING state is not allowed, please either"
    )


async def test_switched_off(client: httpx.AsyncClient) -> None:
    """With the feature off every verb names the setting."""
    off = {"plugins.ml_commons.controller_enabled": False}
    await client.put("/_cluster/settings", json={"transient": off})
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = await client.request(method, f"{PATH}/x", json={} if method in ("POST", "PUT") else None)
        assert answer.json() == {
            "error": {
                "root_cause": [answer.json()["error"]["root_cause"][0]],
                "type": "illegal_state_exception",
                "reason": (
                    'Controller is currently disabled. To enable it, update the setting "plugins.ml_commons.'
                    'controller_enabled" to true.'
                ),
            },
            "status": 400,
        }


async def test_as_ml_commons_stores_it(client: httpx.AsyncClient, services: Services) -> None:
    """A controller that ML Commons stored is read, merged into and shown, and stored in the same form."""
    model_id = await register(client)
    stored = {"model_id": model_id, "user_rate_limiter": {"ann": {"limit": "4.0", "unit": "MINUTES"}}}
    store = services.models._store
    await store.put(".plugins-ml-controller", model_id, stored)
    assert (await client.get(f"{PATH}/{model_id}")).json() == stored
    await client.put(f"{PATH}/{model_id}", json={"user_rate_limiter": {"bob": ANN}})
    document = await store.get(".plugins-ml-controller", model_id)
    assert document is not None
    assert document.source == {
        "model_id": model_id,
        "user_rate_limiter": {"ann": {"limit": "4.0", "unit": "MINUTES"}, "bob": ANN},
    }


GUARDED: list[tuple[dict[str, Any], str]] = [
    (
        {"guardrails": {"type": "x"}},
        "The type of guardrails is required, can not be null. [guardrails.type] is to be one of local_regex, model.",
    ),
    ({"guardrails": {"input_guardrail": {"regex": ["(?=a)"]}}}, "look-around is not supported"),
    ({"guardrails": {"input_guardrail": {"packs": ["none"]}}}, "there is no [none] among the guardrails"),
    ({"interface": {"input": {"type": "x"}}}, "[interface.input] is no JSON schema"),
    ({"interface": {"output": {"$ref": "http://x/y"}}}, "nothing is fetched"),
    ({"deploy_setting": {"model_ttl_minutes": 0}}, "[model_ttl_minutes] must be at least 1, or -1"),
    ({"deploy_setting": {"model_ttl_minutes": "x"}}, "[model_ttl_minutes] must be a whole number"),
    ({"deploy_setting": {"ttl": 3}}, "[deploy_setting] has the unknown field [ttl]; there are is_auto_deploy_enabled,"),
    ({"deploy_setting": {"is_auto_deploy_enabled": 3}}, "[is_auto_deploy_enabled] must be true or false"),
]


@pytest.mark.parametrize(("fields", "text"), GUARDED)
async def test_vetted(client: httpx.AsyncClient, fields: dict[str, Any], text: str) -> None:
    """What could not be used later is refused when a model is registered, and when it is changed."""
    at_first = await client.post(f"{ML}/models/_register_meta", json={**META, **fields})
    model_id = await register(client)
    later = await client.put(f"{ML}/models/{model_id}", json=fields)
    by_url = await client.post(f"{ML}/models/_register", json={**META, "url": "http://127.0.0.1:9/x.zip", **fields})
    for answer in (at_first, later, by_url):
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "illegal_argument_exception")
        assert text in reason(answer)
    assert set(fields).isdisjoint((await client.get(f"{ML}/models/{model_id}")).json())


async def test_vetted_together(client: httpx.AsyncClient) -> None:
    """A change of guardrails is looked at together with what stays of them."""
    rules = {"type": "local_regex", "output_guardrail": {"regex": ["x"]}}
    model_id = await register(client, guardrails=rules)
    judge = {"model_id": "other", "response_validation_regex": "x"}
    path = f"{ML}/models/{model_id}"
    half = await client.put(path, json={"guardrails": {"type": "model", "input_guardrail": judge}})
    assert (half.status_code, "unknown field [regex]" in reason(half)) == (400, True)
    whole = {"type": "model", "input_guardrail": judge, "output_guardrail": None}
    assert (await client.put(path, json={"guardrails": whole})).status_code == 200
    itself = {"type": "model", "input_guardrail": {**judge, "model_id": model_id}}
    assert reason(await client.put(path, json={"guardrails": itself})) == (
        "[guardrails.input_guardrail.model_id] is the model itself; a model cannot judge itself"
    )

"""Models and groups through their routes, as far as no model has to run."""

import hashlib
from typing import Any

import httpx
import pytest

from mlcommons_py.identifiers import MAX_DESCRIPTION, MAX_NAME
from mlcommons_py.models.config import MAX_PREFIX

ML = "/_plugins/_ml"
CONFIG = {"model_type": "bert", "embedding_dimension": 32, "framework_type": "sentence_transformers"}
META = {
    "name": "tiny",
    "model_format": "TORCH_SCRIPT",
    "model_content_hash_value": hashlib.sha256(b"content").hexdigest(),
    "model_content_size_in_bytes": 7,
    "total_chunks": 1,
    "model_config": CONFIG,
}


@pytest.fixture(autouse=True)
async def open_to_uploads(client: httpx.AsyncClient) -> None:
    """Allow uploads."""
    setting = {"plugins.ml_commons.allow_registering_model_via_local_file": True}
    assert (await client.put("/_cluster/settings", json={"transient": setting})).status_code == 200


async def register(client: httpx.AsyncClient, **fields: Any) -> str:
    """Register a model's meta document and return the model's id."""
    answer = await client.post(f"{ML}/models/_register_meta", json={**META, **fields})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model_id"])


def reason(answer: httpx.Response) -> str:
    """Return the reason of an error."""
    return str(answer.json()["error"]["reason"])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "this version has no pretrained models: fetch the model"),
        ({"url": "file:///m.zip"}, "model config is null"),
        ({"name": "mine"}, "model config is null"),
        ({"model_config": {}}, "model type is null"),
        ({"name": None}, "model name is null"),
    ],
)
async def test_pretrained_models(client: httpx.AsyncClient, fields: dict[str, Any], text: str) -> None:
    """A name of ML Commons' own models, and nothing else, is refused with what to do instead."""
    name = "huggingface/sentence-transformers/all-MiniLM-L6-v2"
    body = {"name": name, "version": "1.0.1", "model_format": "TORCH_SCRIPT", **fields}

    answer = await client.post(f"{ML}/models/_register", json=body)

    assert (answer.status_code, text in reason(answer)) == (400, True), answer.text


async def test_interface_is_stored_as_texts(client: httpx.AsyncClient) -> None:
    """Schemas come back as compact JSON texts, however they were given, and a change replaces one side alone."""
    schema = {"type": "object", "properties": {"text_docs": {"type": "array"}}}
    model_id = await register(client, interface={"input": schema, "output": '{"type": "object"}'})
    compact = '{"type":"object","properties":{"text_docs":{"type":"array"}}}'
    stored = (await client.get(f"{ML}/models/{model_id}")).json()["interface"]
    assert stored == {"input": compact, "output": '{"type": "object"}'}

    await client.put(f"{ML}/models/{model_id}", json={"interface": {"output": {"type": "array"}}})

    stored = (await client.get(f"{ML}/models/{model_id}")).json()["interface"]
    assert stored == {"input": compact, "output": '{"type":"array"}'}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"interface": {"inputs": {}}}, "[interface] has the unknown field [inputs]"),
        ({"interface": {"input": [1]}}, "[interface.input] must be a JSON schema"),
        ({"name": "x" * (MAX_NAME + 1)}, f"[name] has {MAX_NAME + 1} characters, {MAX_NAME} are allowed"),
        ({"description": "x" * (MAX_DESCRIPTION + 1)}, f"[description] has {MAX_DESCRIPTION + 1} characters"),
        (
            {"model_config": {**CONFIG, "query_prefix": "x" * (MAX_PREFIX + 1)}},
            f"[model_config.query_prefix] has {MAX_PREFIX + 1} characters",
        ),
        ({"model_config": {**CONFIG, "framework_type": None}}, "framework type is null"),
        ({"rate_limiter": {"limit": "1_0", "unit": "DAYS"}}, "Limit field must be a positive number."),
        ({"rate_limiter": {"limit": "1"}}, "[rate_limiter.unit] is missing; a limit has [limit] and [unit], such as 4"),
        ({"rate_limiter": {"unit": "DAYS"}}, "[rate_limiter.limit] is missing"),
        ({"guardrail": {}}, "unknown field [guardrail]; did you mean [guardrails]?"),
    ],
)
async def test_refused_fields(client: httpx.AsyncClient, fields: dict[str, Any], text: str) -> None:
    """A field that is wrong or too long is refused at the registration, with 400."""
    answer = await client.post(f"{ML}/models/_register_meta", json={**META, **fields})

    assert answer.status_code == 400
    assert text in reason(answer)


async def test_refused_changes(client: httpx.AsyncClient) -> None:
    """A field that no model has, and half a limit, are refused in an update; the other half may be there already."""
    model_id = await register(client)
    path = f"{ML}/models/{model_id}"
    for body, text in (
        ({"guardrail": {}}, "unknown field [guardrail]; did you mean [guardrails]?"),
        ({"rate_limiter": {"limit": 5}}, "[rate_limiter.unit] is missing"),
    ):
        answer = await client.put(path, json=body)
        assert answer.status_code == 400
        assert text in reason(answer)
    before = (await client.get(path)).json()
    assert "rate_limiter" not in before

    for fine in ({"rate_limiter": {"limit": 5, "unit": "DAYS"}}, {"rate_limiter": {"limit": 6}}, before):
        assert (await client.put(path, json=fine)).status_code == 200

    assert (await client.get(path)).json()["rate_limiter"] == {"limit": "6", "unit": "DAYS"}


async def test_empty_objects_are_bodies(client: httpx.AsyncClient) -> None:
    """An empty object is a body without fields: what is missing is named."""
    model_id = await register(client)
    group_id = (await client.get(f"{ML}/models/{model_id}")).json()["model_group_id"]

    assert reason(await client.post(f"{ML}/models/_register_meta", json={})) == "model name is null"
    assert reason(await client.post(f"{ML}/models/_register_meta")) == "Model meta request has empty body"
    assert reason(await client.post(f"{ML}/models/{model_id}/_predict", json={})) == "Empty text docs"
    assert reason(await client.post(f"{ML}/models/{model_id}/_predict")) == "request body is required"
    assert (await client.put(f"{ML}/model_groups/{group_id}", json={})).json() == {"status": "Updated"}
    assert (await client.put(f"{ML}/models/{model_id}", json={})).json()["result"] == "updated"
    assert reason(await client.put(f"{ML}/models/{model_id}")) == "Update model request has empty body"


async def test_null_in_a_config_is_not_there(client: httpx.AsyncClient) -> None:
    """A null among the fields of model_config is as good as none, at a registration and at a change."""
    model_id = await register(client, model_config={**CONFIG, "query_prefix": None, "pooling_mode": "cls"})
    expected = {**CONFIG, "framework_type": "SENTENCE_TRANSFORMERS", "pooling_mode": "CLS"}
    assert (await client.get(f"{ML}/models/{model_id}")).json()["model_config"] == expected

    await client.put(f"{ML}/models/{model_id}", json={"model_config": {"pooling_mode": None, "query_prefix": "q: "}})

    config = (await client.get(f"{ML}/models/{model_id}")).json()["model_config"]
    assert config == {**expected, "query_prefix": "q: "}


async def test_order_of_predict_checks(client: httpx.AsyncClient) -> None:
    """A body that is wrong is told before the model is disabled or throttled, and takes nothing of its rate."""
    limiter = {"limit": "1", "unit": "DAYS"}
    disabled = await register(client, is_enabled=False)
    limited = await register(client, rate_limiter=limiter)
    good = {"text_docs": ["rain"]}

    assert (await client.post(f"{ML}/models/{disabled}/_predict", json={"text_docs": []})).status_code == 400
    assert (await client.post(f"{ML}/models/{disabled}/_predict", json=good)).status_code == 403
    statuses = [
        (await client.post(f"{ML}/models/{limited}/_predict", json=body)).status_code for body in ({}, good, good)
    ]
    assert statuses == [400, 400, 429]
    off = {"transient": {"plugins.ml_commons.local_model.enabled": False}}
    await client.put("/_cluster/settings", json=off)
    refused = await client.post(f"{ML}/models/{disabled}/_predict", json=good)
    assert (refused.status_code, "Local Model is currently disabled" in reason(refused)) == (400, True)


async def test_group_that_chunks_were_uploaded_in(client: httpx.AsyncClient) -> None:
    """A group whose last model moved to another can be deleted, though its chunks were stored under it."""
    model_id = await register(client, total_chunks=2, model_content_size_in_bytes=7)
    before = (await client.get(f"{ML}/models/{model_id}")).json()["model_group_id"]
    uploaded = await client.post(f"{ML}/models/{model_id}/upload_chunk/0", content=b"con")
    other = (await client.post(f"{ML}/model_groups/_register", json={"name": "other"})).json()["model_group_id"]
    refused = await client.delete(f"{ML}/model_groups/{before}")

    moved = await client.put(f"{ML}/models/{model_id}", json={"model_group_id": other})

    assert (uploaded.status_code, refused.status_code, moved.status_code) == (200, 409, 200)
    assert (await client.delete(f"{ML}/model_groups/{before}")).json()["result"] == "deleted"


async def test_group_name_too_long(client: httpx.AsyncClient) -> None:
    """A name longer than a keyword may be is refused before anything looks at it."""
    answer = await client.post(f"{ML}/model_groups/_register", json={"name": "x" * (MAX_NAME + 1)})

    assert answer.status_code == 400
    assert reason(answer) == f"[name] has {MAX_NAME + 1} characters, {MAX_NAME} are allowed"

"""No way leads past what may be called: neither at the making of a connector nor at any kind of call."""

from typing import Any

import pytest

from tests.remote.fake import ANY, RESET, Answer
from tests.remote_models.conftest import Client

UNTRUSTED = "Connector URL is not matching the trusted connector endpoint regex"
PRIVATE = (
    "Remote inference host name has private ip address: 127.0.0.1. It may be called where the setting"
    " plugins.ml_commons.connector.private_ip_enabled is true, or the operator's private_endpoints has the host or the"
    " address."
)
ELSEWHERE = ["^https://api\\.openai\\.com/.*$"]
STREAM = {"messages": [], "_llm_interface": "openai/v1/chat/completions"}


def _with_jobs(client: Client, url: str | None = None) -> dict[str, Any]:
    """Return the body of a connector that can do everything; ``url`` is that of its batch jobs."""
    jobs = {"method": "POST", "url": url or client.fake.url + "/jobs", "request_body": "{}"}
    body = client.connector()
    types = ("batch_predict", "batch_predict_status", "cancel_batch_predict")
    return {**body, "actions": [*body["actions"], *({"action_type": one, **jobs} for one in types)]}


async def _refused(client: Client, method: str, path: str, body: Any, reason: str) -> None:
    answer = await client.ml(method, path, 400, json=body)
    assert (answer["error"]["reason"], answer["error"]["type"]) == (reason, "illegal_argument_exception")


async def test_an_untrusted_url_makes_no_connector(client: Client) -> None:
    """It is refused in a new connector, in a change, within a model, and in an action that is not the first."""
    connector_id = await client.connect()
    inline = await client.register(connector=client.connector())
    evil = "http://127.0.0.1.evil.example/v1"

    for body in (client.connector(url=evil), _with_jobs(client, evil)):
        await _refused(client, "POST", "/connectors/_create", body, UNTRUSTED)
        await _refused(client, "PUT", f"/connectors/{connector_id}", {"actions": body["actions"]}, UNTRUSTED)
        model = {"name": "m", "function_name": "remote", "connector": body}
        await _refused(client, "POST", "/models/_register", model, UNTRUSTED)
        await _refused(client, "PUT", f"/models/{inline}", {"connector": {"actions": body["actions"]}}, UNTRUSTED)
    assert client.fake.connections == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"trusted_connector_endpoints_regex": ELSEWHERE}, UNTRUSTED),
        ({"connector__private_ip_enabled": False}, PRIVATE),
    ],
)
async def test_trust_that_is_taken_back_holds_for_every_kind_of_call(
    client: Client, change: dict[str, Any], reason: str
) -> None:
    """Predicting, streaming, and starting, following and cancelling a job are refused from then on, inline or not."""
    client.fake.on(ANY, Answer(200, {"id": "j1", "status": "running"}))
    body = _with_jobs(client)
    connector_id = (await client.ml("POST", "/connectors/_create", json=body))["connector_id"]
    models = [await client.register(connector_id, deploy=True), await client.register(connector=body, deploy=True)]
    tasks = []
    for model_id in models:
        await client.predict(model_id, {"messages": []})
        job = await client.ml("POST", f"/models/{model_id}/_batch_predict", json={"parameters": {}})
        tasks.append(job["task_id"])
    before = len(client.fake.requests)

    await client.set(**change)

    for model_id, task_id in zip(models, tasks, strict=True):
        for path, parameters in (("_predict", {"messages": []}), ("_predict/stream", STREAM), ("_batch_predict", {})):
            await _refused(client, "POST", f"/models/{model_id}/{path}", {"parameters": parameters}, reason)
        await _refused(client, "POST", f"/tasks/{task_id}/_cancel", None, reason)
        followed = await client.http.get(f"/_plugins/_ml/tasks/{task_id}")
        assert followed.json()["remote_error"] == reason
    assert len(client.fake.requests) == before


async def test_a_provider_that_fails_is_left_alone(client: Client) -> None:
    """After ten faults in a row a model's calls are refused, and the metrics tell."""
    client.fake.on("/chat", RESET)
    model_id = await client.deployed()

    failed = [(await client.predict(model_id, {"messages": []}, 500))["error"] for _ in range(10)]
    refused = (await client.predict(model_id, {"messages": []}, 503))["error"]

    for one in failed:
        assert one["reason"].startswith("Error communicating with remote model: The connection was closed")
    assert refused["reason"].startswith(
        f"Calls of model {model_id} are suspended after 10 faults of its provider in a row"
    )
    assert len(client.fake.requests) == 10
    scraped = (await client.http.get("/metrics")).text
    assert f'mlcommons_provider_suspended{{model="{model_id}"}} 1.0' in scraped
    assert f'mlcommons_provider_call_seconds_count{{model="{model_id}",status="0"}} 10.0' in scraped

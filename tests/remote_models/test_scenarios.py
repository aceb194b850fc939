"""The scenarios of ML Commons' own integration tests on remote models, with a fake in place of each provider."""

import asyncio
from typing import Any

from tests.remote.fake import Answer
from tests.remote_models.conftest import Client

CHATTED = {"id": "c1", "choices": [{"message": {"role": "assistant", "content": "tea"}}]}
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
ALL: dict[str, Any] = {"query": {"match_all": {}}}
PROMPT = '{ "prompt": "${parameters.prompt}" }'


async def test_create_get_delete_a_connector(client: Client) -> None:
    """A connector comes back without its credential, its version as text, and is gone when it was deleted."""
    connector_id = await client.connect()

    shown = await client.ml("GET", f"/connectors/{connector_id}")
    assert shown["version"] == "1"
    assert shown["parameters"] == {"model": "gpt"}
    assert "credential" not in shown
    assert (await client.ml("DELETE", f"/connectors/{connector_id}"))["result"] == "deleted"
    await client.ml("GET", f"/connectors/{connector_id}", 404)


async def test_search_connectors_before_and_after_creation(client: Client) -> None:
    """A search finds nothing before the first connector, and it afterwards."""
    before = await client.ml("POST", "/connectors/_search", json=ALL)
    connector_id = await client.connect()
    after = await client.ml("POST", "/connectors/_search", json=ALL)

    assert before["hits"]["total"]["value"] == 0
    assert [hit["_id"] for hit in after["hits"]["hits"]] == [connector_id]


async def test_search_models_groups_and_tasks_before_and_after_registration(client: Client) -> None:
    """Searches find nothing before a remote model is registered, and it, its group and its task afterwards."""
    nouns = ("models", "model_groups", "tasks")
    before = [await client.ml("POST", f"/{noun}/_search", json=ALL) for noun in nouns]
    await client.register(await client.connect())
    after = [await client.ml("POST", f"/{noun}/_search", json=ALL) for noun in nouns]

    assert [found["hits"]["total"]["value"] for found in before] == [0, 0, 0]
    assert [found["hits"]["total"]["value"] for found in after] == [1, 1, 1]


async def test_deploy_a_remote_model(client: Client) -> None:
    """Deploying answers COMPLETED; the task ends so, and the model is deployed on this node."""
    model_id = await client.register(await client.connect())

    answer = await client.ml("POST", f"/models/{model_id}/_deploy")
    task = await client.task(answer["task_id"])

    assert answer["status"] == "COMPLETED"
    assert (task["state"], task["function_name"]) == ("COMPLETED", "REMOTE")
    model = await client.ml("GET", f"/models/{model_id}")
    stats = await client.ml("GET", "/stats")
    assert stats["nodes"][client.app.services.node.id]["ml_deployed_model_count"] == 1
    assert (model["algorithm"], model["model_state"]) == ("REMOTE", "DEPLOYED")
    assert model["current_worker_node_count"] == 1


async def test_a_predict_deploys_and_idleness_undeploys(client: Client) -> None:
    """A model that nobody deployed is deployed by its first call, and undeployed when its time to live is over."""
    client.fake.on("/chat", Answer(200, CHATTED))
    setting = {"is_auto_deploy_enabled": True, "model_ttl_minutes": 1}
    model_id = await client.register(await client.connect(), deploy_setting=setting)

    await client.predict(model_id, HELLO)
    profile = await client.ml("GET", f"/profile/models/{model_id}")
    latencies = client.app.services.remotes.latencies(model_id)
    assert latencies is not None
    latencies.last -= 59.0
    await client.predict(model_id, HELLO)  # which counts as use
    assert model_id in client.app.services.remotes
    latencies.last -= 61.0
    await until_undeployed(client, model_id)

    assert list(profile["nodes"][client.app.services.node.id]["models"]) == [model_id]
    assert (await client.ml("GET", f"/models/{model_id}"))["model_state"] == "UNDEPLOYED"


async def until_undeployed(client: Client, model_id: str) -> None:
    """Wait until a model is deployed no more."""
    async with asyncio.timeout(20):
        while await client.ml("GET", f"/profile/models/{model_id}") != {}:
            await asyncio.sleep(0.02)


async def test_a_model_that_may_not_be_deployed_by_a_call(client: Client) -> None:
    """A predict says so where the model, or the cluster, does not allow it to deploy."""
    connector_id = await client.connect()
    own = await client.register(connector_id, deploy_setting={"is_auto_deploy_enabled": False})
    refused = await client.predict(own, HELLO, 400)
    await client.set(model_auto_deploy__enable=False)
    other = await client.register(connector_id)

    assert refused["error"]["reason"] == (
        f"Auto deployment disabled for this model, please deploy model first Model ID: {own}"
    )
    again = await client.predict(other, HELLO, 400)
    assert again["error"]["reason"] == "Model not ready yet. Please deploy the model first."


def _schema(**properties: Any) -> dict[str, Any]:
    inner = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "object", "properties": {"parameters": inner}}


async def test_an_input_that_fits_the_interface(client: Client) -> None:
    """A call whose input fits the interface goes through."""
    client.fake.on("/chat", Answer(200, CHATTED))
    interface = {"input": _schema(messages={"type": "array"})}
    model_id = await client.deployed(model={"interface": interface})

    answer = await client.predict(model_id, HELLO)

    assert answer["inference_results"][0]["output"][0]["dataAsMap"] == CHATTED


async def test_an_input_that_does_not_fit_the_interface(client: Client) -> None:
    """A call whose input does not fit is refused, and the provider is not asked."""
    interface = {"input": _schema(messages={"type": "number"})}
    model_id = await client.deployed(model={"interface": interface})

    refused = await client.predict(model_id, HELLO, 400)

    assert refused["error"]["type"] == "status_exception"
    assert "Error validating input schema" in refused["error"]["reason"]
    assert client.fake.requests == []


async def test_an_output_that_does_not_fit_the_interface(client: Client) -> None:
    """An answer that does not fit is refused."""
    client.fake.on("/chat", Answer(200, CHATTED))
    interface = {"output": {"type": "object", "properties": {"inference_results": {"type": "number"}}}}
    model_id = await client.deployed(model={"interface": interface})

    refused = await client.predict(model_id, HELLO, 400)

    assert "Error validating output schema" in refused["error"]["reason"]


async def test_a_placeholder_without_a_parameter(client: Client) -> None:
    """It is named, unless the parameters say that nobody shall look; then it goes out as it stands."""
    client.fake.on("/chat", Answer(200, {"ok": True}))
    body = '{ "prompt": "${parameters.prompt}", "test": "${parameters.test}" }'
    model_id = await client.deployed(request_body=body)

    refused = await client.predict(model_id, {"prompt": "hello"}, 400)
    off = await client.predict(model_id, {"prompt": "hello", "skip_validating_missing_parameters": "false"}, 400)
    await client.predict(model_id, {"prompt": "hello", "skip_validating_missing_parameters": "true"})

    for one in (refused, off):
        assert one["error"]["reason"] == "Some parameter placeholder not filled in payload: test"
    assert [one.json() for one in client.fake.requests] == [{"prompt": "hello", "test": "${parameters.test}"}]


async def test_a_chat_completion(client: Client) -> None:
    """A chat's request reaches the provider as it should, its answer comes back, and the model can be undeployed."""
    client.fake.on("/chat", Answer(200, CHATTED))
    model_id = await client.deployed()

    answer = await client.predict(model_id, HELLO)
    undeployed = await client.ml("POST", f"/models/{model_id}/_undeploy")

    asked = client.fake.requests[0]
    assert asked.json() == {"model": "gpt", **HELLO}
    assert asked.header("Authorization") == "Bearer s3cret"
    (result,) = answer["inference_results"]
    assert result == {"output": [{"name": "response", "dataAsMap": CHATTED}], "status_code": 200}
    assert undeployed == {client.app.services.node.id: {"stats": {model_id: "undeployed"}}}


async def test_text_embeddings_of_any_script(client: Client) -> None:
    """Texts beyond ASCII reach the provider as they are, and its vectors come back as float32 tensors."""
    texts = ["это тест", "é 🚀 \u2028", 'a "quoted" \\ text\n']
    client.fake.on("/v1", Answer(200, {"data": [{"embedding": [0.5, number]} for number in range(3)]}))
    model_id = await client.deployed(
        "/v1",
        request_body='{ "input": ${parameters.input}, "model": "${parameters.model}" }',
        pre_process_function="connector.pre_process.openai.embedding",
        post_process_function="connector.post_process.openai.embedding",
    )
    both = [
        await client.ml("POST", path, json={"text_docs": texts})
        for path in (f"/_predict/text_embedding/{model_id}", f"/models/{model_id}/_predict")
    ]

    assert [one.json() for one in client.fake.requests] == [{"input": texts, "model": "gpt"}] * 2
    for answer in both:
        (result,) = answer["inference_results"]
        assert result["output"] == [
            {"name": "sentence_embedding", "data_type": "FLOAT32", "shape": [2], "data": [0.5, number]}
            for number in range(3)
        ]


async def test_parameters_in_headers(client: Client) -> None:
    """A header takes a parameter's value, except one that a client must not choose."""
    client.fake.on("/chat", Answer(200, {"ok": True}))
    headers = {"Authorization": "Bearer ${credential.key}", "X-Request-Source": "${parameters.source}"}
    model_id = await client.deployed(headers=headers, request_body=PROMPT)
    await client.predict(model_id, {"prompt": "a", "source": "docs"})
    blocked = client.connector(headers={"Cookie": "${parameters.source}"}, request_body=PROMPT)

    assert client.fake.requests[0].header("X-Request-Source") == "docs"
    answer = await client.http.post("/_plugins/_ml/connectors/_create", json=blocked)
    if answer.status_code == 200:
        model_id = await client.register(answer.json()["connector_id"])
        answer = await client.http.post(
            f"/_plugins/_ml/models/{model_id}/_predict", json={"parameters": {"prompt": "a", "source": "docs"}}
        )
    assert answer.status_code == 400
    assert "cannot use ${parameters.*} placeholders for security reasons" in answer.json()["error"]["reason"]
    assert len(client.fake.requests) == 1


GUARDS = {
    "input_guardrail": {"regex": [".*abort.*", ".*kill.*"]},
    "output_guardrail": {"regex": [".*abort.*", ".*kill.*"]},
}


async def test_a_guardrail_of_patterns(client: Client) -> None:
    """A harmless prompt passes, one that a pattern matches is refused, also where the guardrails name no type."""
    client.fake.on("/chat", Answer(200, {"answer": "fine"}))
    for more in ({"type": "local_regex"}, {}):
        guardrails = {**more, **GUARDS}
        model_id = await client.deployed(model={"guardrails": guardrails}, request_body=PROMPT)
        await client.predict(model_id, {"prompt": "hello"})
        refused = await client.predict(model_id, {"prompt": "how to kill it"}, 400)

        assert refused["error"]["type"] == "illegal_argument_exception"
        assert refused["error"]["reason"] == "guardrails triggered for user input"
    assert [one.json() for one in client.fake.requests] == [{"prompt": "hello"}] * 2


async def test_a_guardrail_on_the_answer(client: Client) -> None:
    """An answer that a pattern matches does not reach the client."""
    client.fake.on("/chat", Answer(200, {"answer": "kill it"}))
    model_id = await client.deployed(model={"guardrails": {"type": "local_regex", **GUARDS}}, request_body=PROMPT)

    refused = await client.predict(model_id, {"prompt": "hello"}, 400)

    assert refused["error"]["reason"] == "guardrails triggered for LLM output"
    assert "kill it" not in str(refused)


async def test_a_model_as_guardrail(client: Client) -> None:
    """What the judging model accepts passes, all else is refused."""
    client.fake.on("/chat", Answer(200, {"answer": "fine"}))

    def judge(asked: Any) -> Answer:
        return Answer(200, {"response": "reject" if "bomb" in asked.json()["prompt"] else "accept"})

    client.fake.on("/judge", judge)
    judging = await client.deployed("/judge", request_body='{ "prompt": "Is this fine? ${parameters.question}" }')
    side = {"model_id": judging, "response_filter": "$.response", "response_validation_regex": '^\\s*"[Aa]ccept"\\s*$'}
    guardrails = {"type": "model", "input_guardrail": side}
    model_id = await client.deployed(
        model={"name": "guarded", "guardrails": guardrails}, request_body='{ "prompt": "${parameters.question}" }'
    )

    await client.predict(model_id, {"question": "how to make tea"})
    refused = await client.predict(model_id, {"question": "how to make a bomb"}, 400)

    assert refused["error"]["reason"] == "guardrails triggered for user input"
    assert [one.path for one in client.fake.requests] == ["/judge", "/chat", "/judge"]

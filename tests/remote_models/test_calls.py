"""Calls of remote models: many at once, changed under way, refused and failed."""

import asyncio
from typing import Any

from mlcommons_py import content
from mlcommons_py.remote.chosen_action import ChosenAction
from mlcommons_py.remote.documents import CONNECTORS
from mlcommons_py.remote.functions import Functions
from tests.remote.fake import SILENT, Answer, Asked, Fake, events
from tests.remote.test_identity import PEM, strictly
from tests.remote_models.conftest import Client

PROMPT = '{ "prompt": "${parameters.prompt}" }'
ONE_BY_ONE: dict[str, Any] = {
    "request_body": '{ "inputText": "${parameters.inputText}" }',
    "pre_process_function": "connector.pre_process.bedrock.embedding",
    "post_process_function": "connector.post_process.bedrock.embedding",
}


async def test_texts_sent_one_by_one_keep_their_order(client: Client) -> None:
    """Each text is a request of its own and an entry of its own, whichever is answered first."""
    texts = [f"text {number}" for number in range(6)]

    def vector(asked: Asked) -> Answer:
        number = int(asked.json()["inputText"].split()[1])
        return Answer(200, {"embedding": [float(number)]}, delay=0.05 * (number % 3 == 0))

    client.fake.on("/chat", vector)
    model_id = await client.deployed(**ONE_BY_ONE)

    answer = await client.ml("POST", f"/models/{model_id}/_predict", json={"text_docs": texts})

    assert [one["output"][0]["data"] for one in answer["inference_results"]] == [[float(n)] for n in range(6)]


async def test_one_failure_ends_the_other_calls(client: Client) -> None:
    """The first text that fails fails the request, and the calls for its neighbours are hung up on."""

    def answer(asked: Asked) -> Answer:
        return Answer(400, {"error": "no"}) if asked.json()["inputText"] == "bad" else SILENT

    client.fake.on("/chat", answer)
    model_id = await client.deployed(**ONE_BY_ONE)

    refused = await client.ml("POST", f"/models/{model_id}/_predict", 400, json={"text_docs": ["a", "bad", "b"]})
    await client.fake.idle(1)

    assert refused["error"]["reason"] == 'Error from remote service: {"error": "no"}'


async def test_a_changed_connector_holds_within_a_second(client: Client) -> None:
    """A model that is not deployed can get another credential; the calls after a second have it."""
    client.fake.on("/chat", Answer(200, {"ok": True}))
    connector_id = await client.connect(request_body=PROMPT)
    model_id = await client.register(connector_id)
    await client.predict(model_id, {"prompt": "a"})
    in_use = await client.ml("PUT", f"/connectors/{connector_id}", 400, json={"credential": {"key": "other"}})
    await client.ml("POST", f"/models/{model_id}/_undeploy")
    await client.ml("PUT", f"/connectors/{connector_id}", json={"credential": {"key": "other"}})
    await client.predict(model_id, {"prompt": "a"})

    assert model_id in in_use["error"]["reason"]
    assert [one.header("Authorization") for one in client.fake.requests] == ["Bearer s3cret", "Bearer other"]


async def test_changes_of_a_deployed_model_hold_within_a_second(client: Client) -> None:
    """is_enabled, rate_limiter, guardrails and interface of a deployed model hold at once."""
    client.fake.on("/chat", Answer(200, {"ok": True}))
    model_id = await client.deployed(request_body=PROMPT)
    ask = {"prompt": "kill"}
    await client.predict(model_id, ask)
    path = f"/models/{model_id}"

    guardrails = {"type": "local_regex", "input_guardrail": {"regex": [".*kill.*"]}}
    await client.ml("PUT", path, json={"guardrails": guardrails})
    guarded = await client.predict(model_id, ask, 400)
    interface = {"input": {"type": "object", "properties": {"parameters": {"required": ["other"]}}}}
    await client.ml("PUT", path, json={"interface": interface})
    unfit = await client.predict(model_id, ask, 400)
    await client.ml("PUT", path, json={"is_enabled": False})
    disabled = await client.predict(model_id, ask, 403)
    await client.ml("PUT", path, json={"is_enabled": True, "interface": {"input": {}}})
    await client.ml("PUT", path, json={"rate_limiter": {"limit": "0", "unit": "DAYS"}})
    limited = await client.predict(model_id, {"prompt": "fine"}, 429)

    assert guarded["error"]["reason"] == "guardrails triggered for user input"
    assert "Error validating input schema" in unfit["error"]["reason"]
    assert disabled["error"]["reason"] == "Model is disabled."
    assert limited["error"]["reason"] == "Request is throttled at model level."


async def test_a_limit_says_when_to_try_again(client: Client) -> None:
    """Who is over a rate limit is told in ``Retry-After`` when the next request may pass."""
    client.fake.on("/chat", Answer(200, {"ok": True}))
    limiter = {"limit": "1", "unit": "MINUTES"}
    model_id = await client.deployed(request_body=PROMPT, model={"rate_limiter": limiter})
    await client.predict(model_id, {"prompt": "one"})

    answer = await client.http.post(f"/_plugins/_ml/models/{model_id}/_predict", json={"parameters": {"prompt": "two"}})

    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "status_exception")
    assert 55 <= int(answer.headers["Retry-After"]) <= 60


async def test_the_providers_overload_is_told_from_ours(client: Client) -> None:
    """A 429 of the provider has its status and its request's id beside the reason; one of ours has not."""
    busy = Answer(429, {"error": "slow down"}, headers={"Retry-After": "7", "x-request-id": "r1"})
    client.fake.on("/chat", busy)
    model_id = await client.deployed(request_body=PROMPT)

    answer = await client.http.post(f"/_plugins/_ml/models/{model_id}/_predict", json={"parameters": {"prompt": "a"}})

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    error = answer.json()["error"]
    assert error["reason"] == 'Error from remote service: {"error": "slow down"}'
    assert (error["remote"]["status"], error["remote"]["request_id"]) == (429, "r1")


async def test_who_goes_away_ends_the_call(client: Client) -> None:
    """A call that nobody waits for any more is hung up on."""
    client.fake.on("/chat", SILENT)
    model_id = await client.deployed(request_body=PROMPT)
    calling = asyncio.create_task(client.app.services.predictor.predict(model_id, {"parameters": {"prompt": "a"}}))
    await client.fake.asked(1)

    calling.cancel()
    await client.fake.idle()

    assert client.fake.open == 0


async def test_a_model_with_a_connector_of_its_own(client: Client) -> None:
    """It is called as any other, its credential shows nowhere, and a PUT changes the connector."""
    client.fake.on("/chat", Answer(200, {"ok": True}))
    model_id = await client.register(connector=client.connector(request_body=PROMPT))
    await client.predict(model_id, {"prompt": "a"})
    await client.ml("POST", f"/models/{model_id}/_undeploy")
    await client.ml("PUT", f"/models/{model_id}", json={"connector": {"credential": {"key": "new"}}})
    await client.predict(model_id, {"prompt": "b"})
    model = await client.ml("GET", f"/models/{model_id}")
    found = await client.ml("POST", "/models/_search", json={"query": {"match_all": {}}})

    assert [one.header("Authorization") for one in client.fake.requests] == ["Bearer s3cret", "Bearer new"]
    assert "credential" not in model["connector"]
    assert "credential" not in found["hits"]["hits"][0]["_source"]["connector"]
    assert model["connector"]["name"] == "a connector"


async def test_what_calls_of_an_own_connector_have_in_common(client: Client) -> None:
    """What is worked out of a model's own connector and its credential is kept for as long as they stay as they are."""
    model_id = await client.register(connector=client.connector())
    models, functions, chosen = client.app.services.models, Functions(content.providers()), list[ChosenAction]()
    for _ in range(2):
        connector, credential = await client.app.admission.connection(model_id, await models.called(model_id))
        chosen.append(ChosenAction.of(connector, "predict", credential, functions))
        await models.change(model_id, lambda _: None)  # what was read a moment ago counts no more

    assert chosen[0] is chosen[1]


async def test_what_a_registration_must_have(client: Client) -> None:
    """A remote model needs one connector, which is there, and a group that is there."""
    connector_id = await client.connect()
    body = {"name": "a remote model", "function_name": "remote"}

    async def refused(status: int, **fields: object) -> str:
        answer = await client.ml("POST", "/models/_register", status, json={**body, **fields})
        return str(answer["error"]["reason"])

    assert await refused(400) == (
        "You must provide connector content when creating a remote model without connector id!"
    )
    assert await refused(404, connector_id="nowhere") == "Failed to find connector:nowhere"
    assert await refused(404, connector_id=connector_id, model_group_id="g") == "Model Group Response is empty for g"
    inline = client.connector()
    inline["actions"] = [{**inline["actions"][0], "action_type": "execute"}]
    assert await refused(400, connector=inline) == (
        "Connector endpoint is required when creating a remote model without connector id!"
    )
    config = {"model_type": "text_embedding", "embedding_dimension": 4, "framework_type": "sentence_transformers"}
    assert await refused(400, connector_id=connector_id, model_config=config) == (
        "Space type must be provided in additional_config for remote text embedding model"
    )
    await client.set(remote_inference__enabled=False)
    assert "Remote Inference is currently disabled" in await refused(400, connector_id=connector_id)


async def test_numbers_keep_their_digits_whatever_looks_at_them(client: Client) -> None:
    """An answer that is passed on is the provider's to the digit, also where an interface and a guardrail read it."""
    client.fake.on("/chat", Answer(200, '{"a": 1.10, "b": 9007199254740993, "c": 1e400, "d": [0.1]}'))
    guardrails = {"type": "local_regex", "output_guardrail": {"regex": [".*kill.*"]}}
    interface = {"output": {"type": "object", "properties": {"inference_results": {"type": "array"}}}}
    model_id = await client.deployed(model={"guardrails": guardrails, "interface": interface}, request_body=PROMPT)

    answer = await client.http.post(f"/_plugins/_ml/models/{model_id}/_predict", json={"parameters": {"prompt": "a"}})

    assert '{"a":1.10,"b":9007199254740993,"c":1e400,"d":[0.1]}' in answer.text.replace("1E+400", "1e400")


async def test_a_crowd_of_texts_leaves_the_service_alive(client: Client) -> None:
    """While thousands of texts become requests, others are answered; more than the service takes at once is refused."""
    client.fake.on("/chat", Answer(200, {"embedding": [0.5]}))
    model_id = await client.deployed(**ONE_BY_ONE)
    path = f"/_plugins/_ml/models/{model_id}/_predict"
    too_many = await client.http.post(path, json={"text_docs": ["a"] * 4097})
    big = asyncio.create_task(client.http.post(path, json={"text_docs": ["a"] * 1500}))
    await client.fake.asked(1)
    longest = 0.0
    while not big.done():
        began = asyncio.get_running_loop().time()
        await client.ml("GET", f"/models/{model_id}")
        longest = max(longest, asyncio.get_running_loop().time() - began)

    assert too_many.status_code == 400
    assert "4096 are taken at once" in too_many.json()["error"]["reason"]
    assert (await big).status_code == 200
    assert len(client.fake.requests) == 1500
    assert client.fake.connections <= 30
    assert longest < 2.0


async def test_a_first_call_of_many_models_at_once(client: Client) -> None:
    """However many remote models are deployed by their first calls at the same time, all of them are."""
    client.fake.on("/chat", Answer(200, {"ok": True}))
    connector_id = await client.connect(request_body=PROMPT)
    ids = [await client.register(connector_id, name=f"model {number}") for number in range(25)]

    answers = await asyncio.gather(*(client.predict(model_id, {"prompt": "a"}) for model_id in ids))

    assert len(answers) == 25


async def test_a_model_that_cannot_be_deployed_is_not_tried_at_every_call(client: Client) -> None:
    """A crowd of calls of a model without its connector makes one task, and each is told the reason."""
    connector_id = await client.connect(request_body=PROMPT)
    model_id = await client.register(connector_id)
    await client.app.store.delete(CONNECTORS, connector_id)
    path = f"/_plugins/_ml/models/{model_id}/_deploy"
    async with asyncio.timeout(30):  # what was read of a connector holds for a second
        while (await client.http.post(path)).status_code == 200 and model_id in client.app.services.remotes:
            await client.ml("POST", f"/models/{model_id}/_undeploy")
    before = await client.ml("POST", "/tasks/_search", json={"query": {"term": {"task_type": "DEPLOY_MODEL"}}})
    refused = [await client.predict(model_id, {"prompt": "a"}, 503) for _ in range(10)]
    tasks = await client.ml("POST", "/tasks/_search", json={"query": {"term": {"task_type": "DEPLOY_MODEL"}}})

    assert all("Failed to find connector" in one["error"]["reason"] for one in refused)
    assert tasks["hits"]["total"]["value"] - before["hits"]["total"]["value"] <= 2


async def test_odd_statuses_of_a_provider(client: Client) -> None:
    """A status that an answer with a body cannot have comes out as 502, with the provider's beside the reason."""
    statuses = (304, 600, 999)
    client.fake.on("/chat", *(Answer(status) for status in statuses))
    model_id = await client.deployed(request_body=PROMPT)

    for status in statuses:
        answer = await client.predict(model_id, {"prompt": "a"}, 502)
        assert answer["error"]["remote"]["status"] == status


async def test_a_guardrail_and_an_interface_can_be_taken_away(client: Client) -> None:
    """Null, or an object without anything, removes them, and calls go through again."""
    client.fake.on("/chat", Answer(200, {"ok": True}))
    guardrails = {"type": "local_regex", "input_guardrail": {"regex": [".*kill.*"]}}
    interface = {"input": {"type": "object", "properties": {"parameters": {"required": ["other"]}}}}
    rules: dict[str, Any] = {"guardrails": guardrails, "interface": interface}
    model_id = await client.deployed(request_body=PROMPT, model=rules)
    ask = {"prompt": "kill"}
    await client.predict(model_id, ask, 400)
    await client.ml("PUT", f"/models/{model_id}", json={"interface": None})
    guarded = await client.predict(model_id, ask, 400)
    await client.ml("PUT", f"/models/{model_id}", json={"guardrails": {}})
    await client.predict(model_id, ask)
    model = await client.ml("GET", f"/models/{model_id}")

    assert guarded["error"]["reason"] == "guardrails triggered for user input"
    assert model.keys().isdisjoint(rules)


async def test_the_function_may_stand_in_the_query(client: Client) -> None:
    """A predict says by ``algorithm`` what kind of input it sends, in its path or in its query."""
    client.fake.on("/chat", Answer(200, {"embedding": [0.5]}))
    model_id = await client.deployed(**ONE_BY_ONE)

    answer = await client.ml("POST", f"/models/{model_id}/_predict?algorithm=text_embedding", json={"text_docs": ["a"]})
    unknown = await client.ml("POST", f"/models/{model_id}/_predict?algorithm=dance", 400, json={"text_docs": ["a"]})

    assert answer["inference_results"][0]["output"][0]["data"] == [0.5]
    assert unknown["error"]["reason"] == "Wrong function name"


async def test_a_provider_that_wants_a_certificate(client: Client) -> None:
    """A connector with a certificate shows it, in calls and in streams, and no other way leads to the provider."""
    await client.set(trusted_connector_endpoints_regex=["^https://127\\.0\\.0\\.1:.*$"])
    stream = {"prompt": "x", "_llm_interface": "openai/v1/chat/completions"}
    async with Fake(tls=strictly()) as strict:
        strict.on("/chat", lambda asked: events("[DONE]") if b"stream" in asked.body else Answer(200, {"ok": True}))
        to_it: dict[str, Any] = {"url": f"{strict.url}/chat", "request_body": PROMPT, "headers": {}, "credential": PEM}
        model_id = await client.deployed(**to_it, client_config={"mutual_tls_enabled": True})
        without = await client.deployed(**to_it, model={"name": "without"})

        answered = await client.predict(model_id, {"prompt": "x"})
        streamed = await client.http.post(
            f"/_plugins/_ml/models/{model_id}/_predict/stream", json={"parameters": stream}
        )
        refused = await client.predict(without, {"prompt": "x"}, 500)

    assert answered["inference_results"][0]["output"][0]["dataAsMap"] == {"ok": True}
    assert (streamed.status_code, len(strict.requests)) == (200, 2)
    assert "cannot be trusted" in refused["error"]["reason"]

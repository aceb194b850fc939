"""A model whose provider failed too often is called again when somebody has mended it, and not only after a pause."""

from dataclasses import replace
from typing import Any

from mlcommons_py.remote.breaker import FAULTS
from tests.remote.fake import Answer
from tests.remote_models.conftest import Client

ASK: dict[str, Any] = {"messages": []}


async def suspended(client: Client, model_id: str) -> None:
    """Call a model until its calls are refused."""
    client.fake.on("/broken", Answer(500, {"error": "x"}))
    for _ in range(FAULTS):
        await client.predict(model_id, ASK, 500)
    refused = await client.predict(model_id, ASK, 503)
    assert "are suspended" in refused["error"]["reason"]
    client.fake.on("/broken", Answer(200, {"well": 1}))


async def test_deploying_again(client: Client) -> None:
    """Who undeploys a model, mends its connector and deploys it, need not wait."""
    connector_id = await client.connect("/broken")
    model_id = await client.register(connector_id, deploy=True)
    await suspended(client, model_id)

    await client.ml("POST", f"/models/{model_id}/_undeploy")
    await client.ml("PUT", f"/connectors/{connector_id}", json={"parameters": {"model": "another"}})
    await client.ml("POST", f"/models/{model_id}/_deploy")

    await client.predict(model_id, ASK)
    assert "mlcommons_provider_suspended{" not in client.app.services.metrics.render().decode()


async def test_another_connector(client: Client) -> None:
    """A model that gets another connector, or whose own is changed, is called at once, deployed as it is."""
    model_id = await client.register(await client.connect("/broken"), deploy=True)
    own = await client.register(connector=client.connector("/broken"), deploy=True)
    await suspended(client, model_id)
    await suspended(client, own)

    await client.ml("PUT", f"/models/{model_id}", json={"connector_id": await client.connect("/broken")})
    await client.ml("PUT", f"/models/{own}", json={"connector": {"parameters": {"model": "another"}}})

    await client.predict(model_id, ASK)
    await client.predict(own, ASK)


async def test_another_connector_by_another_node(client: Client) -> None:
    """A node that is not told of a change, only finds it in the model's document, calls again too."""
    own = await client.register(connector=client.connector("/broken"), deploy=True)
    await suspended(client, own)
    services = client.app.services
    assert services.transport.breaker.open() == [own]

    await services.models.change(own, lambda read: replace(read, connector={**(read.connector or {}), "version": "2"}))
    await services.keeper.reconcile()

    assert services.transport.breaker.open() == []
    await client.predict(own, ASK)


async def test_models_that_are_not_deployed(client: Client) -> None:
    """The same holds for a model that is not deployed, of which only batch jobs are asked."""
    job = {"action_type": "batch_predict", "method": "POST", "url": client.fake.url + "/broken", "request_body": "{}"}
    body = client.connector("/broken")
    body["actions"].append(job)
    connector_id = (await client.ml("POST", "/connectors/_create", json=body))["connector_id"]
    change = {"description": "mended"}

    for model_id, path, changed in (
        (await client.register(connector_id), f"/connectors/{connector_id}", change),
        (own := await client.register(connector=body), f"/models/{own}", {"connector": change}),
    ):
        start = f"/models/{model_id}/_batch_predict"
        client.fake.on("/broken", Answer(500, {"error": "x"}))
        for _ in range(FAULTS):
            await client.ml("POST", start, 500, json={"parameters": {}})
        await client.ml("POST", start, 503, json={"parameters": {}})
        client.fake.on("/broken", Answer(200, {"id": "job"}))

        await client.ml("PUT", path, json=changed)

        await client.ml("POST", start, json={"parameters": {}})


async def test_nothing_is_measured_of_models_that_are_gone(client: Client) -> None:
    """When a model is deleted its series go too."""
    client.fake.on("/chat", Answer(200, {"well": 1}))
    model_id = await client.deployed()
    await client.predict(model_id, ASK)
    assert f'model="{model_id}"' in client.app.services.metrics.render().decode()

    await client.ml("POST", f"/models/{model_id}/_undeploy")
    await client.ml("DELETE", f"/models/{model_id}")

    assert f'model="{model_id}"' not in client.app.services.metrics.render().decode()

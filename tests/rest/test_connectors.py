"""Connectors through their routes; and a secret that nobody ever sees again."""

import logging
import re
from typing import Any

import httpx
import pytest

from mlcommons_py.remote.documents import CONNECTORS
from mlcommons_py.wiring import App
from tests.remote.making import openai
from tests.store.test_concealed import PROBES

ML = "/_plugins/_ml"
CANARY = "the-canary-in-the-coal-mine"


@pytest.fixture
async def made(client: httpx.AsyncClient) -> str:
    """A connector."""
    answer = await client.post(f"{ML}/connectors/_create", json=openai())
    assert answer.status_code == 200, answer.text
    return str(answer.json()["connector_id"])


def error(answer: httpx.Response) -> tuple[int, str, str]:
    """Return an error's status, type and reason."""
    said = answer.json()["error"]
    return answer.status_code, said["type"], said["reason"]


async def test_create_get_delete(client: httpx.AsyncClient, made: str) -> None:
    """A connector is created, read, found, counted and deleted (scenarios 1 and 2)."""
    path = f"{ML}/connectors/{made}"
    shown = (await client.get(path)).json()
    assert (shown["name"], shown["version"], "credential" in shown) == ("OpenAI chat", "1", False)
    found = (await client.post(f"{ML}/connectors/_search", json={"query": {"match": {"name": "openai"}}})).json()
    assert found["hits"]["total"]["value"] == 1
    assert found["hits"]["hits"][0]["_source"] == shown
    stats = (await client.get(f"{ML}/stats/ml_connector_count")).json()
    assert stats["ml_connector_count"] == 1
    assert (await client.get(f"{ML}/stats/ml_connector_index_status")).json()["ml_connector_index_status"] == "green"

    deleted = (await client.delete(path)).json()

    assert (deleted["_id"], deleted["_index"], deleted["result"]) == (made, CONNECTORS, "deleted")
    assert (await client.delete(path)).json()["result"] == "not_found"
    assert error(await client.get(path)) == (
        404,
        "status_exception",
        f"Failed to find connector with the provided connector id: {made}",
    )
    assert (await client.get(f"{ML}/connectors/_search", params={"source": "{}"})).json()["hits"]["hits"] == []


async def test_update(client: httpx.AsyncClient, made: str) -> None:
    """An update answers as the index API does."""
    answer = await client.put(f"{ML}/connectors/{made}", json={"description": "changed", "parameters": {"n": 2}})

    assert answer.status_code == 200
    assert (answer.json()["result"], answer.json()["_version"]) == ("updated", 2)
    shown = (await client.get(f"{ML}/connectors/{made}")).json()
    assert (shown["description"], shown["parameters"]["n"], shown["parameters"]["model"]) == ("changed", "2", "gpt-4o")


async def test_errors(client: httpx.AsyncClient, made: str) -> None:
    """Empty bodies, untrusted URLs and taken ids have ML Commons' texts."""
    create, path = f"{ML}/connectors/_create", f"{ML}/connectors/{made}"
    evil = openai(parameters={"endpoint": "evil.example"})
    untrusted = "Connector URL is not matching the trusted connector endpoint regex"
    assert error(await client.post(create)) == (400, "parse_exception", "Create Connector request has empty body")
    assert error(await client.put(path)) == (
        400,
        "parse_exception",
        "Failed to update connector: Request body is empty",
    )
    assert error(await client.post(create, json=evil)) == (400, "illegal_argument_exception", untrusted)
    assert error(await client.put(path, json={"parameters": {"endpoint": "evil.example"}})) == (
        400,
        "illegal_argument_exception",
        untrusted,
    )
    assert error(await client.post(create, json=openai(connector_id=made))) == (
        409,
        "status_exception",
        f"connector id '{made}' already exists",
    )
    assert (await client.post(create, json=openai(dry_run=True))).json() == {"connector_id": "dryRunConnector"}


async def test_models_that_use_it(client: httpx.AsyncClient, service: App, made: str) -> None:
    """Models are found by the connector's very id, deployed or not."""
    for model_id, connector_id, state in (
        ("m1", made, "DEPLOYED"),
        ("m2", made, "REGISTERED"),
        ("m3", "x", "DEPLOYED"),
    ):
        document = {"name": model_id, "algorithm": "REMOTE", "connector_id": connector_id, "model_state": state}
        await service.store.put(".plugins-ml-model", model_id, document)
    path = f"{ML}/connectors/{made}"

    still = "models are still using this connector, please"
    assert error(await client.put(path, json={})) == (
        400,
        "status_exception",
        f"1 {still} undeploy the models first: [m1]",
    )
    status, _, reason = error(await client.delete(path))
    assert (status, reason.startswith(f"2 {still} delete or update the models first: [")) == (409, True)


async def _canaries(client: httpx.AsyncClient, service: App) -> str:
    """Make a connector, whose id is returned, and a model with its own."""
    made = (await client.post(f"{ML}/connectors/_create", json=openai())).json()["connector_id"]
    own = await service.services.connectors.own.made(openai(), "m")
    model = {"name": "m", "algorithm": "REMOTE", "connector": own, "model_state": "REGISTERED"}
    await service.store.put(".plugins-ml-model", "m", model)
    return str(made)


async def _unseen(service: App, made: str) -> set[str]:
    """Return all that must not be seen of them: the secret, how it is encrypted now, and the key."""
    connector, model, key = [
        await service.store.get(*place)
        for place in ((CONNECTORS, made), (".plugins-ml-model", "m"), (".plugins-ml-config", "master_key"))
    ]
    assert connector is not None
    assert model is not None
    assert key is not None
    ciphertexts = {connector.source["credential"]["openAI_key"], model.source["connector"]["credential"]["openAI_key"]}
    return {CANARY, key.source["master_key"], *ciphertexts}


async def test_a_canary(client: httpx.AsyncClient, service: App, caplog: pytest.LogCaptureFixture) -> None:
    """No answer and no log line at DEBUG has a secret, its ciphertext or the master key in it (test 17)."""
    caplog.set_level(logging.DEBUG)
    made = await _canaries(client, service)
    unseen = await _unseen(service, made)
    path, create = f"{ML}/connectors/{made}", f"{ML}/connectors/_create"
    secret = {"credential": {"openAI_key": CANARY}}
    wrong: list[dict[str, Any]] = [
        openai(name=None),
        openai(actions=[{}]),
        openai(protocol="x"),
        openai(credential={"k": {"x": CANARY}}),
        openai(credential=CANARY),
        openai(credential=[CANARY]),
        openai(parameters={"endpoint": "evil.example"}),
        openai(connector_id=made),
        {**openai(), "credentials": {"k": CANARY}},
    ]
    answers = [await client.post(create, json=body) for body in wrong]
    changes: list[dict[str, Any]] = [{}, {"actions": [{}]}, {"protocol": "x"}]
    answers += [await client.put(path, json={**secret, **body}) for body in changes]
    answers += [await client.put(f"{ML}/connectors/none", json=secret)]
    answers += [
        await client.post(
            create, content=f'{{"credential":{{"k":"{CANARY}"}},}}', headers={"content-type": "application/json"}
        )
    ]
    for noun in ("connectors", "models", "tasks", "model_groups"):
        answers += [
            await client.post(f"{ML}/{noun}/_search", json={"_source": fields, "size": 100})
            for fields in (True, ["*"], ["credential"], ["connector.credential.*", "connector*"], {"includes": ["*"]})
        ]
    everything = (
        f"{ML}/stats",
        f"{ML}/profile",
        f"{ML}/models/m",
        path,
        "/metrics",
        "/_cluster/settings",
        "/_health/ready",
    )
    answers += [await client.get(one) for one in everything]
    indices = (".plugins-ml-config", ".plugins-ml-connector", ".plugins-ml-model", ".plugins-ml-*", "*")
    for index in indices if service.services.gateway is None else ():  # a cluster's own security guards its indices
        answers += [await client.get(f"/{index}/{one}") for one in ("_search", "_doc/master_key", f"_doc/{made}")]
    answers += [await client.post(f"{ML}/models/m/_predict", json={"parameters": {}})]

    unseen |= await _unseen(service, made)
    assert len(unseen) == 5
    for answer in answers:
        assert not [one for one in unseen if one in answer.text], (str(answer.request.url), answer.text)
    assert all(answer.status_code == 400 for answer in answers[:7])
    assert not [one for one in unseen if one in caplog.text]
    assert "openAI_key" not in (await client.get(f"{ML}/models/m")).text.replace("credential.openAI_key", "")


def _in_models(body: Any) -> Any:
    """Return a probe for the credential of a model's own connector."""
    if isinstance(body, dict):
        return {_in_models(key): _in_models(value) for key, value in body.items()}
    if isinstance(body, list):
        return [_in_models(one) for one in body]
    return re.sub(r"(?<![\w.\\])(cr\\?ed|\\u0063red|c\*)", r"connector.\1", body) if isinstance(body, str) else body


@pytest.mark.parametrize("body", PROBES, ids=str)
async def test_probes(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """Searches for connectors and for models refuse what would tell a credential (test 17)."""
    for noun, asked in (("connectors", body), ("models", _in_models(body))):
        status, kind, _ = error(await client.post(f"{ML}/{noun}/_search", json=asked))
        assert (status, kind in ("illegal_argument_exception", "parsing_exception")) == (400, True)


async def test_a_crash_says_nothing(
    client: httpx.AsyncClient, service: App, made: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that nobody foresaw, in the midst of a create, shows neither body nor secret, in answer and log."""
    caplog.set_level(logging.DEBUG)

    whole = type(service.store)

    class Broken(whole):  # type: ignore[misc, valid-type]
        async def put(self, *arguments: Any, **options: Any) -> Any:
            """Fail as no store should."""
            raise KeyError(f"a bug in the store, with {len(arguments)} and {len(options)} arguments")

    service.store.__class__ = Broken

    answer = await client.post(f"{ML}/connectors/_create", json=openai())

    service.store.__class__ = whole
    assert answer.status_code == 500
    assert CANARY not in answer.text + caplog.text
    assert "a bug in the store" in caplog.text

"""Connectors and their credentials, of the service and of the real ML Commons, on one cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mlcommons_py.remote.ciphertext import OWNER, context_of
from mlcommons_py.remote.connectors import Connectors
from mlcommons_py.remote.documents import CONNECTORS, Connector
from mlcommons_py.remote.rotation import Rotation
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node
from tests.compat.peer import Peer
from tests.e2e.api import Api
from tests.e2e.service import Service
from tests.remote.fake import Answer, Fake
from tests.remote.making import Only, connectors, keys, openai

pytestmark = [pytest.mark.compat, pytest.mark.asyncio(loop_scope="module")]

MODELS = ".plugins-ml-model"


@dataclass(frozen=True)
class Both:
    """A cluster with ML Commons, and what a service does on it.

    Attributes:
        service: a service on the cluster.
        ours: connectors as a service has them that has just started.
        fake: the provider.
    """

    peer: Peer
    service: Service
    store: OpenSearchStore
    ours: Connectors
    fake: Fake

    def body(self, secret: str) -> dict[str, Any]:
        """Return a connector to the provider, which sends a secret."""
        return {
            "name": "to the provider",
            "description": "a test",
            "version": "1",
            "protocol": "http",
            "parameters": {"endpoint": self.fake.url, "n": 1.5, "list": ["a", 1]},
            "credential": {"key": secret, "other": "ünïcödé 🔑"},
            "actions": [
                {
                    "action_type": "predict",
                    "method": "POST",
                    "url": "${parameters.endpoint}/v1",
                    "headers": {"Authorization": "Bearer ${credential.key}"},
                    "request_body": '{"q":"${parameters.q}"}',
                }
            ],
            "client_config": {"read_timeout": 20},
        }

    async def ml(self, *arguments: Any, **options: Any) -> Any:
        """Send a request to ML Commons."""
        return await asyncio.to_thread(self.peer.ml, *arguments, **options)

    async def called(self, model_id: str, by: Api | None = None) -> str | None:
        """Have ML Commons, or the service, call a model; return the credential that the provider was shown."""
        api, count = by or self.peer, len(self.fake.requests)
        await asyncio.to_thread(api.deploy, model_id)
        question = {"parameters": {"q": "Ünï"}}
        answer = await asyncio.to_thread(api.ml, "POST", f"/models/{model_id}/_predict", json=question)
        assert answer["inference_results"][0]["output"] == [{"name": "response", "dataAsMap": {"answer": "yes"}}]
        (asked,) = self.fake.requests[count:]
        assert asked.json() == {"q": "Ünï"}
        return asked.header("Authorization")

    async def registered(self, by: Api | None = None, **fields: Any) -> str:
        """Have ML Commons, or the service, register a remote model; return its id."""
        body = {"name": "remote", "function_name": "remote", **fields}
        return str((await asyncio.to_thread((by or self.peer).ml, "POST", "/models/_register", json=body))["model_id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(
    directory: Path, flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Both]:
    """A service has made the cluster's key and changed it before ML Commons first needs one."""
    node = Node(directory, flavour="ml")
    async with Fake() as fake:
        try:
            settings = {
                "plugins.ml_commons.connector.private_ip_enabled": "true",
                "plugins.ml_commons.trusted_connector_endpoints_regex": '["^http://127.*$"]',
            }
            peer = Peer(await asyncio.to_thread(node.start, settings))
            fake.on("/v1", Answer(200, {"answer": "yes"}))
            store = OpenSearchStore.open(Link((node.url,)))
            ours = connectors(store, trust=Only(fake.url))
            action = {**openai()["actions"][0], "url": f"{fake.url}/v1"}
            made = await ours.create({**openai(), "actions": [action], "connector_id": "first"})
            assert (await Rotation(store, Secrets(keys(store))).run()).changed == 1
            await ours.delete(made["connector_id"])
            chosen = [f"{key}={value.strip(chr(39))}" for key, value in settings.items()]
            data = tmp_path_factory.mktemp("service") / "data"
            with closing(peer.http):
                service = await asyncio.to_thread(Service(data, *chosen, flags=(*flags, "--store", node.url)).start)
                try:
                    yield Both(peer, service, store, ours, fake)
                finally:
                    await asyncio.to_thread(service.close)
            await store.close()
        finally:
            await asyncio.to_thread(node.stop)


async def test_ours_is_called_by_the_plugin(both: Both) -> None:
    """With the key that the service made and rotated, ML Commons decrypts what is bound to our connector, and calls."""
    made = (await both.ours.create(both.body("ours")))["connector_id"]

    assert await both.called(await both.registered(connector_id=made)) == "Bearer ours"

    stored = await both.store.get(CONNECTORS, made)
    assert stored is not None
    assert context_of(stored.source["credential"]["key"])[OWNER] == f"connector/{made}"
    theirs, mine = await both.ml("GET", f"/connectors/{made}"), await both.ours.get(made)
    assert theirs == mine


async def test_the_plugin_s_is_read(both: Both) -> None:
    """The service decrypts a connector that ML Commons created with the key of the cluster, also after an update."""
    made = (await both.ml("POST", "/connectors/_create", json=both.body("theirs")))["connector_id"]

    connector, credential = await both.ours.recent(made)

    assert credential == {"key": "theirs", "other": "ünïcödé 🔑"}
    assert connector.parameters == {"endpoint": both.fake.url, "n": "1.5", "list": '["a",1]'}
    assert await both.ours.get(made) == await both.ml("GET", f"/connectors/{made}")
    await both.ours.update(made, {"description": "by the service", "credential": {"key": "changed"}})
    assert (await both.ml("GET", f"/connectors/{made}"))["description"] == "by the service"
    assert await both.called(await both.registered(connector_id=made)) == "Bearer changed"


async def test_an_update_by_the_plugin_keeps_ours(both: Both) -> None:
    """A connector of ours that ML Commons changes keeps its ciphertext, or gets one that we read."""
    made = (await both.ours.create(both.body("ours")))["connector_id"]
    await both.ml("PUT", f"/connectors/{made}", json={"description": "by the plugin"})
    connector, credential = await connectors(both.store).recent(made)
    assert (connector.description, credential["key"]) == ("by the plugin", "ours")

    await both.ml("PUT", f"/connectors/{made}", json={"credential": {"key": "theirs"}})

    assert (await connectors(both.store).recent(made))[1]["key"] == "theirs"


async def test_connectors_within_models(both: Both) -> None:
    """Credentials of models' own connectors are read both ways."""
    model_id = await both.registered(connector=both.body("within"))
    document = await both.store.get(MODELS, model_id)
    assert document is not None
    assert (await both.ours.own.opened(Connector.from_json(document.source["connector"]), model_id))[1][
        "key"
    ] == "within"

    own = (await both.ours.own.change({"credential": {"key": "ours"}}, model_id))(document.source["connector"])
    await both.store.put(MODELS, model_id, {**document.source, "connector": own})

    assert await both.called(model_id) == "Bearer ours"


async def test_the_service_calls_what_the_plugin_registered(both: Both) -> None:
    """The service calls models that ML Commons registered: with a connector by its id, and with one of their own."""
    made = (await both.ml("POST", "/connectors/_create", json=both.body("theirs")))["connector_id"]
    with_id = await both.registered(connector_id=made)
    with_own = await both.registered(connector=both.body("within"))

    assert await both.called(with_id, both.service) == "Bearer theirs"
    assert await both.called(with_own, both.service) == "Bearer within"


async def test_the_plugin_calls_what_the_service_registered(both: Both) -> None:
    """ML Commons calls models that the service registered: with a connector by its id, and with one of their own."""
    created = await asyncio.to_thread(both.service.ml, "POST", "/connectors/_create", json=both.body("ours"))
    with_id = await both.registered(both.service, connector_id=created["connector_id"])
    with_own = await both.registered(both.service, connector=both.body("within ours"))

    assert await both.called(with_id) == "Bearer ours"
    assert await both.called(with_own) == "Bearer within ours"


async def test_controllers(both: Both) -> None:
    """Limits of users that one sets are those that the other shows and changes."""
    limits = {"user_rate_limiter": {"admin": {"limit": "5", "unit": "MINUTES"}}}
    more = {"user_rate_limiter": {"guest": {"limit": "1", "unit": "HOURS"}}}
    made = (await both.ml("POST", "/connectors/_create", json=both.body("theirs")))["connector_id"]
    pairs: list[tuple[Api, Api]] = [(both.peer, both.service), (both.service, both.peer)]
    for one, other in pairs:
        model_id = await both.registered(connector_id=made)
        path = f"/controllers/{model_id}"
        await asyncio.to_thread(one.ml, "POST", path, json=limits)
        assert await asyncio.to_thread(other.ml, "GET", path) == {"model_id": model_id, **limits}

        await asyncio.to_thread(other.ml, "PUT", path, json=more)

        merged = {**limits["user_rate_limiter"], **more["user_rate_limiter"]}
        answer = await asyncio.to_thread(one.ml, "GET", path)
        assert answer == {"model_id": model_id, "user_rate_limiter": merged}
        await asyncio.to_thread(one.ml, "DELETE", path)
        await asyncio.to_thread(other.ml, "GET", path, 404)

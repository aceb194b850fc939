"""Which models API servers may call, and as what, and how their calls are judged."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlcommons_py.api_servers.beginning import Beginning
from mlcommons_py.api_servers.channel import Channel
from mlcommons_py.api_servers.core import beginning_of
from mlcommons_py.api_servers.desk import Desk
from mlcommons_py.api_servers.handing import handing
from mlcommons_py.api_servers.parts import Parts
from mlcommons_py.errors import ResourceNotFound
from mlcommons_py.plugin_settings import PREFIX
from mlcommons_py.rest.identity import PATH
from mlcommons_py.rest.routes import table
from mlcommons_py.settings import Operator
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.wiring import wire
from tests.remote.fake import Answer, Asked, Fake
from tests.remote_models.conftest import OPEN, Client

HELLO: dict[str, Any] = {"messages": []}
KEY = "c2VjcmV0LW1hc3Rlci1rZXktMzItYnl0ZXMtbG9uZyE="
LOOKS_ELSEWHERE: tuple[dict[str, Any], ...] = (
    {"type": "local_regex", "input_guardrail": {"stop_words": [{"index_name": "i", "source_fields": ["t"]}]}},
    {
        "type": "model",
        "output_guardrail": {"model_id": "j", "response_filter": "$.x", "response_validation_regex": "^y$"},
    },
)


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """A provider that follows a test's script."""
    async with Fake() as provider:
        yield provider


@pytest.fixture
async def client(tmp_path: Path, fake: Fake) -> AsyncIterator[Client]:
    """A client of a service on an empty store."""
    plugin = {PREFIX + name: one for name, one in OPEN.items()}
    app = await wire(
        Operator(data=tmp_path, plugin=plugin, store_password="hidden", master_key=KEY),
        await EmbeddedStore.open(tmp_path / "store.db"),
        tmp_path,
    )
    made = Client(app, fake)
    yield made
    await made.http.aclose()
    await app.close()


@pytest.fixture
def desk(client: Client) -> Desk:
    """What that service tells API servers."""
    return Desk(client.app.services.models, client.app.admission, client.app.services.settings)


async def _card(desk: Desk, model_id: str) -> Any:
    return (await desk.model(model_id))["card"]


async def test_a_deployed_model_is_told_whole(client: Client, desk: Desk) -> None:
    """Of a model that needs nothing but its provider the desk tells the document, the connector, and its credential."""
    model_id = await client.deployed()

    card = await _card(desk, model_id)

    assert card["model"]["name"] == "a remote model"
    assert card["connector"]["actions"][0]["url"] == client.fake.url + "/chat"
    assert card["credential"] == {"key": "s3cret"}


@pytest.mark.parametrize(
    "fields",
    [
        {"rate_limiter": {"limit": "5", "unit": "MINUTES"}},
        {"is_enabled": False},
        *({"guardrails": one} for one in LOOKS_ELSEWHERE),
    ],
)
async def test_what_only_the_core_can_judge(client: Client, desk: Desk, fields: dict[str, Any]) -> None:
    """A model with a limit, with guardrails that look elsewhere, or that is disabled, is called by the core alone."""
    model_id = await client.deployed()
    await client.ml("PUT", f"/models/{model_id}", json=fields)

    assert await _card(desk, model_id) is None


async def test_guardrails_that_judge_alone(client: Client, desk: Desk) -> None:
    """Patterns and packs are judged where the call is made."""
    given = {"type": "local_regex", "input_guardrail": {"regex": ["x+"], "packs": ["pii"]}}
    model_id = await client.deployed(model={"guardrails": given})

    assert (await _card(desk, model_id))["model"]["guardrails"] == given


async def test_controllers_are_the_cores(client: Client, desk: Desk) -> None:
    """A model with a controller is called by the core alone, and so is one that is not deployed, or is not remote."""
    model_id = await client.deployed()
    limiters = {"user_rate_limiter": {"me": {"limit": "5", "unit": "MINUTES"}}}
    await client.ml("POST", f"/controllers/{model_id}", json=limiters)
    assert await _card(desk, model_id) is None

    resting = await client.register(await client.connect())
    assert await _card(desk, resting) is None
    await client.set(allow_registering_model_via_local_file=True)
    assert await _card(desk, await _local(client)) is None


async def _local(client: Client) -> str:
    body = {"name": "x", "model_format": "SAFETENSORS", "total_chunks": 1, "model_content_hash_value": "0" * 64}
    return str((await client.ml("POST", "/models/_register_meta", json=body))["model_id"])


async def test_switched_off(client: Client, desk: Desk) -> None:
    """While remote models are switched off none is called, and settings in force are told with each model."""
    model_id = await client.deployed()
    before = await desk.model(model_id)
    await client.set(remote_inference__enabled=False)
    after = await desk.model(model_id)

    assert before["card"] is not None
    assert (after["card"], after["persistent"]) == (None, {PREFIX + "remote_inference.enabled": False})


async def test_unknown_models(desk: Desk) -> None:
    """There is nothing to tell of a model that does not exist."""
    with pytest.raises(ResourceNotFound):
        await desk.model("none")


async def test_a_beginning_has_no_secrets(client: Client) -> None:
    """What an API server is told when it begins has none of the operator's secrets, and is read as it was written."""
    beginning = beginning_of(client.app.services, table(cluster=False), Path("/somewhere"))

    read = Beginning.from_json(beginning.to_json())

    told = repr(beginning.to_json())
    assert "'hidden'" not in told
    assert KEY not in told
    assert read.operator == replace(client.app.services.operator, store_password="", master_key="")
    assert read.own == {
        "/_plugins/_ml/models/{model_id}/_predict": "predict",
        "/_plugins/_ml/_predict/{algorithm}/{model_id}": "predict",
        "/_plugins/_ml/models/{model_id}/_predict/stream": "stream",
    }
    assert read.queries["/_plugins/_ml/models/{model_id}/_predict"] == ["algorithm"]


async def test_the_cluster_says_who_calls(client: Client, desk: Desk, tmp_path: Path) -> None:
    """An API server lets those call a model whom the cluster knows, as the core does."""
    client.fake.on("/chat", Answer(200, {"ok": True}))
    model_id = await client.deployed()
    async with Fake() as cluster:
        cluster.on(PATH, _who)
        operator = replace(client.app.services.operator, store=cluster.url)
        beginning = replace(beginning_of(client.app.services, table(cluster=True), tmp_path), operator=operator)
        ours, theirs = socket.socketpair()
        core = await Channel.open(ours, {"model": desk.model})
        channel = await Channel.open(theirs, {})
        parts = Parts.of(beginning, channel, handing(str(tmp_path / "none")))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(parts.front), base_url="http://test")
        path = f"/_plugins/_ml/models/{model_id}/_predict"

        stranger = await http.post(path, json={"parameters": HELLO})
        known = await http.post(path, json={"parameters": HELLO}, headers={"Authorization": "Basic dTpw"})

        await asyncio.gather(http.aclose(), parts.close(), channel.close(), core.close())
    assert (stranger.status_code, stranger.text) == (401, "Unauthorized")
    assert known.status_code == 200
    assert len(client.fake.requests) == 1


def _who(asked: Asked) -> Answer:
    if asked.header("Authorization") == "Basic dTpw":
        return Answer(200, {"user_name": "me"})
    return Answer(401, b"Unauthorized", {"Content-Type": "text/plain"})

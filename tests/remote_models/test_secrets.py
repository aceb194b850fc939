"""Secrets of connectors while their models are called: nobody sees them, and their keys may change or get lost."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py.remote.breaker import FAULTS
from mlcommons_py.remote.documents import CONNECTORS
from mlcommons_py.remote.keys import CONFIG, MASTER_KEY, Key
from mlcommons_py.remote.rotation import Rotation
from tests.remote.fake import Answer, Asked, Fake, Reply, events
from tests.remote_models.conftest import Client, started
from tests.store.hooked import HookedStore

CANARY = "sk-the-canary-in-the-coal-mine"
ASK = {"messages": [{"role": "user", "content": "hello"}]}
STREAM = {**ASK, "_llm_interface": "openai/v1/chat/completions"}
MODELS = ".plugins-ml-model"


def echo(status: int, kind: str = "application/json") -> Reply:
    """Return what answers with all that the provider was sent, the credential too."""

    def answer(asked: Asked) -> Answer:
        sent = {"error": {"message": f"Incorrect API key provided: {asked.header('Authorization')}"}}
        return Answer(status, sent if kind == "application/json" else str(sent), headers={"Content-Type": kind})

    return answer


async def unseen(client: Client, *places: tuple[str, str, str]) -> set[str]:
    """Return all that must not be seen: the secret, the master key, and ciphertexts."""
    store = client.app.store
    key = await store.get(CONFIG, MASTER_KEY)
    assert key is not None
    found = {CANARY, key.source["master_key"]}
    for index, doc_id, field in places:
        document = await store.get(index, doc_id)
        assert document is not None
        holder: Any = document.source if not field else document.source[field]
        found.update(holder["credential"].values())
    return found


def forget(client: Client) -> None:
    """Let the service know no more of keys and secrets than one that has just started."""
    secrets = client.app.services.connectors._secrets
    secrets._plain.clear()
    secrets.keys._kept = None


BROKEN = {
    "status line": Answer(raw=f"HTTP/1.1 {CANARY}\r\n\r\n".encode()),
    "no HTTP": Answer(raw=f"{CANARY}\r\n\r\n".encode()),
    "length": Answer(raw=f"HTTP/1.1 200 OK\r\nContent-Length: {CANARY}\r\n\r\n".encode()),
    "chunk": Answer(raw=f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n".encode()),
    "coding": Answer(200, {}, headers={"Content-Encoding": CANARY}),
    "coding of a fault": Answer(500, {}, headers={"Content-Encoding": "x" * 20 + CANARY}),
    "its name for the request": Answer(500, {}, headers={"X-Request-Id": CANARY}),
    "its name for the request of an answer": Answer(200, {"error_code": 1}, headers={"X-Request-Id": CANARY}),
    "when to try again": Answer(429, {}, headers={"Retry-After": CANARY}),
    "what a function quotes": Answer(200, {"error_code": 1, "error_msg": CANARY}),
    "what is cut": Answer(200, "x" * 85 + CANARY, headers={"Content-Type": "text/plain"}),
    "an event that is cut": events("{" + "x" * 185 + CANARY),
    "a piece that is no text": events(f'{{"choices":[{{"text":{{"a":"{CANARY}"}}}}]}}'),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_canary_in_place_of_an_answer(client: Client, broken: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where what the provider sends is broken or cut, nothing that is told of it has the secret, or the half of it."""
    caplog.set_level(logging.DEBUG)
    client.fake.on("/chat", BROKEN[broken])
    model_id = await client.deployed(
        credential={"key": CANARY},
        parameters={"model": "m", "_llm_interface": "openai/v1/completions"},
        post_process_function="connector.post_process.qianfan.embedding",
    )
    path = f"/_plugins/_ml/models/{model_id}/_predict"

    shown = []
    for way in [path, f"{path}/stream"] + [path] * FAULTS:
        answer = await client.http.post(way, json={"parameters": ASK})
        shown += [answer.text, str(answer.headers)]

    halves = [CANARY[at : at + 8] for at in range(len(CANARY) - 7)]
    assert not [half for half in halves if any(half in one for one in (*shown, caplog.text))]
    assert "not filled" not in shown[0]
    assert "suspended" in shown[-2] or broken not in ("status line", "no HTTP")


async def test_a_canary(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes well or wrong with a call, no answer and no line of the log shows the secret (test 17)."""
    caplog.set_level(logging.DEBUG)
    fake = client.fake
    credential = {"key": CANARY, "other": CANARY + "-2"}
    connector_id = await client.connect(credential=credential)
    one = await client.register(connector_id, deploy=True)
    own = await client.register(connector=client.connector(credential=credential), deploy=True)
    places = (CONNECTORS, connector_id, ""), (MODELS, own, "connector")
    answers: list[str] = []

    async def say(method: str, path: str, **arguments: Any) -> None:
        answers.append((await client.http.request(method, path, **arguments)).text)

    replies: list[Reply] = [
        Answer(200, {"choices": []}),
        *(echo(status) for status in (200, 400, 401, 403, 404, 422, 500, 503)),
        echo(401, "text/plain"),
        Answer(200, b"{half"),
        Answer(200, b""),
        Answer(reset=True),
        Answer(302, headers={"Location": "http://169.254.169.254/"}),
    ]
    for reply in replies:
        fake.on("/chat", reply)
        for model_id in (one, own):
            await say("POST", f"/_plugins/_ml/models/{model_id}/_predict", json={"parameters": ASK})
            await say("POST", f"/_plugins/_ml/models/{model_id}/_predict/stream", json={"parameters": STREAM})
    fake.on("/chat", lambda asked: events(f'{{"error":{{"message":"wrong: {asked.header("Authorization")}"}}}}'))
    await say("POST", f"/_plugins/_ml/models/{one}/_predict/stream", json={"parameters": STREAM})
    assert "wrong: Bearer ***" in answers[-1]
    asked = {asked.header("Authorization") for asked in fake.requests}
    assert asked == {f"Bearer {CANARY}"}
    for path in (f"models/{one}", f"models/{own}", f"connectors/{connector_id}", "stats", "profile", "profile/models"):
        await say("GET", f"/_plugins/_ml/{path}")
    for noun in ("connectors", "models", "tasks"):
        await say("POST", f"/_plugins/_ml/{noun}/_search", json={"size": 100, "_source": ["*"]})
    await say("GET", "/metrics")
    await say("PUT", f"/_plugins/_ml/models/{own}", json={"connector": {"credential": {"key": 5, "x": [CANARY]}}})
    await say(
        "PUT", f"/_plugins/_ml/models/{own}", json={"connector": {"credential": {"key": CANARY}, "actions": [{}]}}
    )
    await say("POST", "/_plugins/_ml/models/_register", json={"name": "x", "connector": {"credential": CANARY}})

    for secret in await unseen(client, *places):
        assert not [answer for answer in answers if secret in answer]
        assert secret not in caplog.text


async def test_the_key_is_changed_under_way(client: Client) -> None:
    """Calls go on, with the right credential, while the key is rotated again and again (test 19)."""
    client.fake.on("/chat", Answer(200, {"choices": []}))
    connector_id = await client.connect(credential={"key": CANARY})
    one = await client.register(connector_id, deploy=True)
    own = await client.register(connector=client.connector(credential={"key": CANARY}), deploy=True)
    secrets = client.app.services.connectors._secrets
    running = True

    async def call(model_id: str) -> int:
        count = 0
        while running:
            await client.predict(model_id, ASK)
            count += 1
        return count

    calls = [asyncio.create_task(call(model_id)) for model_id in (one, own)]
    keys = set()
    for _ in range(5):
        done = await Rotation(client.app.store, secrets).run()
        assert (done.changed, done.unreadable) == (2, {})
        keys.add(done.key)
        before = len(client.fake.requests)
        await client.fake.asked(before + 4)
    running = False

    assert min(await asyncio.gather(*calls)) > 5
    assert len(keys) == 5
    assert {asked.header("Authorization") for asked in client.fake.requests} == {f"Bearer {CANARY}"}


async def test_a_lost_key_is_said_to_who_calls(client: Client) -> None:
    """A call whose key is lost is refused with the cause and the cure, and works again with the key (test 19)."""
    client.fake.on("/chat", Answer(200, {"choices": []}))
    connector_id = await client.connect(credential={"key": CANARY})
    model_id = await client.register(connector_id, deploy=True)
    store, services = client.app.store, client.app.services
    key = await store.get(CONFIG, MASTER_KEY)
    assert key is not None
    await store.delete(CONFIG, MASTER_KEY)
    forget(client)
    services.connectors._recent.gone(connector_id)

    refused = await client.predict(model_id, ASK, 500)
    created = await client.ml("POST", "/connectors/_create", 500, json=client.connector())

    assert "was encrypted with master key [" in refused["error"]["reason"]
    assert "or PUT the credential again" in refused["error"]["reason"]
    assert created["error"]["reason"].startswith("the master key is lost")
    assert client.fake.requests == []
    await store.put(CONFIG, MASTER_KEY, key.source)
    await client.predict(model_id, ASK)
    assert client.fake.requests[-1].header("Authorization") == f"Bearer {CANARY}"


async def test_a_restart_without_the_key(at: str, tmp_path: Path, fake: Fake) -> None:
    """A service that starts without its key says of its models which key is missing, makes none, and calls nobody."""
    fake.on("/chat", Answer(200, {"choices": []}))
    async with started(at, tmp_path, fake) as client:
        model_id = await client.deployed(credential={"key": CANARY})
        key = await client.app.store.get(CONFIG, MASTER_KEY)
        assert key is not None
        await client.app.store.delete(CONFIG, MASTER_KEY)

    async with started(at, tmp_path, fake) as client:
        async with asyncio.timeout(30):
            while (model := await client.ml("GET", f"/models/{model_id}"))["model_state"] != "DEPLOY_FAILED":
                await asyncio.sleep(0.01)
        kept = await client.ml("GET", f"/models/{model_id}")
        refused = await client.predict(model_id, ASK, 503)
        assert await client.app.store.get(CONFIG, MASTER_KEY) is None
        assert fake.requests == []
        await client.app.store.put(CONFIG, MASTER_KEY, key.source)
        async with asyncio.timeout(30):  # for a second after a failure it is not tried again
            path = f"/_plugins/_ml/models/{model_id}/_predict"
            while (await client.http.post(path, json={"parameters": ASK})).status_code == 503:
                await asyncio.sleep(0.05)

    assert kept["planning_worker_nodes"] == [client.app.services.node.id]  # it stays desired, and comes back by itself
    missing = f"was encrypted with master key [{Key.parse(key.source['master_key'], 'the store').id}]"
    assert missing in refused["error"]["reason"]
    assert missing in model["state_reason"]
    assert [asked.header("Authorization") for asked in fake.requests] == [f"Bearer {CANARY}"]


async def test_updates_of_a_model_s_own_connector(client: Client) -> None:
    """Updates of a model's connector that come together, with a rotation among them, are all there in the end."""
    client.fake.on("/chat", Answer(200, {"choices": []}))
    model_id = await client.register(connector=client.connector(credential={"key": CANARY}))
    path, secrets = f"/models/{model_id}", client.app.services.connectors._secrets

    for turn in range(3):
        fresh = {"connector": {"credential": {"key": f"{CANARY}-{turn}"}}}
        await asyncio.gather(
            *(client.ml("PUT", path, json={"connector": {"parameters": {f"p{turn}-{n}": n}}}) for n in range(4)),
            client.ml("PUT", path, json=fresh),
            Rotation(client.app.store, secrets).run(),
        )
        forget(client)
        await Rotation(client.app.store, secrets).run()
        forget(client)
        await client.predict(model_id, ASK)
        assert client.fake.requests[-1].header("Authorization") == f"Bearer {CANARY}-{turn}"

    parameters = (await client.ml("GET", path))["connector"]["parameters"]
    assert {name for name in parameters if name.startswith("p")} == {
        f"p{turn}-{n}" for turn in range(3) for n in range(4)
    }


@pytest.mark.parametrize("how", ["registered", "updated"])
async def test_a_model_that_meets_a_rotation(client: Client, how: str) -> None:
    """A credential that was encrypted with a key that is gone when its model is stored is encrypted again (test 19)."""
    client.fake.on("/chat", Answer(200, {"choices": []}))
    store, secrets = client.app.store, client.app.services.connectors._secrets
    assert isinstance(store, HookedStore)
    await client.connect()
    own = client.connector(credential={"key": CANARY})
    before = None if how == "registered" else await client.register(connector=client.connector())

    async def write() -> str:
        if before is None:
            return await client.register(connector=own)
        await client.ml("PUT", f"/models/{before}", json={"connector": {"credential": own["credential"]}})
        return before

    async with store.stopped(lambda call: call.name == "put" and call.index == MODELS) as stop:
        writing = asyncio.create_task(write())
        await stop.reached.wait()
        await Rotation(store, secrets).run()
    model_id = await writing
    forget(client)

    await client.predict(model_id, ASK)

    assert client.fake.requests[-1].header("Authorization") == f"Bearer {CANARY}"

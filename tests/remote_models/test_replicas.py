"""Remote models of several services that share one store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlcommons_py.plugin_settings import PREFIX
from mlcommons_py.settings import Operator
from mlcommons_py.store import Store
from mlcommons_py.tasks.board import TaskType
from mlcommons_py.wiring import App, wire
from tests.lifecycle.conftest import Shared
from tests.remote.fake import Answer, Fake
from tests.remote_models.conftest import OPEN, Client
from tests.remote_models.test_batch_jobs import ALL, job_model

PROMPT = '{ "prompt": "${parameters.prompt}" }'
ASK = {"prompt": "a"}


@pytest.fixture
async def pair(at: str, store: Store, tmp_path: Path, fake: Fake) -> AsyncIterator[tuple[Client, Client]]:
    """Two services on one store, which know of each other."""
    apps: list[App] = []
    for name in ("one", "two"):
        plugin = {PREFIX + key: value for key, value in OPEN.items()}
        operator = Operator(data=tmp_path / name, store=at, heartbeat_seconds=0.1, plugin=plugin)
        apps.append(await wire(operator, Shared(store), tmp_path / name, alone=False))
    running = [asyncio.create_task(app.reconciler.run()) for app in apps]
    first, second = (Client(app, fake) for app in apps)
    fake.on("/chat", Answer(200, {"ok": True}))
    await _until(lambda: all(len(app.services.nodes.alive()) == 2 for app in apps))
    yield first, second
    for one in (first, second):
        await one.close()
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    for app in apps:
        await app.close()


async def _until(holds: object) -> None:
    assert callable(holds)
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def _here(client: Client, model_id: str) -> bool:
    return model_id in client.app.services.remotes


async def test_a_model_is_deployed_and_undeployed_everywhere(pair: tuple[Client, Client]) -> None:
    """A deploy through one service is for all of them, and so is an undeploy."""
    first, second = pair
    model_id = await first.deployed(request_body=PROMPT)
    await _until(lambda: _here(second, model_id))
    task_search = await first.ml("POST", "/tasks/_search", json={"query": {"term": {"task_type": "DEPLOY_MODEL"}}})
    task = await first.task(task_search["hits"]["hits"][0]["_id"])
    await second.predict(model_id, ASK)
    await second.ml("POST", f"/models/{model_id}/_undeploy")

    assert (task["state"], len(task["worker_node"])) == ("COMPLETED", 2)
    assert not _here(first, model_id)
    assert not _here(second, model_id)
    assert (await first.ml("GET", f"/models/{model_id}"))["model_state"] == "UNDEPLOYED"


async def test_a_change_through_one_holds_in_the_other(pair: tuple[Client, Client]) -> None:
    """What one service changes of a model holds in the other within a second or so."""
    first, second = pair
    model_id = await first.deployed(request_body=PROMPT)
    await _until(lambda: _here(second, model_id))
    await second.predict(model_id, ASK)
    async with asyncio.timeout(30):
        while (await first.ml("GET", f"/models/{model_id}"))["model_state"] != "DEPLOYED":
            await asyncio.sleep(0.01)
    await first.ml("PUT", f"/models/{model_id}", json={"is_enabled": False})

    async with asyncio.timeout(5):
        while True:
            path = f"/_plugins/_ml/models/{model_id}/_predict"
            answer = await second.http.post(path, json={"parameters": ASK})
            if answer.status_code == 403:
                break
            await asyncio.sleep(0.05)

    assert answer.json()["error"]["reason"] == "Model is disabled."


async def test_a_limit_holds_over_all_services(pair: tuple[Client, Client]) -> None:
    """Each service has an equal share of a model's rate."""
    first, second = pair
    limiter = {"limit": "4", "unit": "DAYS"}
    model_id = await first.deployed(request_body=PROMPT, model={"rate_limiter": limiter})
    await _until(lambda: _here(second, model_id))
    await _until(lambda: len(first.app.services.nodes.running(model_id)) == 2)
    await _until(lambda: len(second.app.services.nodes.running(model_id)) == 2)

    for one in pair:
        await one.predict(model_id, ASK)
        await one.predict(model_id, ASK)
        refused = await one.predict(model_id, ASK, 429)
        assert refused["error"]["reason"] == "Request is throttled at model level."


async def test_jobs_that_begin_at_once_through_all_services(pair: tuple[Client, Client]) -> None:
    """As many batch jobs begin as the limit allows, whichever services are asked at the same time."""
    first, second = pair
    first.fake.on("/jobs", Answer(200, {"id": "j"}, delay=0.2))
    model_id = await job_model(first, *ALL)
    await first.set(max_batch_inference_tasks=3)
    await _until(lambda: second.app.services.settings["max_batch_inference_tasks"] == 3)
    path = f"/_plugins/_ml/models/{model_id}/_batch_predict"

    answers = await asyncio.gather(*(one.http.post(path, json={"parameters": {"file": "f"}}) for one in (*pair,) * 4))

    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5
    assert len(first.fake.requests) == 3


async def test_a_job_that_a_service_began_that_is_gone(pair: tuple[Client, Client]) -> None:
    """Another service ends its task, which would count as a running job for ever."""
    first, _ = pair
    tasks = first.app.services.tasks
    task_id = await tasks.create(TaskType.BATCH_PREDICTION, "REMOTE", "m", nodes=["gone"])

    assert (await first.task(task_id))["state"] == "FAILED"


async def test_a_model_that_one_service_uses_stays(pair: tuple[Client, Client]) -> None:
    """Idle in one service is not idle; a model goes when nobody called it anywhere."""
    first, second = pair
    setting = {"model_ttl_minutes": 1}
    model_id = await first.deployed(request_body=PROMPT, model={"deploy_setting": setting})
    await _until(lambda: _here(second, model_id))
    used = [one.app.services.remotes.latencies(model_id) for one in pair]
    assert used[0] is not None
    assert used[1] is not None
    used[0].last -= 61.0
    nodes = second.app.services.nodes
    await _until(lambda: model_id in first.app.services.residents.idle())
    await asyncio.gather(nodes.beat(), nodes.look(ages=False))
    assert model_id not in nodes.idle()
    assert _here(first, model_id)
    used[1].last -= 61.0

    await _until(lambda: not _here(first, model_id) and not _here(second, model_id))


async def test_calls_at_once_deploy_a_model_once(pair: tuple[Client, Client]) -> None:
    """However many calls come before a model is deployed, through whichever service, they are all answered."""
    first, second = pair
    model_id = await first.register(await first.connect(request_body=PROMPT))
    answers = await asyncio.gather(*(one.predict(model_id, ASK) for one in (*pair, *pair, *pair, *pair)))
    found = await first.ml("POST", "/tasks/_search", json={"query": {"term": {"task_type": "DEPLOY_MODEL"}}})

    assert len(answers) == 8
    assert 1 <= found["hits"]["total"]["value"] <= 2  # each service may have found it not deployed
    await _until(lambda: _here(first, model_id) and _here(second, model_id))

"""The profile API: what runs here."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlcommons_py.rest.services import Services
from mlcommons_py.tasks.board import TaskType
from mlcommons_py.wiring import App

ML = "/_plugins/_ml"
ARCHIVE = Path(__file__).parents[1] / "data" / "traced" / "bert-mean-normalized.zip"


@pytest.fixture
async def task(services: Services) -> str:
    """The id of a task that runs."""
    task_id = await services.tasks.create(TaskType.DEPLOY_MODEL, "TEXT_EMBEDDING", "m1")
    await services.tasks.start(task_id)
    return task_id


@pytest.mark.parametrize(
    "path", ["/profile", "/profile/models", "/profile/tasks", "/profile/models/x", "/profile/tasks/x,y"]
)
@pytest.mark.parametrize("view", ["node", "model"])
async def test_nothing(client: httpx.AsyncClient, path: str, view: str) -> None:
    """Where nothing runs, or nothing of what is asked for, the answer is empty."""
    assert (await client.get(f"{ML}{path}?view={view}")).json() == {}


async def test_running_task(client: httpx.AsyncClient, services: Services, task: str) -> None:
    """A running task shows under its node, or under its model."""
    shown = (await client.get(f"{ML}/tasks/{task}")).json()

    for path in ("/profile", "/profile/", "/profile/tasks", f"/profile/tasks/x,{task}"):
        assert (await client.get(ML + path)).json() == {"nodes": {services.node.id: {"tasks": {task: shown}}}}
    by_model = await client.get(f"{ML}/profile?view=model")
    assert by_model.json() == {"models": {"m1": {"tasks": {task: shown}}}}
    assert (await client.get(f"{ML}/profile/models")).json() == {}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"return_all_tasks": True}, True),
        ({"return_all_models": True}, False),
        ({"model_ids": ["m1"]}, False),
        ({"task_ids": ["x"]}, False),
        ({"node_ids": ["other"]}, False),
        ({"node_ids": ["{node}"]}, True),
        ({}, True),
    ],
)
async def test_body(client: httpx.AsyncClient, services: Services, task: str, body: Any, found: bool) -> None:
    """A body says whose profiles are wanted, and on which nodes."""
    if body.get("node_ids") == ["{node}"]:
        body = {"node_ids": [services.node.id]}

    answer = await client.request("GET", f"{ML}/profile", json=body)

    assert (answer.status_code, bool(answer.json())) == (200, found)


async def test_body_names_the_task(client: httpx.AsyncClient, services: Services, task: str) -> None:
    """A task that a body names is found."""
    answer = await client.request("GET", f"{ML}/profile", json={"task_ids": [task]})

    assert list(answer.json()["nodes"][services.node.id]["tasks"]) == [task]


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/profile?view=planet", None, "view must be node or model, not [planet]"),
        ("/profile", {"model_ids": "x"}, "[model_ids] must be a list of strings, not str"),
        ("/profile", {"return_all_tasks": 1}, "[return_all_tasks] must be true or false, not int"),
    ],
)
async def test_refused(client: httpx.AsyncClient, path: str, body: Any, reason: str) -> None:
    """A wrong view or a wrong field is 400 and named."""
    answer = await client.request("GET", ML + path, json=body)

    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, reason)


async def _until_done(client: httpx.AsyncClient, task_id: str) -> None:
    async with asyncio.timeout(60):
        while (task := (await client.get(f"{ML}/tasks/{task_id}")).json())["state"] in ("CREATED", "RUNNING"):
            await asyncio.sleep(0.02)
    assert task["state"] == "COMPLETED", task


async def test_deployed_model(client: httpx.AsyncClient, service: App) -> None:
    """A deployed model shows its state, nodes, memory and times, by node and by model, in stats and in metrics."""
    key = "plugins.ml_commons.allow_registering_model_via_local_file"
    await client.put("/_cluster/settings", json={"transient": {key: True}})
    archive = ARCHIVE.read_bytes()
    meta = {
        "name": "tiny",
        "function_name": "TEXT_EMBEDDING",
        "model_format": "TORCH_SCRIPT",
        "model_config": {"model_type": "bert", "embedding_dimension": 32, "framework_type": "sentence_transformers"},
        "model_content_hash_value": hashlib.sha256(archive).hexdigest(),
        "model_content_size_in_bytes": len(archive),
        "total_chunks": 1,
    }
    model_id = (await client.post(f"{ML}/models/_register_meta", json=meta)).json()["model_id"]
    await client.post(f"{ML}/models/{model_id}/upload_chunk/0", content=archive)
    await _until_done(client, (await client.post(f"{ML}/models/{model_id}/_deploy")).json()["task_id"])
    predicted = await client.post(f"{ML}/models/{model_id}/_predict", json={"text_docs": ["hello", "world"]})
    assert predicted.status_code == 200

    by_node = (await client.get(f"{ML}/profile/models/{model_id}")).json()
    by_model = (await client.get(f"{ML}/profile/models/{model_id}?view=model")).json()
    stats = (await client.get(f"{ML}/stats")).json()
    metrics = (await client.get("/metrics")).text

    node = service.services.node.id
    profile = by_node["nodes"][node]["models"][model_id]
    nodes = {name: profile.pop(name) for name in ("target_worker_nodes", "worker_nodes")}
    assert nodes == {"target_worker_nodes": [node], "worker_nodes": [node]}
    assert by_model == {"models": {model_id: {**nodes, "nodes": {node: profile}}}}
    assert profile["model_state"] == "DEPLOYED"
    assert profile["predictor"].startswith("mlcommons_py.inference.worker@")
    assert profile["memory_size_estimation_cpu"] > 1 << 20
    assert profile["memory_size_estimation_gpu"] == 0
    times = profile["model_inference_stats"]
    assert set(times) == {"count", "max", "min", "average", "p50", "p90", "p99"}
    assert times["count"] == 1
    assert 0 < times["min"] == times["max"] < 60_000
    assert stats["ml_model_count"] == 1
    assert stats["ml_model_index_status"] == stats["ml_task_index_status"] == "green"
    assert stats["nodes"][node]["ml_deployed_model_count"] == 1
    assert stats["nodes"][node]["models"][model_id]["predict"] == {"ml_action_request_count": 1}
    assert f'mlcommons_model_texts_total{{model="{model_id}"}} 2.0' in metrics
    assert f'mlcommons_worker_up{{model="{model_id}"}} 1.0' in metrics

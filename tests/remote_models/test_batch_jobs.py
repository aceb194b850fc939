"""Batch jobs: started, followed and cancelled."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from mlcommons_py.tasks.board import TASKS, Tasks, TaskType
from tests.remote.fake import Answer
from tests.remote_models.conftest import Client
from tests.store.hooked import HookedStore


def _actions(client: Client, *types: str) -> list[dict[str, Any]]:
    """Return actions on jobs of the fake provider."""
    jobs = f"{client.fake.url}/jobs"
    all_of_them = {
        "batch_predict": {
            "method": "POST",
            "url": jobs,
            "request_body": '{"input":"${parameters.file}"}',
        },
        "batch_predict_status": {"method": "GET", "url": f"{jobs}/${{parameters.id}}"},
        "cancel_batch_predict": {"method": "POST", "url": f"{jobs}/${{parameters.id}}/cancel"},
    }
    predict = {"method": "POST", "url": f"{client.fake.url}/chat", "request_body": "{}"}
    return [{"action_type": "predict", **predict}] + [{"action_type": one, **all_of_them[one]} for one in types]


ALL = ("batch_predict", "batch_predict_status", "cancel_batch_predict")


async def job_model(client: Client, *types: str) -> str:
    """Register a model whose connector has those actions on jobs, and return its id."""
    body = {**client.connector(), "actions": _actions(client, *types)}
    connector_id = (await client.ml("POST", "/connectors/_create", json=body))["connector_id"]
    return await client.register(connector_id)


async def beginning(
    client: Client, status: int, job: dict[str, str]
) -> tuple[asyncio.Event, asyncio.Task[httpx.Response]]:
    """Have a job begun that the provider answers so, once the event is set; return that and the call."""
    answered = asyncio.Event()
    client.fake.on("/jobs", Answer(status, parts=[json.dumps(job).encode()], after=answered))
    client.fake.on("/jobs/j1", Answer(200, {"status": "completed"}))
    path = f"/_plugins/_ml/models/{await job_model(client, *ALL)}/_batch_predict"
    return answered, asyncio.create_task(client.http.post(path, json={"parameters": {"file": "f1"}}))


async def test_a_job_is_started_and_followed_to_its_end(client: Client) -> None:
    """The task tells the job and, whenever it is read, how far the provider is with it."""
    client.fake.on("/jobs", Answer(200, {"id": "j 1", "status": "validating"}))
    client.fake.on(
        "/jobs/j%201",
        Answer(200, {"id": "j 1", "status": "in_progress"}),
        Answer(200, '{"status":"completed","n":1.10}'),
    )
    model_id = await job_model(client, *ALL)

    answer = await client.ml("POST", f"/models/{model_id}/_batch_predict", json={"parameters": {"file": "f1"}})
    first = await client.ml("GET", f"/tasks/{answer['task_id']}")
    second = await client.ml("GET", f"/tasks/{answer['task_id']}")
    third = await client.ml("GET", f"/tasks/{answer['task_id']}")

    assert answer["status"] == "CREATED"
    assert answer["remote_job"] == {"id": "j 1", "status": "validating"}
    assert (first["state"], first["task_type"], first["function_name"]) == ("RUNNING", "BATCH_PREDICTION", "REMOTE")
    assert (second["state"], second["remote_job"]) == ("COMPLETED", {"id": "j 1", "status": "completed", "n": 1.1})
    assert third == second
    assert [one.path for one in client.fake.requests] == ["/jobs", "/jobs/j%201", "/jobs/j%201"]


async def test_the_digits_of_a_job(client: Client) -> None:
    """Numbers in the request for a job keep their digits."""
    client.fake.on("/jobs", Answer(200, {"id": "j"}))
    body = {**client.connector(), "actions": _actions(client, *ALL)}
    body["actions"][1]["request_body"] = '{"n":${parameters.n}}'
    connector_id = (await client.ml("POST", "/connectors/_create", json=body))["connector_id"]
    model_id = await client.register(connector_id)

    asked = '{"parameters":{"n":[1.10,1e400]},"dlq":{"bucket":"b","region":"r","n":1.10}}'
    path, headers = f"/models/{model_id}/_batch_predict", {"Content-Type": "application/json"}
    answer = await client.ml("POST", path, content=asked, headers=headers)

    assert client.fake.requests[-1].body == b'{"n":[1.10,1e400]}'
    assert answer["remote_job"]["dlq"] == {"bucket": "b", "region": "r", "n": 1.1}


async def test_a_job_whose_provider_tells_the_key(client: Client) -> None:
    """What a provider sends back of the credential is neither answered nor stored."""
    job = {"id": "j1", "status": "validating", "auth": "Bearer s3cret-of-the-test"}
    client.fake.on("/jobs", Answer(200, job))
    client.fake.on("/jobs/j1", Answer(200, job))
    body = {**client.connector(credential={"key": "s3cret-of-the-test"}), "actions": _actions(client, *ALL)}
    model_id = await client.register((await client.ml("POST", "/connectors/_create", json=body))["connector_id"])

    answer = await client.ml("POST", f"/models/{model_id}/_batch_predict", json={"parameters": {"file": "f1"}})
    await client.ml("GET", f"/tasks/{answer['task_id']}")

    stored = await client.app.store.get(TASKS, answer["task_id"])
    assert stored is not None
    assert answer["remote_job"]["auth"] == stored.source["remote_job"]["auth"] == "Bearer ***"


@pytest.mark.parametrize("route", ["_cancel", "_cancel_batch"])
async def test_a_job_is_cancelled(client: Client, route: str) -> None:
    """The provider is told, and the task says that it is being cancelled."""
    client.fake.on("/jobs", Answer(200, {"id": "j1"}))
    client.fake.on("/jobs/j1/cancel", Answer(200, {"status": "cancelling"}))
    client.fake.on("/jobs/j1", Answer(200, {"status": "cancelled"}))
    model_id = await job_model(client, *ALL)
    task_id = (await client.ml("POST", f"/models/{model_id}/_batch_predict", json={"parameters": {"file": "f1"}}))[
        "task_id"
    ]

    assert await client.ml("POST", f"/tasks/{task_id}/{route}") == {"status": "OK"}
    assert client.fake.requests[-1].path == "/jobs/j1/cancel"
    assert (await client.ml("GET", f"/tasks/{task_id}"))["state"] == "CANCELLED"


async def test_what_is_no_job(client: Client) -> None:
    """An answer without a job is an error, and so is cancelling a task that stands for none."""
    client.fake.on("/jobs", Answer(200, {"fine": True}))
    model_id = await job_model(client, "batch_predict")
    registered = await client.ml("POST", "/tasks/_search", json={"query": {"match_all": {}}})

    refused = await client.ml("POST", f"/models/{model_id}/_batch_predict", 404, json={"parameters": {"file": "f1"}})
    other = await client.ml("POST", f"/tasks/{registered['hits']['hits'][0]['_id']}/_cancel", 400)
    unknown = await client.ml("POST", "/tasks/unknown/_cancel", 404)

    assert refused["error"]["reason"] == "Unable to create batch transform job"
    assert other["error"]["reason"] == "The task ID you provided does not have any associated batch job"
    assert unknown["error"]["reason"] == "Fail to find task"


async def _jobs(client: Client) -> list[Any]:
    found = await client.ml("POST", "/tasks/_search", json={"query": {"term": {"task_type": "BATCH_PREDICTION"}}})
    return [hit["_source"] for hit in found["hits"]["hits"]]


@pytest.mark.parametrize("answer", [Answer(200, {"fine": True}), Answer(400, {"error": "no such file"})])
async def test_no_job_leaves_no_task(client: Client, answer: Answer) -> None:
    """Where the provider began no job there is no task, and nothing that counts."""
    client.fake.on("/jobs", answer, Answer(200, {"id": "j1"}))
    model_id = await job_model(client, *ALL)
    await client.set(max_batch_inference_tasks=1)
    path = f"/models/{model_id}/_batch_predict"

    refused = await client.http.post(f"/_plugins/_ml{path}", json={"parameters": {"file": "f1"}})
    assert refused.status_code in (400, 404)
    assert await _jobs(client) == []
    await client.ml("POST", path, json={"parameters": {"file": "f1"}})


async def test_a_job_that_is_being_begun(client: Client) -> None:
    """Until the provider has answered there is a task without a job: nobody is asked for its state, or to stop it."""
    asked = asyncio.Event()
    client.fake.on("/jobs", Answer(200, parts=[b'{"id":', b'"j1"}'], after=asked))
    model_id = await job_model(client, *ALL)
    path = f"/models/{model_id}/_batch_predict"
    starting = asyncio.create_task(client.ml("POST", path, json={"parameters": {"file": "f1"}}))
    await client.fake.asked(1)
    found = await client.ml("POST", "/tasks/_search", json={"query": {"term": {"task_type": "BATCH_PREDICTION"}}})
    task_id = found["hits"]["hits"][0]["_id"]

    shown = await client.ml("GET", f"/tasks/{task_id}")
    refused = await client.ml("POST", f"/tasks/{task_id}/_cancel", 400)
    await client.app.services.batch_jobs.poll()
    await client.app.services.batch_jobs.poll()
    await client.app.services.batch_jobs.restore()
    paths = [one.path for one in client.fake.requests]
    asked.set()
    answer = await starting

    assert (shown["state"], shown.keys() & {"remote_job", "remote_error"}, paths) == ("CREATED", set(), ["/jobs"])
    assert refused["error"]["reason"] == "The task ID you provided does not have any associated batch job"
    assert (answer["task_id"], answer["remote_job"]) == (task_id, {"id": "j1"})


async def test_a_service_that_ended_while_a_job_began(client: Client) -> None:
    """Its next run ends the task, which would count as a running job for ever."""
    services = client.app.services
    before = Tasks(client.app.store, services.node.id)
    task_id = await before.create(TaskType.BATCH_PREDICTION, "REMOTE", "m")
    job_id = await before.create(TaskType.BATCH_PREDICTION, "REMOTE", "m", remote_job={"id": "j1"})

    await services.batch_jobs.restore()

    ended, job = await services.tasks.get(task_id), await services.tasks.get(job_id)
    assert (ended["state"], ended["error"]) == (
        "FAILED",
        "the service ended before the provider told which job it began",
    )
    assert job["state"] == "CREATED"


@pytest.mark.parametrize(("status", "job"), [(200, {"id": "j1"}), (400, {"error": "no such file"})])
async def test_a_node_that_was_taken_for_gone_while_a_job_began(
    client: Client, status: int, job: dict[str, str]
) -> None:
    """What another node gave up is followed once the provider has told of the job; without one the task goes."""
    answered, starting = await beginning(client, status, job)
    services = client.app.services
    await client.fake.asked(1)
    ((task_id, task),) = await services.tasks.of_type(TaskType.BATCH_PREDICTION)
    await services.batch_jobs.give_up(task_id, task)
    given_up = await services.tasks.get(task_id)
    answered.set()
    answer = await starting

    assert (given_up["state"], answer.status_code) == ("FAILED", status)
    if status == 400:
        assert await _jobs(client) == []
        return
    begun = await services.tasks.get(task_id)
    assert (begun["state"], begun["remote_job"], "error" in begun) == ("CREATED", job, False)
    assert (await client.ml("GET", f"/tasks/{task_id}"))["state"] == "COMPLETED"


@pytest.mark.parametrize(("status", "job"), [(200, {"id": "j1"}), (400, {"error": "no such file"})])
async def test_a_store_that_is_away_when_the_provider_answers(client: Client, status: int, job: dict[str, str]) -> None:
    """A job that was begun is told, and followed once the store is back; one that was not leaves no task."""
    answered, starting = await beginning(client, status, job)
    async with asyncio.timeout(30):
        while not client.fake.requests:
            await asyncio.sleep(0.01)

        store = client.app.store
        assert isinstance(store, HookedStore)
        store.cut()
        answered.set()
        answer = await starting
        store.mend()
        while [one for one in await _jobs(client) if "remote_job" not in one]:
            await asyncio.sleep(0.01)

    assert (answer.status_code, answer.json().get("remote_job")) == (status, job if status == 200 else None)
    assert [one["remote_job"]["id"] for one in await _jobs(client)] == (["j1"] if status == 200 else [])
    if status == 200:
        assert (await client.ml("GET", f"/tasks/{answer.json()['task_id']}"))["state"] == "COMPLETED"


async def test_no_more_jobs_than_the_cluster_allows(client: Client) -> None:
    """The limit of jobs that are not over holds."""
    client.fake.on("/jobs", Answer(200, {"id": "j1"}))
    model_id = await job_model(client, *ALL)
    await client.set(max_batch_inference_tasks=1)
    path = f"/models/{model_id}/_batch_predict"
    await client.ml("POST", path, json={"parameters": {"file": "f1"}})

    refused = await client.ml("POST", path, 429, json={"parameters": {"file": "f2"}})

    assert "Exceeded maximum limit for BATCH_PREDICTION tasks" in refused["error"]["reason"]


async def test_a_job_whose_model_is_gone(client: Client) -> None:
    """Nobody can be asked about it any more: its task says so, no longer counts as running, and can be deleted."""
    client.fake.on("/jobs", Answer(200, {"id": "j1"}))
    model_id = await job_model(client, *ALL)
    answer = await client.ml("POST", f"/models/{model_id}/_batch_predict", json={"parameters": {"file": "f1"}})
    path = f"/tasks/{answer['task_id']}"
    await client.ml("DELETE", f"/models/{model_id}")
    task = await client.ml("GET", path)

    assert (task["state"], task["error"]) == ("UNREACHABLE", "the model of the batch job was deleted")
    await client.ml("POST", f"{path}/_cancel", 404)
    assert (await client.ml("DELETE", path))["result"] == "deleted"


async def test_jobs_that_begin_at_once(client: Client) -> None:
    """The limit of jobs holds for those that begin at the same time, too."""
    client.fake.on("/jobs", Answer(200, {"id": "j"}, delay=0.05))
    model_id = await job_model(client, *ALL)
    await client.set(max_batch_inference_tasks=3)
    path = f"/_plugins/_ml/models/{model_id}/_batch_predict"

    answers = await asyncio.gather(*(client.http.post(path, json={"parameters": {"file": "f"}}) for _ in range(6)))

    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 3


async def test_a_job_is_not_held_to_the_limits_of_its_model(client: Client) -> None:
    """Starting one is; looking at it and stopping it are not, nor does it matter that the model is disabled."""
    client.fake.on("/jobs", Answer(200, {"id": "j1"}))
    client.fake.on("/jobs/j1", Answer(200, {"status": "in_progress"}))
    client.fake.on("/jobs/j1/cancel", Answer(200, {"status": "cancelling"}))
    model_id = await job_model(client, *ALL)
    await client.ml("PUT", f"/models/{model_id}", json={"rate_limiter": {"limit": "1", "unit": "DAYS"}})
    path = f"/models/{model_id}/_batch_predict"
    task_id = (await client.ml("POST", path, json={"parameters": {"file": "f1"}}))["task_id"]
    await client.ml("POST", path, 429, json={"parameters": {"file": "f1"}})
    await client.ml("PUT", f"/models/{model_id}", json={"is_enabled": False})

    shown = await client.ml("GET", f"/tasks/{task_id}")
    await client.ml("POST", f"/tasks/{task_id}/_cancel")

    assert (shown["state"], "remote_error" in shown) == ("RUNNING", False)


async def test_a_provider_that_cannot_be_asked(client: Client) -> None:
    """The task is shown as it was last known, with the reason."""
    client.fake.on("/jobs", Answer(200, {"id": "j1", "status": "validating"}))
    client.fake.on("/jobs/j1", Answer(500, {"error": "out of order"}))
    model_id = await job_model(client, *ALL)
    answer = await client.ml("POST", f"/models/{model_id}/_batch_predict", json={"parameters": {"file": "f1"}})

    shown = await client.ml("GET", f"/tasks/{answer['task_id']}")

    assert shown["remote_job"] == answer["remote_job"]
    assert shown["remote_error"] == 'Error from remote service: {"error": "out of order"}'


async def test_jobs_that_nobody_asks_for_are_followed(client: Client) -> None:
    """A job comes to its end in its task though nobody reads that, whatever its creator's clock said."""
    client.fake.on("/jobs", Answer(200, {"id": "j1"}))
    client.fake.on("/jobs/j1", Answer(200, {"status": "completed"}))
    model_id = await job_model(client, *ALL)
    answer = await client.ml("POST", f"/models/{model_id}/_batch_predict", json={"parameters": {"file": "f1"}})
    tasks, store = client.app.services.tasks, client.app.store
    document = await store.get(TASKS, answer["task_id"])
    assert document is not None
    future = {**document.source, "last_update_time": document.source["last_update_time"] + 600_000}
    await store.put(TASKS, answer["task_id"], future)
    await client.app.services.batch_jobs.poll()
    early = await tasks.get(answer["task_id"])
    await client.app.services.batch_jobs.poll()
    late = await tasks.get(answer["task_id"])

    assert (early["state"], late["state"]) == ("CREATED", "COMPLETED")

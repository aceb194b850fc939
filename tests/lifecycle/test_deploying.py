"""Deploying and undeploying."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlcommons_py.errors import BadRequest, IllegalArgument, LimitExceeded, NotFound
from mlcommons_py.tasks.board import TASKS
from tests.lifecycle.conftest import House, description
from tests.lifecycle.hooked import Call


async def test_documents_of_a_deploy(house: House, tiny: bytes) -> None:
    """The model's document says where it shall be and is, and its task is the deploy's."""
    model_id = await house.upload(tiny)
    answer = await house.app.services.deployer.deploy(model_id, {})
    task = await house.end(answer["task_id"])
    node_id = house.app.services.node.id

    assert (answer["task_type"], answer["status"]) == ("DEPLOY_MODEL", "CREATED")
    expected = {"task_type": "DEPLOY_MODEL", "function_name": "TEXT_EMBEDDING", "model_id": model_id}
    assert {**task, **expected, "state": "COMPLETED", "worker_node": [node_id], "is_async": True} == task
    model = await house.app.services.models.get(model_id)
    assert (model["planning_worker_nodes"], model["planning_worker_node_count"]) == ([node_id], 1)
    assert (model["current_worker_node_count"], model["deploy_to_all_nodes"]) == (1, True)
    assert model["last_deployed_time"] >= model["last_registered_time"] > 1_600_000_000_000


async def test_many_deploys_at_once(house: House, tiny: bytes) -> None:
    """Deploys of one model at the same time all complete, and one worker runs."""
    model_id = await house.upload(tiny)

    tasks = await asyncio.gather(*(house.deploy(model_id) for _ in range(8)))

    assert {task["state"] for task in tasks} == {"COMPLETED"}
    assert house.app.services.deployments.ids() == [model_id]


async def test_undeploy_while_deploying(house: House, tiny: bytes) -> None:
    """An undeploy wins over a deploy that is under way: its task fails, and the model is undeployed."""
    for _ in range(5):
        model_id = await house.upload(tiny)
        task_id = (await house.app.services.deployer.deploy(model_id, {}))["task_id"]
        answer = await house.app.services.deployer.undeploy([model_id], None)

        task = await house.end(task_id)
        assert answer == {house.app.services.node.id: {"stats": {model_id: "undeployed"}}}
        assert task["state"] in ("FAILED", "COMPLETED")
        assert await house.state(model_id) == "UNDEPLOYED"
        assert house.app.services.deployments.ids() == []


async def test_deploy_and_undeploy_race(house: House, tiny: bytes) -> None:
    """Whatever comes of deploys and undeploys at the same time, document and workers agree."""
    model_id = await house.upload(tiny)
    deployer = house.app.services.deployer
    for _ in range(6):
        answers = await asyncio.gather(
            deployer.deploy(model_id, {}),
            deployer.undeploy([model_id], None),
            deployer.deploy(model_id, {}),
            deployer.undeploy([model_id], None),
        )
        for answer in answers:
            if "task_id" in answer:
                await house.end(str(answer["task_id"]))
        running = house.app.services.deployments.ids() == [model_id]
        assert await house.state(model_id) == ("DEPLOYED" if running else "UNDEPLOYED")


async def test_bad_model_is_given_up(house: House, tiny: bytes) -> None:
    """A file that cannot be served fails the deploy for good: nothing tries it again."""
    torn = tiny[:1000]
    model_id = await house.upload(torn, **description(torn))

    task = await house.deploy(model_id)

    assert task["state"] == "FAILED"
    assert list(json.loads(task["error"])) == [house.app.services.node.id]
    model = await house.app.services.models.get(model_id)
    assert (model["model_state"], model["planning_worker_nodes"]) == ("DEPLOY_FAILED", [])
    assert model["state_reason"] in task["error"]
    assert house.app.services.keeper.pending() == []


async def test_passing_trouble_is_outlived(house: House, tiny: bytes) -> None:
    """A deploy that meets something passing, here a directory that cannot be written, succeeds when it is gone."""
    model_id = await house.proven(tiny)
    converted = house.app.services.operator.data / "converted"
    aside = converted.with_name("aside")
    await asyncio.to_thread(converted.rename, aside)
    await asyncio.to_thread(converted.write_text, "in the way")
    task_id = (await house.app.services.deployer.deploy(model_id, {}))["task_id"]

    async def runs() -> bool:
        return bool((await house.app.services.tasks.get(task_id))["state"] == "RUNNING")

    await house.until(runs)
    await asyncio.sleep(0.2)  # an attempt at least
    assert await runs()

    await asyncio.to_thread(converted.unlink)
    await asyncio.to_thread(aside.rename, converted)

    assert (await house.end(task_id))["state"] == "COMPLETED"
    assert await house.state(model_id) == "DEPLOYED"


async def test_dimension_of_a_proven_model_stays(house: House, tiny: bytes) -> None:
    """A dimension that the model does not have is refused at the change, with both numbers."""
    services = house.app.services
    model_id = await house.proven(tiny)

    with pytest.raises(BadRequest, match="is 64, but the model's embeddings have 32"):
        await services.changer.update(
            model_id,
            {"model_config": {"embedding_dimension": 64}},
        )

    await services.changer.update(
        model_id,
        {"model_config": {"embedding_dimension": 32}},
    )


async def test_predict_does_not_wait_for_what_was_given_up(house: House, tiny: bytes) -> None:
    """A predict that waits for a model on its way back is answered when the model is given up."""
    services = house.app.services
    model_id = await house.proven(tiny)
    node_id = services.node.id
    await services.models.change(
        model_id,
        lambda model: replace(
            model,
            model_state="DEPLOYED",
            planning_worker_nodes=[node_id],
            last_deployed_time=1,
            model_config={**model.config, "embedding_dimension": 7},
        ),
    )
    predicting = asyncio.create_task(services.predictor.predict(model_id, {"text_docs": ["rain"]}))
    await services.keeper.restore()

    with pytest.raises(IllegalArgument, match="Model not ready yet"):
        async with asyncio.timeout(20):
            await predicting


async def test_node_is_full(build: Callable[..., Any], tiny: bytes) -> None:
    """More models than max_model_on_node are refused in the task; room that is made is used."""
    house: House = await build(max_model_on_node=1)
    first, second = await house.upload(tiny), await house.upload(tiny)
    assert (await house.deploy(first))["state"] == "COMPLETED"

    task = await house.deploy(second)

    assert "Exceed max local model per node limit" in task["error"]
    await house.app.services.deployer.undeploy([first], None)
    assert (await house.deploy(second))["state"] == "COMPLETED"


async def test_refusals(build: Callable[..., Any], tiny: bytes) -> None:
    """Deploys and undeploys that cannot be are refused in ML Commons' words."""
    house: House = await build(max_deploy_model_tasks_per_node=0)
    model_id = await house.upload(tiny)
    deployer = house.app.services.deployer

    with pytest.raises(NotFound, match="Failed to find model"):
        await deployer.deploy("nobody", {})
    with pytest.raises(IllegalArgument, match="Don't allow custom deployment plan"):
        await deployer.deploy(model_id, {"node_ids": ["x"]})
    with pytest.raises(LimitExceeded, match="exceed max running task limit"):
        await deployer.deploy(model_id, {})
    with pytest.raises(IllegalArgument, match="Must set specific model ids to undeploy"):
        await deployer.undeploy([], None)
    with pytest.raises(NotFound, match="Failed to find model"):
        await deployer.undeploy([model_id, "nobody"], None)
    assert await deployer.undeploy([model_id], ["another node"]) == {}


async def test_local_models_off(build: Callable[..., Any], tiny: bytes) -> None:
    """With local models switched off nothing is registered, deployed or called."""
    house: House = await build()
    model_id = await house.upload(tiny)
    house.app.services.settings.transient["plugins.ml_commons.local_model.enabled"] = False

    with pytest.raises(BadRequest, match=r"local_model\.enabled"):
        await house.app.services.deployer.deploy(model_id, {})
    with pytest.raises(BadRequest, match=r"local_model\.enabled"):
        await house.upload(tiny)
    with pytest.raises(BadRequest, match=r"local_model\.enabled"):
        await house.app.services.predictor.predict(model_id, {"text_docs": ["a"]})


async def test_new_options_replace_the_worker(house: House, tiny: bytes) -> None:
    """A deploy after a change of the model's config runs it the new way."""
    services = house.app.services
    model_id = await house.upload(tiny)
    await house.deploy(model_id)
    before = services.deployments.get(model_id)
    await services.changer.update(
        model_id,
        {"model_config": {"compute_type": "int8"}},
    )

    await house.deploy(model_id)

    after = services.deployments.get(model_id)
    assert before is not None
    assert after is not None
    assert (before.options.compute_type, after.options.compute_type) == ("float32", "int8")
    assert not before.stats().up


async def test_reason_of_a_failure_that_comes_before_the_task(house: House) -> None:
    """A model that cannot be served is given up by whoever finds it planned; the task that comes then says why."""
    services = house.app.services
    nothing = b"no archive at all"
    model_id = await house.upload(nothing)

    def creates_task(call: Call) -> bool:
        return call.name == "put" and call.index == TASKS and call.source.get("task_type") == "DEPLOY_MODEL"

    async with house.store.stopped(creates_task) as stop:
        deploying = asyncio.create_task(services.deployer.deploy(model_id, {}))
        await stop.reached.wait()
        await services.keeper.reconcile()

        async def given_up() -> bool:
            return await house.state(model_id) == "DEPLOY_FAILED"

        await house.until(given_up)
    task = await house.end((await deploying)["task_id"])

    assert task["state"] == "FAILED"
    assert "undeployed" not in task["error"]
    assert "archive" in task["error"]

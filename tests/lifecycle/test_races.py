"""What happens when two things happen at once: each test holds one of them at a chosen write or read."""

import asyncio
import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlcommons_py.errors import Conflict, InvalidModel, LimitExceeded, MLCommonsError
from mlcommons_py.models.documents import MODELS, chunk_id
from mlcommons_py.models.uploads import Uploads
from mlcommons_py.tasks.board import TASKS
from tests.lifecycle.conftest import House, description
from tests.store.hooked import Call


def completes(call: Call) -> bool:
    """Pick the write that ends a deploy task well."""
    return call.name == "put" and call.index == TASKS and call.source.get("state") == "COMPLETED"


def becomes_deployed(call: Call) -> bool:
    """Pick the write that calls a model deployed."""
    return call.name == "put" and call.index == MODELS and call.source.get("model_state") == "DEPLOYED"


async def test_wrong_chunk_beside_the_last_one(house: House, tiny: bytes) -> None:
    """A differing chunk that races with the last right one never ends in a registered model with wrong content."""
    services = house.app.services
    content = tiny + b"." * 10_000_000
    chunks = [content[:10_000_000], content[10_000_000:]]
    said = {
        **description(content),
        "total_chunks": 2,
        "model_content_hash_value": hashlib.sha256(content).hexdigest(),
    }
    model_id = (await services.registrar.register_meta(said))["model_id"]
    await services.registrar.upload_chunk(model_id, 0, chunks[0])

    async with house.store.stopped(lambda call: call.name == "put" and call.doc_id == chunk_id(model_id, 0)) as stop:
        wrong = asyncio.create_task(Uploads(services.models).upload(model_id, 0, b"x" * 10_000_000))
        await stop.reached.wait()
        right = asyncio.create_task(Uploads(services.models).upload(model_id, 1, chunks[1]))
        await asyncio.wait([right], timeout=0.5)
    outcomes = await asyncio.gather(wrong, right, return_exceptions=True)

    model = await services.models.model(model_id)
    assert any(isinstance(one, MLCommonsError) for one in outcomes)
    assert model.model_state == "REGISTERING"
    assert "model content changed" in await services.models.chunks.shortfall(model_id, model)
    assert await Uploads(services.models).upload(model_id, 0, chunks[0])
    await services.models.chunks.verify(model_id, await services.models.model(model_id))


async def test_damaged_model_takes_the_right_chunk(house: House, tiny: bytes) -> None:
    """A registered model whose stored content is not what it announced is mended by uploading the right chunk."""
    services = house.app.services
    model_id = await house.proven(tiny)
    model = await services.models.model(model_id)
    await services.models.chunks.put(model_id, model, 0, b"damaged")

    with pytest.raises(InvalidModel, match="model content changed"):
        await services.registrar.upload_chunk(model_id, 0, b"other")
    assert await house.state(model_id) == "REGISTERING"
    await services.registrar.upload_chunk(model_id, 0, tiny)

    assert await house.state(model_id) == "REGISTERED"
    with pytest.raises(Conflict):
        await services.registrar.upload_chunk(model_id, 0, b"other")


async def test_restore_beside_an_undeploy(build: Callable[..., Any], tiny: bytes) -> None:
    """A model that is undeployed while the start reads what should be deployed does not come up."""
    first: House = await build()
    model_id = await first.upload(tiny)
    await first.deploy(model_id)
    await first.close()

    second: House = await build()
    services = second.app.services
    planned = {"term": {"planning_worker_nodes": services.node.id}}

    def finds_planned(call: Call) -> bool:
        return call.name == "search" and planned in call.source.get("query", {}).get("bool", {}).get("filter", [])

    async with second.store.stopped(finds_planned, after=True) as stop:
        restoring = asyncio.create_task(second.app.reconciler.restore())
        await stop.reached.wait()
        await services.deployer.undeploy([model_id], None)
    await restoring

    async def idle() -> bool:
        return not services.keeper.pending()

    await second.until(idle)
    model = await services.models.model(model_id)
    assert (model.model_state, model.planning_worker_nodes) == ("UNDEPLOYED", [])
    assert services.deployments.ids() == []


async def test_restore_leaves_tasks_of_this_run_alone(build: Callable[..., Any], tiny: bytes) -> None:
    """The start neither fails nor undoes what a client began while it was still under way."""
    house: House = await build()
    (house.app.services.operator.data / "models").mkdir()
    path = house.app.services.operator.data / "models" / "tiny.zip"
    path.write_bytes(tiny)

    async with house.store.stopped(lambda call: call.name == "put" and "chunk_number" in call.source) as stop:
        body = {**description(tiny), "url": f"file://{path}"}
        answer = await house.app.services.registrar.register(body, deploy=False)
        await stop.reached.wait()
        await house.app.reconciler.restore()

    assert (await house.end(answer["task_id"]))["state"] == "COMPLETED"
    assert await house.found(MODELS) == 2


async def test_undeploy_while_tasks_are_ended(house: House, tiny: bytes) -> None:
    """A deploy task is never left running by an undeploy that comes while it is being ended."""
    model_id = await house.proven(tiny)
    async with house.store.stopped(completes) as stop:
        task_id = (await house.app.services.deployer.deploy(model_id, {}))["task_id"]
        await stop.reached.wait()
        await house.app.services.deployer.undeploy([model_id], None)

    assert (await house.end(task_id))["state"] in ("FAILED", "COMPLETED")
    assert await house.state(model_id) == "UNDEPLOYED"


async def test_second_deploy_while_the_first_ends(house: House, tiny: bytes) -> None:
    """A deploy that comes while the one before it is ending is carried out too."""
    model_id = await house.proven(tiny)
    async with house.store.stopped(completes) as stop:
        first = (await house.app.services.deployer.deploy(model_id, {}))["task_id"]
        await stop.reached.wait()
        second = (await house.app.services.deployer.deploy(model_id, {}))["task_id"]

    assert [(await house.end(task_id))["state"] for task_id in (first, second)] == ["COMPLETED", "COMPLETED"]
    assert await house.state(model_id) == "DEPLOYED"


async def test_redeploy_of_a_model_that_became_unfit(house: House, tiny: bytes) -> None:
    """A running model whose config has been contradicted since stops running when it is deployed again."""
    services = house.app.services
    model_id = await house.proven(tiny)
    await house.deploy(model_id)
    config = {"embedding_dimension": 7, "compute_type": "int8"}
    await services.models.change(model_id, lambda model: replace(model, model_config={**model.config, **config}))

    assert (await house.deploy(model_id))["state"] == "FAILED"

    assert services.deployments.ids() == []
    await services.registrar.delete(model_id)


async def test_deleted_while_it_comes_up(house: House, tiny: bytes) -> None:
    """A model whose document vanishes while it comes up does not stay running."""
    services = house.app.services
    model_id = await house.proven(tiny)
    async with house.store.stopped(becomes_deployed) as stop:
        task_id = (await services.deployer.deploy(model_id, {}))["task_id"]
        await stop.reached.wait()
        await house.store.delete(MODELS, model_id)

    assert (await house.end(task_id))["state"] == "FAILED"
    assert services.deployments.ids() == []


async def test_lost_files_are_made_again(house: House, tiny: bytes) -> None:
    """A worker that dies after its converted model was lost, or damaged, comes back by itself."""
    services = house.app.services
    model_id = await house.proven(tiny)
    await house.deploy(model_id)
    deployment = services.deployments.get(model_id)
    assert deployment is not None
    converted = services.operator.data / "converted" / "models"

    for damage in (lambda path: shutil.rmtree(path), lambda path: (path / "tokenizer.json").write_text("{}")):
        (path,) = converted.iterdir()
        damage(path)
        os.kill(deployment.stats().pid, signal.SIGKILL)
        answer = await services.predictor.predict(model_id, {"text_docs": ["rain"]})
        assert len(answer["inference_results"]) == 1


async def test_damage_that_no_stamp_shows_is_found(house: House, tiny: bytes) -> None:
    """Files that changed without a trace in size or time are read again when a worker cannot load them."""
    services = house.app.services
    model_id = await house.proven(tiny)
    await house.deploy(model_id)
    deployment = services.deployments.get(model_id)
    assert deployment is not None
    (path,) = (services.operator.data / "converted" / "models").iterdir()
    file = path / "tokenizer.json"
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"?")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    os.kill(deployment.stats().pid, signal.SIGKILL)

    answer = await services.predictor.predict(model_id, {"text_docs": ["rain"]})
    assert len(answer["inference_results"]) == 1


async def test_limit_of_deploys_holds_for_those_at_once(build: Callable[..., Any], tiny: bytes) -> None:
    """Of deploys that come together no more are taken than may run."""
    house: House = await build(max_deploy_model_tasks_per_node=1)
    models = [await house.proven(tiny) for _ in range(4)]

    answers = await asyncio.gather(
        *(house.app.services.deployer.deploy(one, {}) for one in models), return_exceptions=True
    )

    assert [isinstance(one, LimitExceeded) for one in answers].count(False) == 1


async def test_limit_of_models_holds_for_those_at_once(build: Callable[..., Any], tiny: bytes) -> None:
    """Of models that come up together no more stay than there may be."""
    house: House = await build(max_model_on_node=1)
    models = [await house.proven(tiny) for _ in range(3)]

    tasks = await asyncio.gather(*(house.deploy(one) for one in models))

    assert sorted(task["state"] for task in tasks) == ["COMPLETED", "FAILED", "FAILED"]
    assert len(house.app.services.deployments.ids()) == 1


async def test_limit_of_registrations_holds_for_those_at_once(build: Callable[..., Any], tiny: bytes) -> None:
    """Of registrations that come together no more are taken than may run; afterwards there is room again."""
    house: House = await build(max_register_model_tasks_per_node=2)
    registrar = house.app.services.registrar
    body = {**description(tiny), "url": "http://127.0.0.1:1/none.zip"}

    answers = await asyncio.gather(*(registrar.register(body, deploy=False) for _ in range(6)), return_exceptions=True)

    taken = [one for one in answers if not isinstance(one, BaseException)]
    assert len(taken) == 2
    for one in taken:
        await house.end(one["task_id"])
    await house.end((await registrar.register(body, deploy=False))["task_id"])


async def test_model_that_does_not_come_up_takes_no_place(build: Callable[..., Any], tiny: bytes) -> None:
    """A model that is tried again in the background, its task failed, does not keep others from being deployed."""
    house: House = await build(max_deploy_model_tasks_per_node=1)
    services = house.app.services
    first, second = await house.proven(tiny), await house.proven(tiny + b"\0")
    converted = services.operator.data / "converted"
    aside = converted.with_name("aside")
    converted.rename(aside)
    converted.write_text("in the way")
    assert (await house.deploy(first))["state"] == "FAILED"
    assert services.keeper.pending() == [first]

    await services.deployer.deploy(second, {})

    await services.registrar.delete(first)
    assert first not in services.keeper.pending()
    converted.unlink()
    aside.rename(converted)


async def test_changed_options_are_taken_up(house: House, tiny: bytes) -> None:
    """A change of how a deployed model runs replaces its worker, at once and as a whole."""
    services = house.app.services
    config = {**description(tiny)["model_config"], "framework_type": "huggingface_transformers", "pooling_mode": "mean"}
    model_id = await house.proven(tiny, model_config=config)
    await house.deploy(model_id)
    before = services.deployments.get(model_id)

    await services.changer.update(model_id, {"model_config": {"framework_type": "sentence_transformers"}})
    answer = await services.predictor.predict(model_id, {"text_docs": ["rain"]})
    assert answer["inference_results"][0]["output"][0]["shape"] == [1, 32]  # the old worker's, and its shape

    async def replaced() -> bool:
        return services.deployments.get(model_id) is not before

    await house.until(replaced)
    answer = await services.predictor.predict(model_id, {"text_docs": ["rain"]})
    assert answer["inference_results"][0]["output"][0]["shape"] == [32]
    assert await house.state(model_id) == "DEPLOYED"


async def test_recent_never_keeps_what_is_older(house: House, tiny: bytes) -> None:
    """A model read while it was being changed is not kept as the recent one."""
    services = house.app.services
    model_id = await house.proven(tiny)

    async with house.store.stopped(lambda call: call.name == "get" and call.doc_id == model_id, after=True) as stop:
        reading = asyncio.create_task(services.models.recent(model_id))
        await stop.reached.wait()
        await services.changer.update(model_id, {"is_enabled": False})
    await reading

    assert (await services.models.recent(model_id)).is_enabled is False

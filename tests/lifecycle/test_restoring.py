"""What a start makes of the states that a kill may leave between two writes."""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py.errors import InvalidModel
from mlcommons_py.models.documents import GROUPS, MODELS
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.uploads import Uploads
from mlcommons_py.tasks.board import TASKS, TaskType
from tests.lifecycle.conftest import House, description
from tests.store.hooked import Call


async def test_proof_that_never_began_is_made_up_for(build: Callable[..., Any], tiny: bytes) -> None:
    """A model that was registered when the service was killed, before its proof began, is proven at the next start."""
    first: House = await build()
    model_id = (await first.app.services.registrar.register_meta(description(tiny)))["model_id"]
    assert await Uploads(first.app.services.models).upload(model_id, 0, tiny)
    await first.close()

    second: House = await build()
    await second.restore()

    hits = (await second.app.services.tasks.search({}))["hits"]["hits"]
    assert [hit["_source"]["task_type"] for hit in hits] == ["REGISTER_MODEL"]
    assert (await second.end(hits[0]["_id"]))["state"] == "COMPLETED"


async def test_url_registration_that_a_kill_cut_off_is_undone(
    build: Callable[..., Any], tiny: bytes, tmp_path: Path
) -> None:
    """What a registration from a URL had stored when a kill cut it off is gone after the start; its task failed."""
    first: House = await build()
    services = first.app.services
    (tmp_path / "archive.zip").write_bytes(tiny)
    task_id = await services.tasks.create(TaskType.REGISTER_MODEL, "TEXT_EMBEDDING")
    await services.tasks.start(task_id)
    model_id = await services.models.create(Registration.of_meta(description(tiny)), task_id=task_id)
    await services.tasks.attach(task_id, model_id)
    await services.models.chunks.split(model_id, await services.models.model(model_id), tmp_path / "archive.zip")
    (tmp_path / "download-cut-off").mkdir()
    await first.close()

    second: House = await build()
    await second.restore()

    task = await second.end(task_id)
    assert task["state"] == "FAILED"
    assert "register it again" in task["error"]
    assert await second.found(MODELS) == 0
    assert not (tmp_path / "download-cut-off").exists()
    assert await second.found(GROUPS) == 0


async def test_undoing_that_a_kill_cut_off_is_finished(build: Callable[..., Any], tiny: bytes) -> None:
    """Of a registration from a URL whose undoing a kill cut off, too, neither group nor model is left in the end."""
    first: House = await build()
    services = first.app.services
    task_id = await services.tasks.create(TaskType.REGISTER_MODEL, "TEXT_EMBEDDING")
    model_id = await services.models.create(Registration.of_meta(description(tiny)), task_id=task_id)
    await services.tasks.attach(task_id, model_id)
    await first.close()

    second: House = await build()
    async with second.store.stopped(lambda call: call.name == "delete", after=True) as stop:
        restoring = asyncio.create_task(second.app.reconciler.restore())
        await stop.reached.wait()
        second.store.cut()
        restoring.cancel()
    await asyncio.gather(restoring, return_exceptions=True)
    await second.close()
    third: House = await build()
    await third.restore()

    assert (await third.end(task_id))["state"] == "FAILED"
    assert (await third.found(MODELS), await third.found(GROUPS)) == (0, 0)


async def test_group_and_first_model_are_stored_together(house: House, tiny: bytes) -> None:
    """Wherever a kill cuts off a registration that founds a group, the group is there with its model or not at all."""
    services, whole = house.app.services, False
    for calls in itertools.count():
        made = itertools.count()

        def is_next(_: Call, made: Iterator[int] = made, calls: int = calls) -> bool:
            return next(made) == calls

        async with house.store.stopped(is_next) as stop:
            said = {**description(tiny), "name": f"killed after {calls} calls"}
            registering = asyncio.create_task(services.registrar.register_meta(said))
            reached = asyncio.create_task(stop.reached.wait())
            await asyncio.wait([registering, reached], return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
            whole = registering.done()
            house.store.cut()
        await asyncio.gather(registering, return_exceptions=True)
        house.store.mend()
        groups = {hit["_id"] for hit in (await services.groups.search({"size": 100}))["hits"]["hits"]}
        assert groups == {model.model_group_id for _, model in await services.models.matching({"match_all": {}})}
        if whole:
            break
    assert len(groups) > 1  # one was stored and not answered, the last was answered


async def test_model_that_its_task_does_not_name_is_undone(build: Callable[..., Any], tiny: bytes) -> None:
    """A model that a registration from a URL had just created when a kill cut it off is removed."""
    first: House = await build()
    services = first.app.services
    task_id = await services.tasks.create(TaskType.REGISTER_MODEL, "TEXT_EMBEDDING")
    said = {**description(tiny), "model_id": "chosen"}
    await services.models.create(Registration.of_meta(said), task_id=task_id)
    await first.close()

    second: House = await build()
    await second.restore()

    assert (await second.end(task_id))["state"] == "FAILED"
    assert await second.found(MODELS) == 0


async def test_upload_is_completed(build: Callable[..., Any], tiny: bytes) -> None:
    """A model whose last chunk was stored when a kill came is registered and proven."""
    first: House = await build()
    services = first.app.services
    model_id = (await services.registrar.register_meta(description(tiny)))["model_id"]
    await services.models.chunks.put(model_id, await services.models.model(model_id), 0, tiny)
    await first.close()

    second: House = await build()
    await second.restore()

    assert await second.state(model_id) == "REGISTERED"
    (hit,) = (await second.app.services.tasks.search({}))["hits"]["hits"]
    assert (await second.end(hit["_id"]))["state"] == "COMPLETED"


async def test_upload_of_wrong_content_says_so(build: Callable[..., Any], tiny: bytes) -> None:
    """A model whose chunks are all there, but not what was announced, stays unregistered, and says why."""
    first: House = await build()
    services = first.app.services
    model_id = (await services.registrar.register_meta(description(tiny)))["model_id"]
    await services.models.chunks.put(model_id, await services.models.model(model_id), 0, tiny[:-1])
    await first.close()

    second: House = await build()
    await second.restore()

    model = await second.app.services.models.model(model_id)
    shortfall = await second.app.services.models.chunks.shortfall(model_id, model)
    assert model.model_state == "REGISTERING"
    assert f"model_content_size_in_bytes is {len(tiny)}, the chunks have {len(tiny) - 1}" in shortfall


async def test_upload_under_way_is_left_alone(build: Callable[..., Any], tiny: bytes) -> None:
    """A model whose chunks are still coming can be completed after the start."""
    first: House = await build()
    model_id = (await first.app.services.registrar.register_meta(description(tiny)))["model_id"]
    await first.close()

    second: House = await build()
    await second.restore()
    await second.app.services.registrar.upload_chunk(model_id, 0, tiny)

    assert await second.state(model_id) == "REGISTERED"


async def test_wish_to_deploy_is_kept(build: Callable[..., Any], tiny: bytes) -> None:
    """A registration with deploy=true that was cut off after its model was registered goes on to deploy it."""
    first: House = await build()
    services = first.app.services
    task_id = await services.tasks.create(TaskType.REGISTER_MODEL, "TEXT_EMBEDDING", deploy_model=True)
    model_id = await first.upload(tiny)
    await services.tasks.attach(task_id, model_id)
    await first.close()

    second: House = await build()
    await second.restore()

    assert (await second.end(task_id))["state"] == "COMPLETED"
    assert await second.app.services.deployments.wait_for(model_id, 30) is not None


async def test_deploy_task_of_an_undeployed_model_is_ended(build: Callable[..., Any], tiny: bytes) -> None:
    """A deploy task that a kill left running does not bring up a model that was undeployed since."""
    first: House = await build()
    services = first.app.services
    model_id = await first.upload(tiny)
    task_id = await services.tasks.create(TaskType.DEPLOY_MODEL, "TEXT_EMBEDDING", model_id)
    await services.tasks.start(task_id)
    await first.close()

    second: House = await build()
    await second.restore()

    assert (await second.end(task_id))["state"] == "FAILED"
    assert second.app.services.keeper.pending() == []
    assert await second.state(model_id) == "REGISTERED"


async def test_files_of_deleted_models_are_removed(build: Callable[..., Any], tiny: bytes, tmp_path: Path) -> None:
    """A converted model that a kill left after its model was deleted is gone after the start; others stay."""
    first: House = await build()
    models = [await first.upload(content) for content in (tiny, tiny + b"\0")]
    for model_id in models:
        await first.deploy(model_id)
        await first.app.services.deployer.undeploy([model_id], None)
    await first.app.services.models.delete(models[0])
    kept = description(tiny + b"\0")["model_content_hash_value"]
    assert len(list((tmp_path / "converted" / "models").iterdir())) == 2
    await first.close()

    second: House = await build()
    await second.restore()

    assert [path.name[:64] for path in (tmp_path / "converted" / "models").iterdir()] == [kept]


async def test_leftover_files_do_not_keep_models_down(build: Callable[..., Any], tiny: bytes, tmp_path: Path) -> None:
    """What cannot be cleaned up at a start keeps no deployed model from coming up."""
    first: House = await build()
    model_id = await first.proven(tiny)
    await first.deploy(model_id)
    await first.close()
    shutil.rmtree(tmp_path / "converted" / "staging")
    (tmp_path / "converted" / "models" / f"{'0' * 64}-safetensors-float32").mkdir()

    second: House = await build()
    staging = tmp_path / "converted" / "staging"
    staging.rmdir()
    staging.write_text("in the way")
    await second.restore()

    assert await second.app.services.deployments.wait_for(model_id, 30) is not None


async def test_lower_limit_loses_no_deployment(build: Callable[..., Any], tiny: bytes) -> None:
    """Models over a limit that was lowered since stay desired, and come back when it is raised."""
    first: House = await build()
    models = [await first.proven(tiny) for _ in range(2)]
    for model_id in models:
        await first.deploy(model_id)
    await first.close()

    second: House = await build(max_model_on_node=1)
    await second.restore()

    async def one_is_up() -> bool:
        return len(second.app.services.deployments.ids()) == 1

    await second.until(one_is_up)
    await second.close()
    third: House = await build()
    await third.app.reconciler.restore()

    async def both_are_up() -> bool:
        return third.app.services.deployments.ids() == sorted(models)

    await third.until(both_are_up)


async def test_wrong_chunk_beside_a_start(build: Callable[..., Any], tiny: bytes) -> None:
    """A wrong chunk that comes while a start completes the upload does not end in a registered model."""
    first: House = await build()
    services = first.app.services
    model_id = (await services.registrar.register_meta(description(tiny)))["model_id"]
    await services.models.chunks.put(model_id, await services.models.model(model_id), 0, tiny)
    await first.close()

    second: House = await build()
    wrong = b"x" * len(tiny)
    async with second.store.stopped(lambda call: call.name == "put" and "chunk_number" in call.source) as stop:
        uploading = asyncio.create_task(second.app.services.registrar.upload_chunk(model_id, 0, wrong))
        await stop.reached.wait()
        restoring = asyncio.create_task(second.app.reconciler.restore())
        await asyncio.wait([restoring], timeout=0.5)
    with pytest.raises(InvalidModel):
        await uploading
    await restoring

    model = await second.app.services.models.model(model_id)
    assert model.model_state == "REGISTERING"
    await second.app.services.registrar.upload_chunk(model_id, 0, tiny)
    assert await second.state(model_id) == "REGISTERED"


async def test_upload_beside_a_start_has_one_task(build: Callable[..., Any], tiny: bytes) -> None:
    """A start that meets a model whose proof is just about to begin begins no second one."""
    house: House = await build()
    async with house.store.stopped(lambda call: call.name == "put" and call.index == TASKS) as stop:
        uploading = asyncio.create_task(house.upload(tiny))
        await stop.reached.wait()
        await house.app.reconciler.restore()
    await uploading

    assert await house.found(TASKS) == 1

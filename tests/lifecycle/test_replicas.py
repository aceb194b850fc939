"""Several services over one store."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from mlcommons_py.errors import IllegalArgument, InvalidModel, MLCommonsError
from mlcommons_py.models.documents import GROUPS, MODELS, Model
from mlcommons_py.models.registration import Registration
from mlcommons_py.tasks.board import TASKS, TaskType
from tests.lifecycle.conftest import House, description
from tests.store.hooked import Call


async def model_of(house: House, model_id: str) -> Model:
    """Return a model as it is stored now."""
    return await house.app.services.models.model(model_id)


def running(house: House) -> list[str]:
    """Return what a service runs."""
    return house.app.services.deployments.ids()


async def test_deploy_is_for_all(join: Callable[..., Any], tiny: bytes) -> None:
    """A deploy through one service runs the model on all; once its task ended, the model is deployed on every one."""
    first, second = await join(), await join()
    model_id = await first.proven(tiny)

    task = await first.deploy(model_id)

    nodes = sorted([first.node_id, second.node_id])
    assert (task["state"], sorted(task["worker_node"])) == ("COMPLETED", nodes)
    assert (running(first), running(second)) == ([model_id], [model_id])
    model = await model_of(second, model_id)
    assert (model.model_state, sorted(model.planning_worker_nodes or ())) == ("DEPLOYED", nodes)
    assert (model.planning_worker_node_count, model.current_worker_node_count) == (2, 2)
    assert model.deploy_to_all_nodes is True


async def test_deployed_when_the_task_says_so(join: Callable[..., Any], tiny: bytes) -> None:
    """The last node to come up counts those that did since it looked at them: when the task ends, all are counted."""
    first, second = await join(), await join()
    model_id = await first.proven(tiny)
    await asyncio.gather(first.rest(), second.rest())

    task_id = (await first.app.services.deployer.deploy(model_id, {}))["task_id"]
    await first.app.services.keeper.settled(model_id, 30)
    await second.app.services.keeper.reconcile()
    task = await first.end(task_id)

    model = await model_of(first, model_id)
    assert (task["state"], model.model_state, model.current_worker_node_count) == ("COMPLETED", "DEPLOYED", 2)


async def test_undeploy_is_for_all(join: Callable[..., Any], tiny: bytes) -> None:
    """An undeploy through another service takes the model down everywhere before it answers."""
    first, second = await join(), await join()
    model_id = await first.proven(tiny)
    await first.deploy(model_id)

    answer = await second.app.services.deployer.undeploy([model_id], None)

    assert answer == {one.node_id: {"stats": {model_id: "undeployed"}} for one in (first, second)}
    assert (running(first), running(second)) == ([], [])
    model = await model_of(first, model_id)
    assert (model.model_state, model.planning_worker_nodes, model.current_worker_node_count) == ("UNDEPLOYED", [], 0)
    again = await first.app.services.deployer.undeploy([model_id], None)
    assert again == {one.node_id: {"stats": {model_id: "not_found"}} for one in (first, second)}


async def test_custom_plan(join: Callable[..., Any], tiny: bytes) -> None:
    """A deploy to chosen nodes runs the model there alone; more nodes can be added, and taken away one by one."""
    first, second = await join(), await join()
    deployer = first.app.services.deployer
    model_id = await first.proven(tiny)

    task = await first.end((await deployer.deploy(model_id, {"node_ids": [second.node_id]}))["task_id"])

    assert (task["state"], task["worker_node"]) == ("COMPLETED", [second.node_id])
    assert (running(first), running(second)) == ([], [model_id])
    assert (await model_of(first, model_id)).deploy_to_all_nodes is None

    async def told() -> bool:
        return bool(first.app.services.nodes.running(model_id))

    await first.until(told)
    with pytest.raises(IllegalArgument, match=r"Model already deployed to these nodes: .*not included in target"):
        await deployer.deploy(model_id, {"node_ids": [first.node_id]})
    with pytest.raises(IllegalArgument, match="no eligible node found"):
        await deployer.deploy(model_id, {"node_ids": ["nobody"]})
    both = [first.node_id, second.node_id]
    await first.end((await deployer.deploy(model_id, {"node_ids": both}))["task_id"])
    assert (running(first), running(second)) == ([model_id], [model_id])

    answer = await deployer.undeploy([model_id], [second.node_id])

    assert answer == {second.node_id: {"stats": {model_id: "undeployed"}}}
    assert (running(first), running(second)) == ([model_id], [])
    model = await model_of(first, model_id)
    assert (model.model_state, model.planning_worker_nodes) == ("DEPLOYED", [first.node_id])


async def test_new_node_runs_what_runs_on_all(join: Callable[..., Any], tiny: bytes) -> None:
    """A service that joins brings up the models that are deployed to all nodes, and not those of a custom plan."""
    first = await join()
    everywhere, here = await first.proven(tiny), await first.proven(tiny)
    await first.deploy(everywhere)
    chosen = await first.app.services.deployer.deploy(here, {"node_ids": [first.node_id]})
    await first.end(chosen["task_id"])

    second = await join()

    async def up() -> bool:
        return running(second) == [everywhere]

    await second.until(up)

    async def planned() -> bool:
        nodes = (await model_of(first, everywhere)).planning_worker_nodes or ()
        return sorted(nodes) == sorted([first.node_id, second.node_id])

    await second.until(planned)


async def test_gone_node_is_forgotten(join: Callable[..., Any], tiny: bytes) -> None:
    """A model of all nodes is, when one of them dies, deployed on those that are left."""
    first, second = await join(), await join()
    model_id = await first.proven(tiny)
    await first.deploy(model_id)

    await second.kill()

    async def forgotten() -> bool:
        model = await model_of(first, model_id)
        return (model.planning_worker_nodes, model.model_state) == ([first.node_id], "DEPLOYED")

    await first.until(forgotten)
    assert first.app.services.nodes.alive() == [first.node_id]


async def test_gone_node_of_a_custom_plan_is_missed(join: Callable[..., Any], tiny: bytes) -> None:
    """A model whose nodes were chosen is partially deployed while one is gone, and deployed when it is back."""
    first, second = await join(), await join("second")
    model_id = await first.proven(tiny)
    nodes = [first.node_id, second.node_id]
    await first.end((await first.app.services.deployer.deploy(model_id, {"node_ids": nodes}))["task_id"])
    await second.kill()

    async def missed() -> bool:
        model = await model_of(first, model_id)
        return (model.model_state, model.current_worker_node_count) == ("PARTIALLY_DEPLOYED", 1)

    await first.until(missed)
    assert sorted((await model_of(first, model_id)).planning_worker_nodes or ()) == sorted(nodes)

    await join("second")

    async def back() -> bool:
        model = await model_of(first, model_id)
        return (model.model_state, model.current_worker_node_count) == ("DEPLOYED", 2)

    await first.until(back)


async def test_deploy_task_of_a_gone_node(join: Callable[..., Any], tiny: bytes) -> None:
    """A deploy task whose nodes do not all live to its end is completed with an error that names the dead one."""
    first, second = await join(), await join()
    model_id = await first.proven(tiny)

    def deploys(call: Call) -> bool:
        return call.name == "put" and call.index == MODELS and call.source.get("model_state") == "DEPLOYED"

    async with second.store.stopped(deploys) as stop:
        task_id = (await first.app.services.deployer.deploy(model_id, {}))["task_id"]
        await stop.reached.wait()
        second.store.cut()
    await second.kill()

    task = await first.end(task_id)
    assert task["state"] == "COMPLETED_WITH_ERROR"
    assert task["error"] == f'{{"{second.node_id}":"the node is gone"}}'
    assert running(first) == [model_id]


async def test_deploy_by_a_node_that_has_just_begun(join: Callable[..., Any], tiny: bytes) -> None:
    """What a service finds of one that was killed before it began is not planned with, as if it were there."""
    killed = await join()
    model_id = await killed.proven(tiny)
    await killed.kill()
    begun = await join()

    task = await begun.deploy(model_id)

    assert (task["state"], task["worker_node"], task.get("error")) == ("COMPLETED", [begun.node_id], None)


async def test_registration_of_a_gone_node_is_taken_over(join: Callable[..., Any], tiny: bytes) -> None:
    """A proof whose node dies is made by another; the task ends as if nothing had happened."""
    first, second = await join(), await join()

    def proves(call: Call) -> bool:
        return call.name == "put" and call.index == TASKS and call.source.get("state") == "COMPLETED"

    async with second.store.stopped(proves) as stop:
        meta = await second.app.services.registrar.register_meta(description(tiny))
        model_id = str(meta["model_id"])
        await second.app.services.registrar.upload_chunk(model_id, 0, tiny)
        await stop.reached.wait()
        await second.kill()

    async def ended() -> bool:
        hits = (await first.app.services.tasks.search({}))["hits"]["hits"]
        return [hit["_source"]["state"] for hit in hits] == ["COMPLETED"]

    await first.until(ended)
    assert await first.state(model_id) == "REGISTERED"


async def test_upload_that_a_gone_node_left_complete(join: Callable[..., Any], tiny: bytes) -> None:
    """A model whose last chunk was stored when its node died is registered and proven by another."""
    first, second = await join(), await join()

    def registers(call: Call) -> bool:
        return call.name == "put" and call.index == MODELS and call.source.get("model_state") == "REGISTERED"

    model_id = str((await second.app.services.registrar.register_meta(description(tiny)))["model_id"])
    async with second.store.stopped(registers) as stop:
        uploading = asyncio.create_task(second.app.services.registrar.upload_chunk(model_id, 0, tiny))
        await stop.reached.wait()
        second.store.cut()
    with pytest.raises(MLCommonsError):
        await uploading
    await second.kill()

    async def proven() -> bool:
        hits = (await first.app.services.tasks.search({}))["hits"]["hits"]
        return [hit["_source"]["state"] for hit in hits] == ["COMPLETED"]

    await first.until(proven)
    assert await first.state(model_id) == "REGISTERED"


@pytest.mark.parametrize("when", ["the other registers the model", "the other has verified it"])
async def test_wrong_chunk_through_another_node(join: Callable[..., Any], tiny: bytes, when: str) -> None:
    """A wrong chunk that one service takes while another completes the upload never stays in a registered model."""
    first, second = await join(), await join()
    model_id = str((await first.app.services.registrar.register_meta(description(tiny)))["model_id"])

    def stores_chunk(call: Call) -> bool:
        return call.name == "put" and "chunk_number" in call.source

    def registers(call: Call) -> bool:
        return call.name == "put" and call.source.get("model_state") == "REGISTERED"

    if when == "the other registers the model":
        async with second.store.stopped(stores_chunk) as stop:
            wrong = asyncio.create_task(second.app.services.registrar.upload_chunk(model_id, 0, b"x" * len(tiny)))
            await stop.reached.wait()
            await first.app.services.registrar.upload_chunk(model_id, 0, tiny)
        outcomes = list(await asyncio.gather(wrong, return_exceptions=True))
    else:
        async with first.store.stopped(registers) as stop:
            right = asyncio.create_task(first.app.services.registrar.upload_chunk(model_id, 0, tiny))
            await stop.reached.wait()
            wrong = asyncio.create_task(second.app.services.registrar.upload_chunk(model_id, 0, b"x" * len(tiny)))
            await asyncio.wait([wrong], timeout=1)
        outcomes = list(await asyncio.gather(right, wrong, return_exceptions=True))

    assert any(isinstance(one, InvalidModel) for one in outcomes)
    assert (await model_of(first, model_id)).model_state == "REGISTERING"
    await second.app.services.registrar.upload_chunk(model_id, 0, tiny)
    assert (await model_of(first, model_id)).model_state == "REGISTERED"


async def test_chunks_through_several_services(join: Callable[..., Any], tiny: bytes) -> None:
    """A model is registered as soon as its last chunk is there, whichever came through which service, and when."""
    houses = [await join(), await join()]
    length = -(-len(tiny) // 5)
    chunks = [tiny[start : start + length] for start in range(0, len(tiny), length)]

    async def begin() -> str:
        meta = await houses[0].app.services.registrar.register_meta({**description(tiny), "total_chunks": 5})
        return str(meta["model_id"])

    async def send(model_id: str, number: int, house: House) -> None:
        await house.app.services.registrar.upload_chunk(model_id, number, chunks[number])

    for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)):
        model_id = await begin()
        for turn, number in enumerate(order):
            assert await houses[0].state(model_id) == "REGISTERING"
            await send(model_id, number, houses[turn % 2])
        assert await houses[0].state(model_id) == "REGISTERED"
    model_id = await begin()
    await asyncio.gather(*(send(model_id, number, houses[number % 2]) for number in range(5)))
    assert await houses[0].state(model_id) == "REGISTERED"


async def test_chunk_that_was_there_once(join: Callable[..., Any], tiny: bytes) -> None:
    """A model is not registered for a chunk that was stored and is gone; it is when the chunk comes again."""
    first, second = await join(), await join()
    half = len(tiny) // 2
    meta = await first.app.services.registrar.register_meta({**description(tiny), "total_chunks": 2})
    model_id = str(meta["model_id"])
    await first.app.services.registrar.upload_chunk(model_id, 0, tiny[:half])
    await second.app.services.models.chunks.remove(model_id, 0)

    await first.app.services.registrar.upload_chunk(model_id, 1, tiny[half:])
    assert await first.state(model_id) == "REGISTERING"
    await first.app.services.registrar.upload_chunk(model_id, 0, tiny[:half])
    assert await first.state(model_id) == "REGISTERED"


async def test_fetch_of_a_gone_node_is_undone(join: Callable[..., Any], tiny: bytes) -> None:
    """A registration from a URL whose node dies fails, and leaves nothing of its model."""
    first, second = await join(), await join()
    services = second.app.services
    task_id = await services.tasks.create(TaskType.REGISTER_MODEL, "TEXT_EMBEDDING")
    await services.tasks.start(task_id)
    model_id = await services.models.create(Registration.of_meta(description(tiny)), task_id=task_id)
    await services.tasks.attach(task_id, model_id)
    await second.kill()

    task = await first.end(task_id)

    assert task["state"] == "FAILED"
    assert await first.found(MODELS) == 0


async def test_live_fetch_is_left_alone(join: Callable[..., Any], tiny: bytes) -> None:
    """What a live node is fetching is neither undone nor taken over by another, however long it takes."""
    first, second = await join(), await join()
    path = second.app.services.operator.data / "tiny.zip"
    path.write_bytes(tiny)

    async with second.store.stopped(lambda call: "chunk_number" in call.source) as stop:
        body = {**description(tiny), "url": f"file://{path}"}
        task_id = (await second.app.services.registrar.register(body, deploy=False))["task_id"]
        await stop.reached.wait()
        for _ in range(20):
            await first.app.reconciler.step()
        third = await join()
        await third.app.reconciler.restore()

    assert (await first.end(task_id))["state"] == "COMPLETED"


async def test_one_group_of_a_name(join: Callable[..., Any], tiny: bytes) -> None:
    """Of groups of one name that are registered through several services at once there is one."""
    houses = [await join(), await join()]
    for number in range(25):
        name = f"group {number}"
        outcomes = await asyncio.gather(
            *(house.app.services.groups.register({"name": name}) for house in houses), return_exceptions=True
        )
        taken = [one for one in outcomes if isinstance(one, IllegalArgument)]
        (made,) = [one for one in outcomes if isinstance(one, str)]
        assert made in taken[0].reason
    assert await houses[0].found(GROUPS) == 25


async def test_models_of_one_name_share_a_group(join: Callable[..., Any], tiny: bytes) -> None:
    """Models of one name that are registered through several services at once get one group, and a version each."""
    houses = [await join(), await join()]
    for number in range(10):
        metas = await asyncio.gather(
            *(
                house.app.services.registrar.register_meta({**description(tiny), "name": f"model {number}"})
                for house in houses
                for _ in range(3)
            )
        )
        models = [await model_of(houses[0], meta["model_id"]) for meta in metas]
        assert len({model.model_group_id for model in models}) == 1
        assert sorted(int(model.model_version or 0) for model in models) == [1, 2, 3, 4, 5, 6]


async def test_no_update_is_lost(join: Callable[..., Any], tiny: bytes) -> None:
    """In 200 rounds of changes through two services, each to another key, every change is there in the end."""
    houses = [await join(), await join()]
    model_id = str((await houses[0].app.services.registrar.register_meta(description(tiny)))["model_id"])

    async def change(number: int) -> None:
        services = houses[number % 2].app.services
        body = {"model_config": {"additional_config": {}, f"key {number}": number}}
        await services.changer.update(model_id, body)

    for start in range(0, 200, 4):
        await asyncio.gather(*(change(start + one) for one in range(4)))

    config = (await model_of(houses[0], model_id)).config
    assert [config[f"key {number}"] for number in range(200)] == list(range(200))


async def test_documents_and_workers_agree_after_races(join: Callable[..., Any], tiny: bytes) -> None:
    """Whatever two services are told to do with a model at once, documents and workers agree soon after."""
    houses = [await join(), await join()]
    model_id = await houses[0].proven(tiny)
    chance = random.Random(7)
    tasks: list[str] = []
    for _ in range(15):
        deployers = [house.app.services.deployer for house in houses]
        answers = await asyncio.gather(
            *(
                one.deploy(model_id, {}) if chance.random() < 0.5 else one.undeploy([model_id], None)
                for one in deployers
            )
        )
        tasks += [one["task_id"] for one in answers if "task_id" in one]
    for task_id in tasks:
        await houses[0].end(task_id)

    async def agree() -> bool:
        model = await model_of(houses[0], model_id)
        wanted = set(model.planning_worker_nodes or ())
        up = {house.node_id for house in houses if running(house)}
        idle = not any(house.app.services.keeper.pending() for house in houses)
        state = "DEPLOYED" if wanted else "UNDEPLOYED"
        return idle and up == wanted and (model.model_state, model.current_worker_node_count) == (state, len(wanted))

    await houses[0].until(agree)


async def test_outage_of_the_store(join: Callable[..., Any], tiny: bytes) -> None:
    """While the store is away models go on answering, no node is taken for gone, and all goes on afterwards."""
    first, second = await join(), await join()
    model_id = await first.proven(tiny)
    await first.deploy(model_id)
    nodes = first.app.services.nodes.alive()

    first.store.cut()
    second.store.cut()
    await asyncio.sleep(1)  # ten heartbeats
    deployment = second.app.services.deployments.get(model_id)
    assert deployment is not None
    assert len((await deployment.embed(["rain"], urgent=True, timeout=10)).rows()) == 1
    first.store.mend()
    second.store.mend()

    other = await second.proven(tiny)
    assert (await second.deploy(other))["state"] == "COMPLETED"
    assert first.app.services.nodes.alive() == nodes
    assert (await model_of(first, model_id)).model_state == "DEPLOYED"

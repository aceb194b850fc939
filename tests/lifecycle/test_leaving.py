"""Services that are stopped, come back, or were only taken for gone."""

import asyncio
from collections.abc import Callable
from typing import Any

from mlcommons_py.models.documents import Model
from mlcommons_py.nodes import NODES
from mlcommons_py.tasks.board import TASKS, Task, TaskType
from tests.lifecycle.conftest import House, description
from tests.store.hooked import Call


async def model_of(house: House, model_id: str) -> Model:
    """Return a model as it is stored now."""
    return await house.app.services.models.model(model_id)


async def planned(house: House, model_id: str) -> list[str]:
    """Return the nodes that shall run a model."""
    return sorted((await model_of(house, model_id)).planning_worker_nodes or ())


async def still(house: House) -> None:
    """Let a service do nothing by itself any more."""
    assert house.reconciling is not None
    house.reconciling.cancel()
    await asyncio.wait([house.reconciling])


async def test_stopped_node_is_out_at_once(join: Callable[..., Any], tiny: bytes) -> None:
    """One round after a service was stopped, a model of all nodes is deployed on those that are left."""
    first, second = await join(), await join()
    model_id = await first.proven(tiny)
    await first.deploy(model_id)
    await still(first)
    await second.close()

    await first.app.services.nodes.look()
    await first.app.reconciler.step()

    assert first.app.services.nodes.alive() == [first.node_id]
    model = await model_of(first, model_id)
    assert (model.planning_worker_nodes, model.model_state) == ([first.node_id], "DEPLOYED")
    assert (model.planning_worker_node_count, model.current_worker_node_count) == (1, 1)


async def test_tasks_of_a_stopped_node_are_taken_over_at_once(join: Callable[..., Any], tiny: bytes) -> None:
    """One round after a service was stopped, another has the proof that it was making."""
    first, second = await join(), await join()

    def proves(call: Call) -> bool:
        return call.name == "put" and call.index == TASKS and call.source.get("state") == "COMPLETED"

    async with second.store.stopped(proves) as stop:
        registrar = second.app.services.registrar
        model_id = str((await registrar.register_meta(description(tiny)))["model_id"])
        await registrar.upload_chunk(model_id, 0, tiny)
        await stop.reached.wait()
        await still(first)
        await second.close()

    await first.app.services.nodes.look()
    await first.app.reconciler.step()

    ((_, task),) = await first.app.services.tasks.unfinished(everywhere=True)
    assert (task.task_type, task.worker_node) == ("REGISTER_MODEL", [first.node_id])


async def test_restart_does_not_change_the_state(join: Callable[..., Any], tiny: bytes) -> None:
    """While one of two services is stopped and started again, a model of all nodes is deployed throughout."""
    first, second = await join(), await join("second")
    model_id = await first.proven(tiny)
    await first.deploy(model_id)
    both = sorted([first.node_id, second.node_id])
    seen: set[str | None] = set()
    over = asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            seen.add((await model_of(first, model_id)).model_state)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await second.close()

    async def out() -> bool:
        return await planned(first, model_id) == [first.node_id]

    await first.until(out)
    third = await join("second")

    async def back() -> bool:
        return await planned(first, model_id) == both

    await third.until(back)
    over.set()
    await watching
    assert third.app.services.deployments.ids() == [model_id]
    assert seen == {"DEPLOYED"}


async def test_node_that_was_taken_for_gone_is_back(join: Callable[..., Any], tiny: bytes) -> None:
    """A service that could not write for so long that the others forgot it is in the plan again, its model up still."""
    first, second = await join(), await join()
    model_id = await first.proven(tiny)
    await first.deploy(model_id)
    before = second.app.services.deployments.get(model_id)
    second.store.cut()

    async def out() -> bool:
        return await planned(first, model_id) == [first.node_id]

    await first.until(out)
    second.store.mend()

    async def back() -> bool:
        return await planned(first, model_id) == sorted([first.node_id, second.node_id])

    await first.until(back)
    assert second.app.services.deployments.get(model_id) is before


async def test_documents_of_gone_nodes_are_deleted(join: Callable[..., Any]) -> None:
    """The document of a node that is gone for long goes, and the node stays gone."""
    first, second = await join(), await join()
    await still(first)
    await second.kill()
    nodes = first.app.services.nodes

    async def is_kept(looks: int) -> bool:
        for _ in range(looks):
            await nodes.look()
        await first.app.reconciler.step()
        return await first.app.store.get(NODES, second.node_id) is not None

    assert await is_kept(50)
    assert not await is_kept(150)  # the last that it wrote may have come after its end
    await nodes.look()
    assert nodes.is_gone(second.node_id)
    assert nodes.alive() == [first.node_id]


async def test_task_of_the_plugin_s_node(join: Callable[..., Any], tiny: bytes) -> None:
    """A task of a node that the cluster lists with ML Commons' plugin goes on; when it is listed no more, it ends."""
    house = await join()
    house.store.listed = frozenset({"theirs"})
    model_id = await house.proven(tiny)
    services = house.app.services
    task_id = await services.tasks.create(TaskType.DEPLOY_MODEL, "TEXT_EMBEDDING", model_id, nodes=["theirs"])
    await still(house)
    for _ in range(20):
        await services.nodes.look()
        await house.app.reconciler.step()
    assert Task.from_json(await services.tasks.get(task_id)).state == "CREATED"

    house.store.listed = frozenset()
    for _ in range(40):
        await services.nodes.look()
        await house.app.reconciler.step()

    task = await services.tasks.get(task_id)
    assert (task["state"], task["error"]) == ("FAILED", '{"theirs":"the node is gone"}')


async def test_model_of_the_plugin_s_nodes(join: Callable[..., Any], tiny: bytes) -> None:
    """What ML Commons' plugin runs on all its nodes is neither joined, nor counted, nor undeployed by a service."""
    first = await join()
    model_id = await first.proven(tiny)
    await first.deploy(model_id)
    await still(first)
    services = first.app.services

    def theirs(model: Model) -> Model:
        told = {**model.to_json(), "planning_worker_nodes": ["theirs"], "current_worker_node_count": 1}
        del told["deploy_to_all_services"]
        return Model.from_json(told)

    await services.models.change(model_id, theirs)
    first.store.listed = frozenset({"theirs"})
    await services.nodes.look()
    await services.nodes.recognise()
    before = (await model_of(first, model_id)).to_json()

    for _ in range(20):
        await services.nodes.look()
        await first.app.reconciler.step()

    async def down() -> bool:
        return not services.residents.ids() and not services.keeper.pending()

    await first.until(down)
    await services.keeper.restore()
    await first.until(down)
    assert (await model_of(first, model_id)).to_json() == before
    answer = await services.deployer.undeploy([model_id], None)

    assert answer == {first.node_id: {"stats": {model_id: "not_found"}}}
    assert (await model_of(first, model_id)).to_json() == before


async def test_plan_beside_the_plugin(join: Callable[..., Any], tiny: bytes) -> None:
    """Beside ML Commons' plugin a deploy names its nodes, for what is deployed to all the plugin plans on its own."""
    house = await join()
    model_id = await house.proven(tiny)
    house.store.listed = frozenset({"theirs"})
    await house.app.services.nodes.recognise()

    assert (await house.deploy(model_id))["state"] == "COMPLETED"

    model = await model_of(house, model_id)
    assert (model.planning_worker_nodes, model.deploy_to_all_nodes) == ([house.node_id], None)

"""Models of all services, and ML Commons' own plugin beside them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlcommons_py.models.documents import Model
from tests.lifecycle.conftest import House


async def model_of(house: House, model_id: str) -> Model:
    """Return a model as it is stored now."""
    return await house.app.services.models.model(model_id)


async def is_planned(house: House, model_id: str, nodes: list[str]) -> bool:
    """Return whether a model is deployed, and is to be on these nodes."""
    model = await model_of(house, model_id)
    return (model.model_state, sorted(model.planning_worker_nodes or ())) == ("DEPLOYED", sorted(nodes))


async def test_service_that_comes_later(join: Callable[..., Any], tiny: bytes) -> None:
    """What is deployed to all beside the plugin, a service that comes later runs, too; the plugin is not told."""
    first = await join()
    model_id = await first.proven(tiny)
    first.store.listed = frozenset({"theirs"})
    await first.app.services.nodes.recognise()
    await first.deploy(model_id)

    second = await join()

    await second.until(lambda: is_planned(first, model_id, [first.node_id, second.node_id]))
    assert (await model_of(first, model_id)).deploy_to_all_nodes is None


def of_the_plugin(state: str) -> Callable[[Model], Model]:
    """Return what ML Commons' plugin makes of a model of all nodes: its job, or a node of its that starts."""

    def make(model: Model) -> Model:
        return replace(
            model,
            model_state=state,
            planning_worker_nodes=["theirs"],
            planning_worker_node_count=1,
            current_worker_node_count=int(state == "DEPLOYED"),
            deploy_to_all_nodes=True,
        )

    return make


@pytest.mark.parametrize("state", ["DEPLOY_FAILED", "DEPLOYED"])
async def test_plan_that_the_plugin_changed(join: Callable[..., Any], tiny: bytes, state: str) -> None:
    """What was deployed to all before ML Commons' plugin came stays so, on the services, whatever the plugin plans."""
    first, second = await join(), await join()
    model_id = await first.proven(tiny)
    await first.deploy(model_id)
    assert (await model_of(first, model_id)).deploy_to_all_nodes is True
    workers = [one.app.services.deployments.get(model_id) for one in (first, second)]
    for one in (first, second):
        one.store.listed = frozenset({"theirs"})

    await first.app.services.models.change(model_id, of_the_plugin(state))

    both = [first.node_id, second.node_id]
    await first.until(lambda: is_planned(first, model_id, both))
    assert (await model_of(first, model_id)).deploy_to_all_nodes is None
    assert [one.app.services.deployments.get(model_id) for one in (first, second)] == workers
    third = await join()
    await first.until(lambda: is_planned(first, model_id, [*both, third.node_id]))


async def test_plugin_that_changed_no_plan(join: Callable[..., Any], tiny: bytes) -> None:
    """When ML Commons' plugin comes, what is deployed to all is told to it no more, so that its job leaves the plan."""
    house = await join()
    model_id = await house.proven(tiny)
    await house.deploy(model_id)
    house.store.listed = frozenset({"theirs"})

    async def untold() -> bool:
        return (await model_of(house, model_id)).deploy_to_all_nodes is None

    await house.until(untold)
    assert await is_planned(house, model_id, [house.node_id])


async def test_undeploy_of_what_the_plugin_planned(join: Callable[..., Any], tiny: bytes) -> None:
    """A model of all services is undeployed where the plugin has just planned it, and comes back nowhere."""
    house = await join()
    model_id = await house.proven(tiny)
    await house.deploy(model_id)
    await house.rest()
    services = house.app.services
    house.store.listed = frozenset({"theirs"})
    await services.nodes.look()
    await services.nodes.recognise()
    await services.models.change(model_id, of_the_plugin("DEPLOY_FAILED"))

    answer = await services.deployer.undeploy([model_id], None)

    assert answer == {house.node_id: {"stats": {model_id: "undeployed"}}}
    model = await model_of(house, model_id)
    assert (model.model_state, model.planning_worker_nodes, model.deploy_to_all_services) == ("UNDEPLOYED", [], None)
    await services.keeper.restore()
    assert not services.keeper.pending()

"""What deploying and undeploying makes of a model's document.

``planning_worker_nodes`` is the desired state: the nodes that shall run the model. The state and
``current_worker_node_count`` tell how far that is true.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from mlcommons_py.models.documents import Model
from mlcommons_py.models.states import ModelState
from mlcommons_py.store.record import now

_UP = (ModelState.DEPLOYED, ModelState.PARTIALLY_DEPLOYED)


def planned(model: Model, node_ids: Sequence[str], *, to_all: bool, beside: bool, runs: bool) -> Model:
    """Return a model that shall run on these nodes; ``runs`` says that it does already, the way it shall.

    ``beside`` says that ML Commons' plugin is there, which takes a model of all nodes for one of all its own.
    """
    return replace(
        model,
        model_state=model.model_state if runs and model.state in _UP else ModelState.DEPLOYING,
        planning_worker_nodes=list(node_ids),
        planning_worker_node_count=len(node_ids),
        current_worker_node_count=model.current_worker_node_count if runs else 0,
        deploy_to_all_nodes=True if to_all and not beside else None,
        deploy_to_all_services=True if to_all else None,
        state_reason=None,
        last_updated_time=now(),
    )


def joined(model: Model, node_id: str) -> Model:
    """Return a model that shall run on one more node."""
    nodes = [*(model.planning_worker_nodes or ()), node_id]
    return replace(model, planning_worker_nodes=nodes, planning_worker_node_count=len(nodes), last_updated_time=now())


def reclaimed(model: Model, foreign: Collection[str], running: Collection[str]) -> Model:
    """Return a model of all services without what ML Commons' plugin, on ``foreign`` nodes, made of its plan.

    Any other stays as it is. The plugin's job plans what is deployed to all nodes on all of its own, and on no other,
    and a node of its that starts deploys it there; neither touches a field that it does not know.
    """
    planned = list(model.planning_worker_nodes or ())
    if not (model.deploy_to_all_services and foreign and planned):
        return model
    nodes = [one for one in planned if one not in foreign] or sorted(running)
    if not nodes or (nodes == planned and model.deploy_to_all_nodes is None):
        return model
    return replace(
        model,
        planning_worker_nodes=nodes,
        planning_worker_node_count=len(nodes),
        deploy_to_all_nodes=None,
        last_updated_time=now(),
    )


def deployed(model: Model, running: Collection[str]) -> Model:
    """Return a model that has just come up on a node; ``running`` are all that run it, as far as is known here.

    Another node that came up at the same time may have counted more; that coming up makes fewer of them, nobody says.
    """
    at = now()
    up = replace(model, last_deployed_time=at, last_updated_time=at, auto_redeploy_retry_times=0, state_reason=None)
    return _counted(up, max(_count(up, running), model.current_worker_node_count or 0), coming=True)


def observed(model: Model, running: Collection[str], *, coming: bool) -> Model:
    """Return a model with its state and count as they are seen; ``coming`` says that more nodes may come up yet.

    A model that runs nowhere at the moment keeps its state: its nodes are on their way back, or the reason why not
    was noted.
    """
    return _counted(model, _count(model, running), coming=coming)


def _count(model: Model, running: Collection[str]) -> int:
    return len(set(model.planning_worker_nodes or ()).intersection(running))


def _counted(model: Model, count: int, *, coming: bool) -> Model:
    wanted, state = model.planning_worker_nodes or (), model.state
    if count >= len(wanted):
        count, state = len(wanted), ModelState.DEPLOYED
    elif count and not (coming and state is ModelState.DEPLOYING):
        state = ModelState.PARTIALLY_DEPLOYED
    return replace(model, model_state=state, current_worker_node_count=count)


def failed(model: Model, node_id: str, reason: str, running: Collection[str], *, final: bool) -> Model:
    """Return a model that does not come up on a node; with ``final`` it shall not run there any more."""
    nodes = [one for one in model.planning_worker_nodes or () if one != node_id or not final]
    left = replace(
        model,
        planning_worker_nodes=nodes,
        planning_worker_node_count=len(nodes),
        state_reason=reason,
        last_updated_time=now(),
    )
    if set(nodes) & set(running):
        return observed(left, running, coming=False)
    return replace(left, model_state=ModelState.DEPLOY_FAILED, current_worker_node_count=0)


def undeployed(model: Model, node_ids: Collection[str], running: Collection[str]) -> Model:
    """Return a model that shall not run on these nodes any more."""
    nodes = [one for one in model.planning_worker_nodes or () if one not in node_ids]
    at = now()
    left = replace(
        model,
        planning_worker_nodes=nodes,
        planning_worker_node_count=len(nodes),
        deploy_to_all_nodes=None,
        deploy_to_all_services=None,
        last_undeployed_time=at,
        last_updated_time=at,
        state_reason=None,
    )
    if nodes:
        return observed(left, running, coming=True)
    state = model.state if model.state.is_incomplete else ModelState.UNDEPLOYED
    return replace(left, model_state=state, current_worker_node_count=0)


def without(model: Model, gone: Collection[str]) -> Model:
    """Return a model of all nodes that shall not run on those that are gone."""
    nodes = [one for one in model.planning_worker_nodes or () if one not in gone]
    return replace(model, planning_worker_nodes=nodes, planning_worker_node_count=len(nodes), last_updated_time=now())

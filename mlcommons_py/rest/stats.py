"""Handlers of stats: how often what was asked for, on which node."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.models.controllers import CONTROLLERS
from mlcommons_py.models.documents import MODELS
from mlcommons_py.models.states import FunctionName
from mlcommons_py.remote.documents import CONNECTORS
from mlcommons_py.remote.keys import CONFIG
from mlcommons_py.rest.parts import Part, of_nodes
from mlcommons_py.rest.peers import HANDED_ON
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services
from mlcommons_py.tasks.board import TASKS

_INDICES = {
    "ml_model_index_status": MODELS,
    "ml_connector_index_status": CONNECTORS,
    "ml_config_index_status": CONFIG,
    "ml_task_index_status": TASKS,
    "ml_controller_index_status": CONTROLLERS,
}
CLUSTER_STATS = (*_INDICES, "ml_model_count", "ml_connector_count")
NODE_STATS = (
    "ml_jvm_heap_usage",
    "ml_executing_task_count",
    "ml_request_count",
    "ml_failure_count",
    "ml_deployed_model_count",
    "ml_circuit_breaker_trigger_count",
)
ACTION_STATS = ("ml_action_request_count", "ml_action_failure_count")
LEVELS = ("cluster", "node", "algorithm", "model", "action")
ACTIONS = ("train", "predict", "train_predict", "execute", "register", "deploy", "undeploy", "batch_predict")
_COUNTS = ("ml_model_count", "ml_connector_count")

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which stats a request wants; an empty set stands for all there are, but of ``levels`` for none."""

    levels: frozenset[str]
    cluster: frozenset[str] = frozenset()
    node: frozenset[str] = frozenset()
    action: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    algorithms: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()

    @classmethod
    def by_path(cls, stats: str, nodes: str) -> "Asked":
        """Read what a path names; stats of the cluster and of the node may be mixed."""
        names = {name.lower() for name in stats.split(",") if name}
        where = frozenset(name for name in nodes.split(",") if name)
        if not names:
            return cls(frozenset(LEVELS), nodes=where)
        node = frozenset(names.intersection(NODE_STATS))
        cluster = frozenset(_known(names - node, CLUSTER_STATS, "Wrong ML cluster level stat"))
        levels = frozenset(level for level, some in (("cluster", cluster), ("node", node)) if some)
        return cls(levels, cluster=cluster, node=node, nodes=where)

    @classmethod
    def by_body(cls, body: Mapping[str, Any]) -> "Asked":
        """Read what a body names.

        Raises:
            IllegalArgument: it names what there is none of.
        """
        functions = [str(function).lower() for function in FunctionName]
        return cls(
            levels=_known(_lower(body, "target_stat_levels"), LEVELS, "Wrong ML stat level"),
            cluster=_known(_lower(body, "cluster_level_stats"), CLUSTER_STATS, "Wrong ML cluster level stat"),
            node=_known(_lower(body, "node_level_stats"), NODE_STATS, "Wrong ML node level stat"),
            action=_known(_lower(body, "action_level_stats"), ACTION_STATS, "Wrong ML action level stat"),
            nodes=frozenset(_names(body, "node_ids")),
            algorithms=_known(_lower(body, "algorithms"), functions, "Wrong function name"),
            models=frozenset(_names(body, "models")),
            actions=_known(_lower(body, "actions"), ACTIONS, "Wrong action name"),
        )


def _names(body: Mapping[str, Any], field: str) -> list[str]:
    value = body.get(field, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise IllegalArgument(f"[{field}] must be a list of strings")
    return value


def _lower(body: Mapping[str, Any], field: str) -> list[str]:
    return [name.lower() for name in _names(body, field)]


def _known(names: Iterable[str], known: Iterable[str], wrong: str) -> frozenset[str]:
    wanted = frozenset(names)
    if not wanted.issubset(known):
        raise IllegalArgument(wrong)
    return wanted


async def stats(services: Services, request: Request) -> object:
    """GET /stats, /stats/{stat}, /{node_id}/stats, /{node_id}/stats/{stat}."""
    body = await request.json_or_none()
    if body is None:
        asked = Asked.by_path(request.params.get("stat", ""), request.params.get("node_id", ""))
    else:
        asked = Asked.by_body(body)
    shown: dict[str, Any] = {}
    if "cluster" in asked.levels and HANDED_ON not in request.headers:
        cluster = await _cluster(services)
        # Upstream counts connectors whenever it counts models.
        counts = frozenset(_COUNTS) if "ml_model_count" in asked.cluster else frozenset()
        shown.update(_only(cluster, asked.cluster and asked.cluster | counts))
    if asked.levels != {"cluster"}:

        async def here() -> Part:
            await services.elsewhere.gather()
            return _node(services, asked)

        if nodes := await of_nodes(services, request, asked.nodes, here):
            shown["nodes"] = nodes
    return shown


def _only(values: Mapping[str, Any], wanted: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not wanted or name in wanted}


async def _cluster(services: Services) -> dict[str, Any]:
    there = {stat: await services.store.exists(index) for stat, index in _INDICES.items()}
    return {
        **{stat: "green" if is_there else "non-existent" for stat, is_there in there.items()},
        "ml_connector_count": await services.connectors.count(),
        "ml_model_count": await services.models.count(),
    }


def _node(services: Services, asked: Asked) -> dict[str, Any]:
    counters = services.counters.total()
    values: dict[str, Any] = {
        "ml_jvm_heap_usage": 0,
        "ml_executing_task_count": counters.executing,
        "ml_request_count": sum(counters.requests.values()),
        "ml_failure_count": sum(counters.failures.values()),
        "ml_deployed_model_count": len(services.residents.ids()),
        "ml_circuit_breaker_trigger_count": 0,
    }
    shown = _only(values, asked.node) if "node" in asked.levels else {}
    by_algorithm = counters.by_algorithm() if asked.levels & {"algorithm", "action"} else {}
    shown["algorithms"] = _counts(by_algorithm, asked.algorithms, asked)
    shown["models"] = _counts(counters.by_model(), asked.models, asked)
    return shown


def _counts(counts: Counts, names: frozenset[str], asked: Asked) -> dict[str, Any]:
    return {
        name: {action: _only(numbers, asked.action) for action, numbers in _only(actions, asked.actions).items()}
        for name, actions in _only(counts, names).items()
    }

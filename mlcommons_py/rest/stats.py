"""Handlers of stats and profile: what runs here, and how it fares."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.models.documents import MODELS
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

CLUSTER_STATS = (
    "ml_model_index_status",
    "ml_connector_index_status",
    "ml_config_index_status",
    "ml_task_index_status",
    "ml_controller_index_status",
    "ml_model_count",
    "ml_connector_count",
)
NODE_STATS = (
    "ml_jvm_heap_usage",
    "ml_executing_task_count",
    "ml_request_count",
    "ml_failure_count",
    "ml_deployed_model_count",
    "ml_circuit_breaker_trigger_count",
)


async def stats(services: Services, request: Request) -> object:
    """GET /stats, /stats/{stat}, /{node_id}/stats, /{node_id}/stats/{stat}."""
    wanted = [name for name in request.params.get("stat", "").split(",") if name]
    for name in wanted:
        if name not in CLUSTER_STATS and name not in NODE_STATS:
            raise IllegalArgument("Wrong ML cluster level stat")
    asked = [name for name in request.params.get("node_id", "").split(",") if name]
    here = not asked or services.node.id in asked
    cluster = await _cluster(services)
    shown: dict[str, Any] = {name: value for name, value in cluster.items() if not wanted or name in wanted}
    if "ml_model_count" in wanted or "ml_connector_count" in wanted:
        shown.update(ml_model_count=cluster["ml_model_count"], ml_connector_count=cluster["ml_connector_count"])
    of_node = [name for name in NODE_STATS if name in wanted] if wanted else list(NODE_STATS)
    if of_node and here:
        values = _node(services)
        shown["nodes"] = {
            services.node.id: {
                **{name: values[name] for name in of_node},
                "algorithms": services.counters.by_algorithm(),
                "models": services.counters.by_model(),
            }
        }
    return shown


async def _cluster(services: Services) -> dict[str, Any]:
    models = await services.models.count()
    tasks = await services.tasks.count()
    settled = {True: "green", False: "non-existent"}
    return {
        "ml_config_index_status": "non-existent",
        "ml_controller_index_status": "non-existent",
        "ml_model_index_status": settled[models > 0],
        "ml_connector_index_status": "non-existent",
        "ml_task_index_status": settled[tasks > 0],
        "ml_connector_count": 0,
        "ml_model_count": models,
    }


def _node(services: Services) -> dict[str, int]:
    counters = services.counters
    return {
        "ml_jvm_heap_usage": 0,
        "ml_executing_task_count": counters.executing,
        "ml_request_count": sum(counters.requests.values()),
        "ml_failure_count": sum(counters.failures.values()),
        "ml_deployed_model_count": len(services.deployments.ids()),
        "ml_circuit_breaker_trigger_count": 0,
    }


async def profile(services: Services, request: Request) -> object:
    """GET /profile, /profile/models, /profile/models/{ids}, /profile/tasks, /profile/tasks/{ids}."""
    view = request.query.get("view", "node")
    if view not in ("node", "model"):
        raise IllegalArgument("Invalid value for view, should be model or node")
    body = await request.json_or_none() or {}
    kind = request.path.removesuffix("/").split("/profile")[1].strip("/").split("/")[0]
    model_ids = _asked(request.params.get("model_ids"), body.get("model_ids"))
    task_ids = _asked(request.params.get("task_ids"), body.get("task_ids"))
    nodes = body.get("node_ids") or [services.node.id]
    models = await _models(services, model_ids) if kind != "tasks" and services.node.id in nodes else {}
    tasks = await _tasks(services, task_ids) if kind != "models" and services.node.id in nodes else {}
    if not models and not tasks:
        return {}
    if view == "node":
        inner = {**({"tasks": tasks} if tasks else {}), **({"models": models} if models else {})}
        return {"nodes": {services.node.id: inner}}
    return {"models": {model_id: _by_model(services, one) for model_id, one in models.items()}} if models else {}


def _asked(path: str | None, body: object) -> set[str] | None:
    """Return the ids that are asked for; None for all."""
    if path:
        return set(path.split(","))
    if isinstance(body, list) and body:
        return {str(one) for one in body}
    return None


async def _models(services: Services, wanted: set[str] | None) -> dict[str, dict[str, Any]]:
    profiles: dict[str, dict[str, Any]] = {}
    for model_id in services.deployments.ids():
        deployment = services.deployments.get(model_id)
        if deployment is None or (wanted is not None and model_id not in wanted):
            continue
        document = await services.models.document(model_id)
        source: Mapping[str, Any] = {} if document is None else document.source
        numbers = deployment.stats()
        profiles[model_id] = {
            "model_state": source.get("model_state", "DEPLOYED"),
            "predictor": f"{MODELS}@{model_id}",
            "target_worker_nodes": list(source.get("planning_worker_nodes", [])),
            "worker_nodes": [services.node.id],
            "memory_size_estimation_cpu": numbers.rss,
            "memory_size_estimation_gpu": 0,
        }
        profiles[model_id]["predictor"] = f"mlcommons_py.inference.worker@{numbers.pid:x}"
        if numbers.latencies:
            profiles[model_id]["model_inference_stats"] = numbers.latencies
    return profiles


async def _tasks(services: Services, wanted: set[str] | None) -> dict[str, dict[str, Any]]:
    return {
        task_id: task.to_json()
        for task_id, task in await services.tasks.unfinished()
        if wanted is None or task_id in wanted
    }


def _by_model(services: Services, one: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in one.items() if key not in ("target_worker_nodes", "worker_nodes")}
    return {
        "target_worker_nodes": one["target_worker_nodes"],
        "worker_nodes": one["worker_nodes"],
        "nodes": {services.node.id: inner},
    }

"""Handlers of profile: what runs right now, on which node."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlcommons_py import fields
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.rest.parts import Part, of_nodes
from mlcommons_py.rest.peers import HANDED_ON
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

Profiles = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose profiles a request wants: ids, or None for all there are."""

    models: frozenset[str] | None
    tasks: frozenset[str] | None
    nodes: frozenset[str]

    @classmethod
    def of(cls, kind: str, ids: str, body: Mapping[str, Any]) -> "Asked":
        """Read what a path (``models``, ``tasks`` or neither, and its list of ids) and a body ask for.

        A body that names neither models nor tasks leaves it to the path which are meant.
        """
        listed = frozenset(one for one in ids.split(",") if one)
        models = frozenset(fields.texts(body, "model_ids") or []) | (listed if kind == "models" else frozenset())
        tasks = frozenset(fields.texts(body, "task_ids") or []) | (listed if kind == "tasks" else frozenset())
        all_models = fields.boolean(body, "return_all_models") is True
        all_tasks = fields.boolean(body, "return_all_tasks") is True
        if not (models or tasks or all_models or all_tasks):
            all_models, all_tasks = kind != "tasks", kind != "models"
        nodes = frozenset(fields.texts(body, "node_ids") or [])
        return cls(None if all_models else models, None if all_tasks else tasks, nodes)


async def profile(services: Services, request: Request) -> object:
    """GET /profile, /profile/models, /profile/models/{ids}, /profile/tasks, /profile/tasks/{ids}."""
    view = request.query.get("view", "node")
    if view not in ("node", "model"):
        raise IllegalArgument(f"view must be node or model, not [{view}]")
    kind = request.path.partition("/profile")[2].strip("/").partition("/")[0]
    ids = request.params.get("model_ids", request.params.get("task_ids", ""))
    asked = Asked.of(kind, ids, await request.json_or_none() or {})

    async def here() -> Part:
        await services.elsewhere.gather()
        parts = {"tasks": await _tasks(services, asked.tasks), "models": await _models(services, asked.models)}
        return {name: part for name, part in parts.items() if part}

    nodes = await of_nodes(services, request, asked.nodes, here)
    if not nodes:
        return {}
    # Another node that asks turns the whole around, if that is wanted.
    return {"models": _by_model(nodes)} if view == "model" and HANDED_ON not in request.headers else {"nodes": nodes}


async def _models(services: Services, wanted: frozenset[str] | None) -> Profiles:
    profiles: Profiles = {}
    for model_id in (*services.deployments.ids(), *services.remotes.ids()):
        if wanted is None or model_id in wanted:
            measured = _measured(services, model_id)
            if measured is not None:
                profiles[model_id] = {**await _deployed(services, model_id), **measured}
    return profiles


def _measured(services: Services, model_id: str) -> dict[str, Any] | None:
    """Return what is measured of a model in its worker, or of its calls; None where it is neither here."""
    deployment = services.deployments.get(model_id)
    if deployment is not None:
        numbers = deployment.stats()
        return {
            "predictor": f"mlcommons_py.inference.worker@{numbers.pid:x}",
            **({"model_inference_stats": numbers.latencies} if numbers.latencies else {}),
            "memory_size_estimation_cpu": numbers.rss,
            "memory_size_estimation_gpu": 0,
        }
    latencies = services.remotes.latencies(model_id)
    if latencies is None:
        return None
    summary = latencies.summary()
    return {
        "predictor": f"mlcommons_py.inference.remote@{id(latencies):x}",
        **({"predict_request_stats": summary} if summary else {}),
    }


async def _deployed(services: Services, model_id: str) -> dict[str, Any]:
    document = await services.models.document(model_id)
    source: Mapping[str, Any] = {} if document is None else document.source
    return {
        "model_state": source.get("model_state", "DEPLOYED"),
        "target_worker_nodes": list(source.get("planning_worker_nodes", [])),
        "worker_nodes": _merged([services.node.id], services.nodes.running(model_id)),
    }


async def _tasks(services: Services, wanted: frozenset[str] | None) -> Profiles:
    return {
        task_id: task.to_json()
        for task_id, task in await services.tasks.unfinished()
        if wanted is None or task_id in wanted
    }


def _by_model(nodes: Mapping[str, Part]) -> Profiles:
    """Return the profiles of all nodes, put together by model; what runs there is said of each node."""
    shown: Profiles = {}
    outside = ("target_worker_nodes", "worker_nodes")
    for node_id, part in nodes.items():
        for model_id, one in part.get("models", {}).items():
            whole = shown.setdefault(model_id, {"target_worker_nodes": [], "worker_nodes": [], "nodes": {}})
            whole.update({key: _merged(whole[key], one[key]) for key in outside})
            whole["nodes"][node_id] = {key: value for key, value in one.items() if key not in outside}
    for part in nodes.values():
        for task_id, task in part.get("tasks", {}).items():
            shown.setdefault(str(task.get("model_id")), {}).setdefault("tasks", {})[task_id] = task
    return shown


def _merged(ones: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return what is in either, once, those of the first first."""
    return list(dict.fromkeys((*ones, *others)))

"""Deploying and undeploying, as the API asks for it."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from mlcommons_py.errors import IllegalArgument, LimitExceeded, MLCommonsError, NotFound
from mlcommons_py.lifecycle.keeper import Keeper
from mlcommons_py.models import fields
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import ModelState
from mlcommons_py.observe.counters import Counters
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.store import Written
from mlcommons_py.store.record import now
from mlcommons_py.tasks.board import Tasks, TaskType


class Deployer:
    """Changes the desired state of models, and has the keeper bring it about."""

    def __init__(
        self,
        node_id: str,
        models: Models,
        tasks: Tasks,
        keeper: Keeper,
        settings: PluginSettings,
        counters: Counters,
    ) -> None:
        self._node_id = node_id
        self._models = models
        self._tasks = tasks
        self._keeper = keeper
        self._settings = settings
        self._counters = counters
        self._beginning: Counter[str] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def deploy(self, model_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Start deploying a model and return the answer of ``_deploy``; the task tells how it went.

        Raises:
            NotFound: there is no such model.
            BadRequest: local models are switched off.
            IllegalArgument: chunks are missing, or the nodes are not to be chosen.
            LimitExceeded: ``max_deploy_model_tasks_per_node`` models are being deployed already.
        """
        model = await self._known(model_id)
        with self._counters.counted(model.algorithm, "deploy", model_id):
            return await self._deploy(model_id, model, body)

    async def _deploy(self, model_id: str, model: Model, body: Mapping[str, Any]) -> dict[str, Any]:
        self._settings.check_local_models()
        self._check_nodes(fields.texts(body, "node_ids"))
        if model.state.is_incomplete:
            raise IllegalArgument(await self._models.chunks.shortfall(model_id, model))
        with self._slot(model_id):
            async with self._turn(model_id):
                task_id = await self._tasks.create(TaskType.DEPLOY_MODEL, model.algorithm, model_id)
                try:
                    await self._keeper.want(model_id, task_id)
                except MLCommonsError as fault:
                    await self._tasks.fail(task_id, fault.reason)
                    raise
        return {"task_id": task_id, "task_type": TaskType.DEPLOY_MODEL, "status": "CREATED"}

    async def undeploy(self, model_ids: Sequence[str], node_ids: Sequence[str] | None) -> dict[str, Any]:
        """Undeploy models and return the answer of ``_undeploy``: what became of each on this node.

        Raises:
            IllegalArgument: no model is named.
            NotFound: one of them does not exist; the others stay as they are.
        """
        if not model_ids:
            raise IllegalArgument("Must set specific model ids to undeploy")
        known = {model_id: await self._known(model_id) for model_id in model_ids}
        if node_ids and self._node_id not in node_ids:
            return {}
        stats: dict[str, str] = {}
        for model_id, model in known.items():
            with self._counters.counted(model.algorithm, "undeploy", model_id):
                stats[model_id] = await self._undeploy(model_id)
        return {self._node_id: {"stats": stats}}

    async def _undeploy(self, model_id: str) -> str:
        async with self._turn(model_id):
            at = now()

            def make(model: Model) -> Model:
                return replace(
                    model,
                    model_state=model.state if model.state.is_incomplete else ModelState.UNDEPLOYED,
                    planning_worker_nodes=[],
                    planning_worker_node_count=0,
                    current_worker_node_count=0,
                    deploy_to_all_nodes=None,
                    last_undeployed_time=at,
                    last_updated_time=at,
                    state_reason=None,
                )

            await self._models.change(model_id, make)  # first of all: a kill after it leaves nothing deployed
            was_up = await self._keeper.drop(model_id)
        return "undeployed" if was_up else "not_found"

    async def delete(self, model_id: str) -> tuple[Model, Written]:
        """Delete a model that is not deployed, with its chunks, and what may still run or try to; return what it was.

        Raises:
            NotFound: there is no such model.
            BadRequest: it is deployed.
        """
        async with self._turn(model_id):
            deleted = await self._models.delete(model_id)
            await self._keeper.drop(model_id)
        return deleted

    def _turn(self, model_id: str) -> asyncio.Lock:
        return self._turns.setdefault(model_id, asyncio.Lock())

    @contextmanager
    def _slot(self, model_id: str) -> Iterator[None]:
        """Hold one of the places that ``max_deploy_model_tasks_per_node`` gives, until the keeper counts the model."""
        busy = {*self._keeper.awaited(), *self._beginning}
        if model_id not in busy and len(busy) >= self._settings["max_deploy_model_tasks_per_node"]:
            raise LimitExceeded("exceed max running task limit")
        self._beginning[model_id] += 1
        try:
            yield
        finally:
            self._beginning[model_id] -= 1
            if not self._beginning[model_id]:
                del self._beginning[model_id]

    async def _known(self, model_id: str) -> Model:
        document = await self._models.document(model_id)
        if document is None:
            raise NotFound("Failed to find model")
        return Model.from_json(document.source)

    def _check_nodes(self, node_ids: Sequence[str] | None) -> None:
        if not node_ids:
            return
        if not self._settings["allow_custom_deployment_plan"]:
            raise IllegalArgument("Don't allow custom deployment plan")
        if self._node_id not in node_ids:
            raise IllegalArgument("no eligible node found")

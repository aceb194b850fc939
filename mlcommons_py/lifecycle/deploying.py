"""Deploying and undeploying, as the API asks for it."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakValueDictionary

from mlcommons_py import fields
from mlcommons_py.errors import IllegalArgument, LimitExceeded, NotFound, Unavailable
from mlcommons_py.lifecycle import plan
from mlcommons_py.lifecycle.keeper import Keeper
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registry import Models
from mlcommons_py.nodes import Nodes
from mlcommons_py.observe.counters import Counters
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.store import Document, Written
from mlcommons_py.tasks.board import Tasks, TaskState, TaskType

_SETTLE_SECONDS = 5.0
"""How long a deploy waits until a remote model's connector was read."""

_AGAIN_SECONDS = 1.0
"""How long calls of a remote model that could not be deployed are refused before it is tried again."""

_UNSURE_SECONDS = 15.0
"""How long a deploy waits until this node, which has just begun, knows which of the others live."""

_PEER_SECONDS = 5.0
"""How long an undeploy waits for other nodes to carry it out; they do anyway."""


class Deployer:
    """Changes the desired state of models, and has the keeper bring it about."""

    def __init__(
        self,
        node_id: str,
        nodes: Nodes,
        models: Models,
        tasks: Tasks,
        keeper: Keeper,
        settings: PluginSettings,
        counters: Counters,
    ) -> None:
        self._node_id = node_id
        self._nodes = nodes
        self._models = models
        self._tasks = tasks
        self._keeper = keeper
        self._settings = settings
        self._counters = counters
        self._beginning: Counter[str] = Counter()
        self._failed: dict[str, tuple[float, str]] = {}
        self._for_calls: dict[str, asyncio.Task[None]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def deploy(self, model_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Start deploying a model and return the answer of ``_deploy``; the task tells how it went.

        A remote model, of which nothing has to come up, is deployed on this node when the answer is given.

        Raises:
            NotFound: there is no such model.
            BadRequest: models of its kind are switched off.
            IllegalArgument: chunks are missing, or the nodes are not to be chosen.
            LimitExceeded: ``max_deploy_model_tasks_per_node`` models are being deployed already.
        """
        document = await self._document(model_id)
        model = Model.from_json(document.source)
        with self._counters.counted(model.algorithm, "deploy", model_id):
            return await self._deploy(document, model, body)

    async def _deploy(self, document: Document, model: Model, body: Mapping[str, Any]) -> dict[str, Any]:
        model_id = document.id
        self._settings.check_models(remote=model.is_remote)
        chosen = fields.texts(body, "node_ids")
        await self._nodes.look(ages=False)
        if not model.is_remote:  # of a remote model nothing has to come up, and a call may wait for it
            await self._nodes.until(lambda: not self._nodes.unsure(), _UNSURE_SECONDS)
        await self._nodes.recognise(now=False)
        nodes = self._eligible(chosen)
        if model.state.is_incomplete:
            raise IllegalArgument(await self._models.chunks.shortfall(model_id, model))
        with nullcontext() if model.is_remote else self._slot(model_id):  # of a remote model nothing has to come up
            async with self._turn(model_id):
                task_id = await self._plan(document, nodes, to_all=not chosen)
        if model.is_remote:
            await self._keeper.settled(model_id, _SETTLE_SECONDS)
        status = TaskState.COMPLETED if model.is_remote else TaskState.CREATED
        return {"task_id": task_id, "task_type": TaskType.DEPLOY_MODEL, "status": status}

    async def deploy_for_call(self, model_id: str) -> None:
        """Deploy a remote model that is called before anybody deployed it; return when it is, or will not be.

        Raises:
            MLCommonsError: as :meth:`deploy`.
            Unavailable: it could not be deployed a moment ago.
        """
        calling = self._for_calls.get(model_id)
        if calling is None:
            calling = self._for_calls[model_id] = asyncio.create_task(self._deploy_unless_there(model_id))
            calling.add_done_callback(lambda _: self._for_calls.pop(model_id))
        await asyncio.shield(calling)

    async def _deploy_unless_there(self, model_id: str) -> None:
        failed, reason = self._failed.get(model_id, (-math.inf, ""))
        if time.monotonic() - failed < _AGAIN_SECONDS:
            raise Unavailable(f"model {model_id} cannot be deployed: {reason}")
        if self._keeper.runs(model_id, await self._known(model_id)):
            return
        await self.deploy(model_id, {})
        model = await self._known(model_id)
        self._failed.pop(model_id, None)
        if not self._keeper.runs(model_id, model):
            self._failed[model_id] = time.monotonic(), model.state_reason or "it was undeployed"

    async def _plan(self, known: Document, nodes: Sequence[str], *, to_all: bool) -> str:
        """Make it the desired state that nodes run a model, and return the task that ends when they do."""
        model_id = known.id

        def make(model: Model) -> Model:
            runs = list(model.planning_worker_nodes or ()) == list(nodes) and self._keeper.runs(model_id, model)
            if not to_all:
                self._check_kept(model_id, model, nodes)
            return plan.planned(model, nodes, to_all=to_all, beside=bool(self._nodes.foreign), runs=runs)

        # The model before the task: whoever finds the task finds the model planned, or undeployed since.
        changed = await self._models.change(model_id, make, known)
        if changed is None:
            raise NotFound("Failed to find model")
        algorithm, state = changed[0].algorithm, TaskState.RUNNING
        task_id = await self._tasks.create(TaskType.DEPLOY_MODEL, algorithm, model_id, nodes=nodes, state=state)
        if self._node_id in nodes:
            self._keeper.wait_for(model_id, task_id)
        return task_id

    def _check_kept(self, model_id: str, model: Model, nodes: Sequence[str]) -> None:
        """Refuse a plan that leaves out a node which runs the model."""
        planned = model.planning_worker_nodes or ()
        left = [one for one in self._nodes.running(model_id) if one in planned and one not in nodes]
        if left:
            raise IllegalArgument(
                f"Model already deployed to these nodes: [{', '.join(left)}], but they are not included in target"
                " node ids. Undeploy model from these nodes if don't need them any more.Undeploy from old nodes before"
                " try to deploy model on new nodes. Or include all old nodes on your target nodes."
            )

    async def undeploy(self, model_ids: Sequence[str], node_ids: Sequence[str] | None) -> dict[str, Any]:
        """Undeploy models and return the answer of ``_undeploy``: what became of each on this node.

        Raises:
            IllegalArgument: no model is named.
            NotFound: one of them does not exist; the others stay as they are.
        """
        if not model_ids:
            raise IllegalArgument("Must set specific model ids to undeploy")
        known = {model_id: await self._known(model_id) for model_id in dict.fromkeys(model_ids)}
        await self._nodes.look(ages=False)
        nodes = [one for one in self._nodes.alive() if not node_ids or one in node_ids]
        answer: dict[str, Any] = {node_id: {"stats": {}} for node_id in nodes}
        for model_id, model in known.items():
            with self._counters.counted(model.algorithm, "undeploy", model_id):
                dropped = await self._undeploy(model_id, node_ids, nodes)
            for node_id in nodes:
                answer[node_id]["stats"][model_id] = "undeployed" if node_id in dropped else "not_found"
        return answer

    async def _undeploy(self, model_id: str, chosen: Sequence[str] | None, nodes: Sequence[str]) -> set[str]:
        """Undeploy a model from nodes, or from all; return those that had it or were to have it."""
        async with self._turn(model_id):
            running = set(self._nodes.running(model_id))
            before: set[str] = set()

            def make(model: Model) -> Model | None:
                own = plan.reclaimed(model, self._nodes.foreign, running)
                before.clear()
                before.update(own.planning_worker_nodes or ())
                theirs = frozenset() if own.deploy_to_all_services else self._nodes.foreign
                gone = set(chosen or before) - theirs
                if (chosen or before & theirs) and not before & gone:
                    return None
                return plan.undeployed(own, gone, running - gone)

            await self._models.change(model_id, make)  # first of all: a kill after it leaves nothing deployed
            dropped = {one for one in nodes if one in before or one in running}
            if self._node_id in nodes:
                was_up = await self._keeper.drop(model_id)
                dropped = dropped | {self._node_id} if was_up else dropped - {self._node_id}
            await self._nodes.until(lambda: not dropped & set(self._nodes.running(model_id)), _PEER_SECONDS)
        return dropped

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
        return Model.from_json((await self._document(model_id)).source)

    async def _document(self, model_id: str) -> Document:
        document = await self._models.document(model_id)
        if document is None:
            raise NotFound("Failed to find model")
        return document

    def _eligible(self, chosen: Sequence[str] | None) -> list[str]:
        """Return the nodes that live, of those chosen or of all."""
        alive = self._nodes.alive()
        if not chosen:
            return alive
        if not self._settings["allow_custom_deployment_plan"]:
            raise IllegalArgument("Don't allow custom deployment plan")
        if not (eligible := [one for one in alive if one in chosen]):
            raise IllegalArgument("no eligible node found")
        return eligible

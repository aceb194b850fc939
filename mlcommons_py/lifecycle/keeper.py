"""Keeps deployed what should be deployed on this node.

The desired state of a model is in its document: this node's id among ``planning_worker_nodes``. The keeper brings such
models up, at the start of the service and whenever one is deployed, tries again for ever with backoff where something
passing is in the way, and gives up only on a model file that cannot be served. Workers that die later are restarted by
their :class:`~mlcommons_py.inference.deployments.Deployment`.
"""

import asyncio
import logging
import random
from dataclasses import replace

import orjson

from mlcommons_py.errors import InvalidModel, MLCommonsError, ResourceNotFound
from mlcommons_py.inference.deployments import Deployments
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.resources import WORKER_BYTES, check_memory
from mlcommons_py.models.documents import Model, now
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import ModelState
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.tasks.board import Tasks, TaskType

log = logging.getLogger(__name__)

PATIENCE = 3
"""Attempts after which a deploy task ends as failed; the keeper itself goes on."""

LONGEST_WAIT = 300.0


class Keeper:
    """Brings models up and takes them down on this node."""

    def __init__(
        self,
        node_id: str,
        models: Models,
        tasks: Tasks,
        proof: Proof,
        deployments: Deployments,
        settings: PluginSettings,
    ) -> None:
        self._node_id = node_id
        self._models = models
        self._tasks = tasks
        self._proof = proof
        self._deployments = deployments
        self._settings = settings
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, list[str]] = {}
        self._returning: set[str] | None = None

    async def restore(self) -> None:
        """Bring up again what was deployed here, and go on with deployments that the last run was killed in."""
        for task_id, task in await self._tasks.unfinished():
            if task.task_type == TaskType.DEPLOY_MODEL and task.model_id is not None:
                await self.want(task.model_id, task_id)
        for model_id, _ in await self._models.matching({"term": {"planning_worker_nodes": self._node_id}}):
            if model_id not in self._coming:
                self._start(model_id)
        self._returning = set(self._coming)

    def pending(self) -> list[str]:
        """Return the models that should be deployed and are not yet."""
        return sorted(self._coming)

    def returning(self) -> list[str] | None:
        """Return the models of the last run that are not back yet; None while they are not known.

        One that failed several times over is not counted: the others need not wait for it.
        """
        return None if self._returning is None else sorted(self._returning)

    async def want(self, model_id: str, task_id: str) -> None:
        """Make it the desired state that this node has the model, and end the task when it has."""
        deployed = await self._runs_as_wanted(model_id)

        def make(model: Model) -> Model:
            return replace(
                model,
                model_state=ModelState.DEPLOYED if deployed else ModelState.DEPLOYING,
                planning_worker_nodes=[self._node_id],
                planning_worker_node_count=1,
                current_worker_node_count=1 if deployed else 0,
                deploy_to_all_nodes=True,
                state_reason=None,
                last_updated_time=now(),
            )

        if await self._models.change(model_id, make) is None:
            await self._tasks.fail(task_id, self._error("Failed to find model"))
            return
        await self._tasks.start(task_id)
        if deployed:
            await self._tasks.complete(task_id)
            return
        self._waiting.setdefault(model_id, []).append(task_id)
        if model_id not in self._coming:
            self._start(model_id)

    async def _runs_as_wanted(self, model_id: str) -> bool:
        """Whether the model runs already, the way its document says now."""
        deployment, document = self._deployments.get(model_id), await self._models.document(model_id)
        if deployment is None or document is None or model_id in self._coming:
            return False
        return deployment.options == self._proof.options(Model.from_json(document.source))

    async def drop(self, model_id: str) -> bool:
        """Take a model down; return whether it was up, or on its way."""
        coming = self._coming.get(model_id)
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])
            await self._end_tasks(model_id, "the model was undeployed while it was being deployed")
        deployed = await self._deployments.undeploy(model_id)
        return deployed or coming is not None

    async def close(self) -> None:
        """Stop bringing models up; what is desired stays desired."""
        for coming in list(self._coming.values()):
            coming.cancel()
        if self._coming:
            await asyncio.wait(list(self._coming.values()))

    def _start(self, model_id: str) -> None:
        coming = asyncio.create_task(self._bring_up(model_id), name=f"deploy {model_id}")
        self._coming[model_id] = coming
        coming.add_done_callback(lambda _: self._came(model_id))

    def _came(self, model_id: str) -> None:
        self._coming.pop(model_id, None)
        if self._returning is not None:
            self._returning.discard(model_id)

    async def _bring_up(self, model_id: str) -> None:
        attempt = 0
        while True:
            try:
                await self._deploy(model_id)
            except ResourceNotFound as fault:
                await self._end_tasks(model_id, fault.reason)
                return
            except InvalidModel as fault:
                log.warning("model %s cannot be deployed: %s", model_id, fault.reason)
                await self._failed(model_id, fault.reason, final=True)
                return
            except Exception as fault:  # noqa: BLE001 - whatever it was, it may be gone the next time
                attempt += 1
                reason = fault.reason if isinstance(fault, MLCommonsError) else f"{type(fault).__name__}: {fault}"
                log.warning("deploying model %s failed (attempt %d): %s", model_id, attempt, reason)
                if attempt == PATIENCE:
                    await self._failed(model_id, reason, final=False)
                await asyncio.sleep(min(LONGEST_WAIT, 0.5 * 2**attempt) * random.uniform(0.5, 1))  # noqa: S311
            else:
                return

    async def _deploy(self, model_id: str) -> None:
        model = await self._models.model(model_id)
        self._check_room(model_id)
        directory, manifest = await self._proof.prepare(model_id, model)
        weights = await asyncio.to_thread(lambda: (directory / "model.bin").stat().st_size)
        await asyncio.to_thread(check_memory, weights + WORKER_BYTES)
        await self._deployments.deploy(model_id, directory, self._proof.options(model))
        await self._proof.complete_config(model_id, manifest)
        at = now()
        await self._models.change(
            model_id,
            lambda read: replace(
                read,
                model_state=ModelState.DEPLOYED,
                current_worker_node_count=1,
                last_deployed_time=at,
                last_updated_time=at,
                auto_redeploy_retry_times=0,
                state_reason=None,
            ),
        )
        for task_id in self._waiting.pop(model_id, []):
            await self._tasks.complete(task_id)

    def _check_room(self, model_id: str) -> None:
        limit = self._settings["max_model_on_node"]
        others = [one for one in self._deployments.ids() if one != model_id]
        if len(others) >= limit:
            raise InvalidModel("Exceed max local model per node limit")

    async def _failed(self, model_id: str, reason: str, *, final: bool) -> None:
        await self._models.change(
            model_id,
            lambda model: replace(
                model,
                model_state=ModelState.DEPLOY_FAILED,
                state_reason=reason,
                planning_worker_nodes=[] if final else model.planning_worker_nodes,
                planning_worker_node_count=0 if final else model.planning_worker_node_count,
                current_worker_node_count=0,
                last_updated_time=now(),
            ),
        )
        await self._end_tasks(model_id, reason)
        if self._returning is not None:
            self._returning.discard(model_id)

    async def _end_tasks(self, model_id: str, reason: str) -> None:
        for task_id in self._waiting.pop(model_id, []):
            await self._tasks.fail(task_id, self._error(reason))

    def _error(self, reason: str) -> str:
        return orjson.dumps({self._node_id: reason}).decode()

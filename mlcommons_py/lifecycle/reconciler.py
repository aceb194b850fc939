"""Drives what is to what should be, for as long as the service runs."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial

from mlcommons_py.cluster_settings import ClusterSettings
from mlcommons_py.errors import Unavailable
from mlcommons_py.lifecycle import plan
from mlcommons_py.lifecycle.batch_jobs import POLL_SECONDS, BatchJobs
from mlcommons_py.lifecycle.deploying import Deployer
from mlcommons_py.lifecycle.keeper import Keeper
from mlcommons_py.lifecycle.recovery import Recovery
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registry import Models
from mlcommons_py.nodes import PATIENCE, Nodes
from mlcommons_py.tasks.board import Task, Tasks, TaskType

log = logging.getLogger(__name__)

_GONE = "the node is gone"


class Reconciler:
    """Restores what the last run left, tells the other nodes of this one, and does what they leave undone."""

    def __init__(
        self,
        nodes: Nodes,
        cluster_settings: ClusterSettings,
        models: Models,
        tasks: Tasks,
        recovery: Recovery,
        deployer: Deployer,
        keeper: Keeper,
        batch_jobs: BatchJobs,
        period: float,
    ) -> None:
        """Look at the other nodes every ``period`` seconds."""
        self._nodes = nodes
        self._cluster_settings = cluster_settings
        self._models = models
        self._tasks = tasks
        self._recovery = recovery
        self._deployer = deployer
        self._keeper = keeper
        self._batch_jobs = batch_jobs
        self._period = period
        self._polled = 0.0
        self._obstacle = ""
        self._told: set[str] = set()

    async def run(self) -> None:
        """Restore, then reconcile for ever; who is alone has only what nobody asks for to look after then."""
        if self._nodes.alone:
            await self.restore()
            await self._repeat(self._look_alone)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self._beat))
            await self._until_done(self._restore_models)
            group.create_task(self._repeat(self.step))
            await self._until_done(self._recovery.restore)
            await self._until_done(self._batch_jobs.restore)

    async def restore(self) -> None:
        """Bring about what the store says should be: what was deployed first, then what was being registered."""
        await self._until_done(self._restore_models)
        await self._until_done(self._recovery.restore)
        await self._until_done(self._batch_jobs.restore)
        if self._nodes.alone:
            await self._until_done(self._recovery.mend)

    async def _restore_models(self) -> None:
        await self._cluster_settings.load()
        await self._beat()
        await self._keeper.restore()

    async def _until_done(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do something until nothing is in the way of it: whatever was, it may be gone the next time."""
        async for _ in self._turns():
            if await self._done(step):
                return

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        async for _ in self._turns():
            await self._done(step)

    async def _turns(self) -> AsyncIterator[None]:
        """Yield again and again, a period apart; no two nodes in step for long."""
        while True:
            yield
            await asyncio.sleep(self._period * random.uniform(0.8, 1.2))  # noqa: S311 - it is no secret

    async def _done(self, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except Unavailable as fault:
            if fault.reason not in self._told:
                log.warning("waiting for the store: %s", fault.reason)
            self._told.add(fault.reason)
            self._obstacle = fault.reason
        except Exception:  # whatever is in the way of it, it may be gone the next time
            log.exception("cannot do what the store says should be done; trying again")
        else:
            self._obstacle = ""
            self._told.clear()
            return True
        return False

    def unready(self) -> list[str]:
        """Return what of the last run is not back yet; once it is, an outage of the store makes nobody unready."""
        returning = self._keeper.returning()
        if returning is None:
            return [f"the store: {self._obstacle}" if self._obstacle else "the models of the last run"]
        return returning

    async def _beat(self) -> None:
        await self._nodes.beat()
        await self._nodes.look()

    async def step(self) -> None:
        """Bring this node to what the documents say, and, where this node leads, end what gone nodes began."""
        await self._cluster_settings.load()
        await self._keeper.reconcile()
        await self._batch_jobs.settle()
        if self._nodes.leads():
            await self._nodes.recognise(now=False)
            tasks = await self._tasks.unfinished(everywhere=True)
            await self._take_over(tasks)
            await self._count({task.model_id for _, task in tasks})
            await self._recovery.mend(PATIENCE)
            await self._look_after()
            await self._nodes.forget()

    async def _look_alone(self) -> None:
        await self._batch_jobs.settle()
        await self._look_after()

    async def _look_after(self) -> None:
        """See to what nobody asks for: idle models, and batch jobs."""
        await self._undeploy_idle()
        if time.monotonic() - self._polled > POLL_SECONDS:
            self._polled = time.monotonic()
            await self._batch_jobs.poll()

    async def _undeploy_idle(self) -> None:
        """Undeploy what nobody called, on any node, for as long as its ``model_ttl_minutes`` say."""
        for model_id in self._nodes.idle():
            log.info("undeploying model %s, which was not called for as long as it may stay", model_id)
            await self._deployer.undeploy([model_id], None)

    async def _take_over(self, tasks: Sequence[tuple[str, Task]]) -> None:
        if any(self._gone(task.worker_node) for _, task in tasks):
            await self._nodes.recognise()
        for task_id, task in tasks:
            gone = self._gone(task.worker_node)
            if task.task_type == TaskType.DEPLOY_MODEL:
                await self._report(task_id, task, gone)
            elif task.task_type == TaskType.REGISTER_MODEL and gone and await self._tasks.claim(task_id, gone[0]):
                log.info("taking over task %s of node %s, which is gone", task_id, gone[0])
                await self._recovery.resume(task_id, task)
            elif gone:
                await self._batch_jobs.give_up(task_id, task)

    def _gone(self, node_ids: Collection[str] | None) -> list[str]:
        return [node_id for node_id in node_ids or () if self._nodes.is_gone(node_id)]

    async def _report(self, task_id: str, task: Task, gone: list[str]) -> None:
        for node_id in gone:
            if node_id not in (task.outcomes or {}):
                await self._tasks.report(task_id, node_id, _GONE)

    async def _count(self, coming: Collection[str | None]) -> None:
        """Write into the models' documents where they run; models of all nodes forget the nodes that are gone.

        A model that the plugin alone deployed on its nodes is left to the plugin, which alone knows where it runs.
        """
        for model_id, model in await self._models.matching({"exists": {"field": "planning_worker_nodes"}}):
            if self._counted(model_id, model, coming) is None:
                continue
            # A node tells that it runs a model before it writes itself into the plan: look after that was read.
            await self._nodes.look(ages=False)
            await self._nodes.recognise()
            await self._models.change(model_id, partial(self._recounted, model_id, model, coming))

    def _recounted(self, model_id: str, known: Model, coming: Collection[str | None], model: Model) -> Model | None:
        """Return a model as it is counted; one that changed since it was read is counted in the next round."""
        return self._counted(model_id, model, coming) if model == known else None

    def _counted(self, model_id: str, model: Model, coming: Collection[str | None]) -> Model | None:
        running = self._nodes.running(model_id)
        after = plan.reclaimed(model, self._nodes.foreign, running)
        if not after.planning_worker_nodes or self._nodes.foreign.intersection(after.planning_worker_nodes):
            return None
        if after.deploy_to_all_nodes or after.deploy_to_all_services:
            gone = self._gone(after.planning_worker_nodes)
            if gone and len(gone) < len(after.planning_worker_nodes):
                after = plan.without(after, gone)
        after = plan.observed(after, running, coming=model_id in coming)
        same = _said(after) == _said(model)
        return None if same else after


def _said(model: Model) -> tuple[object, ...]:
    """Return what a model's document says of where it runs."""
    nodes = model.planning_worker_nodes, model.deploy_to_all_nodes
    return model.model_state, model.current_worker_node_count, *nodes

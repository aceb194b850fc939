"""Keeps deployed what should be deployed on this node.

The desired state of a model is in its document: this node's id among ``planning_worker_nodes``. The keeper brings such
models up, at the start of the service and whenever one is deployed, tries again for ever with backoff where something
passing is in the way, and gives up only on a model file that cannot be served. Workers that die later are restarted by
their :class:`~mlcommons_py.inference.deployments.Deployment`.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress

from mlcommons_py.errors import InvalidModel, MLCommonsError, reason_of
from mlcommons_py.lifecycle import plan
from mlcommons_py.lifecycle.residents import Residents
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import ModelState
from mlcommons_py.nodes import Nodes
from mlcommons_py.tasks.board import Tasks, TaskType

log = logging.getLogger(__name__)

PATIENCE = 3
"""Attempts after which a deploy task ends as failed; the keeper itself goes on."""

LONGEST_WAIT = 300.0
UNDEPLOYED = "the model was undeployed while it was being deployed"


class _Unwanted(Exception):
    """The model shall not run here, or no longer; the text says why."""


class Keeper:
    """Brings models up and takes them down on this node."""

    def __init__(
        self,
        node_id: str,
        nodes: Nodes,
        models: Models,
        tasks: Tasks,
        residents: Residents,
    ) -> None:
        self._node_id = node_id
        self._nodes = nodes
        self._models = models
        self._tasks = tasks
        self._residents = residents
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._joining: set[str] = set()
        self._waiting: dict[str, list[str]] = {}
        self._told: set[str] = set()
        self._again: dict[str, Model] = {}
        self._asked: dict[str, asyncio.Event] = {}
        self._returning: set[str] | None = None
        self._closed = False

    async def restore(self) -> None:
        """Bring up again what was deployed here, and what shall run on all nodes since before this one joined them."""
        await self._nodes.recognise()
        everywhere = [{"term": {"deploy_to_all_nodes": True}}, {"term": {"deploy_to_all_services": True}}]
        for model_id, model in await self._models.matching({"bool": {"should": everywhere}}):
            if not self._is_planned(model):
                self._joining.add(model_id)
                self._start(model_id)
        await self.reconcile()
        self._returning = set(self._coming)

    async def reconcile(self) -> None:
        """Bring this node to what the documents say, whoever changed them."""
        # Tasks first: a model is planned before its task is created, so that what is not planned now is so no longer.
        tasks = await self._tasks.unfinished()
        wanted = dict(await self._models.matching({"term": {"planning_worker_nodes": self._node_id}}))
        for task_id, task in tasks:
            if task.task_type != TaskType.DEPLOY_MODEL or task.model_id is None:
                continue
            if self._node_id in (task.outcomes or {}):
                continue
            if task.model_id in wanted:
                self.wait_for(task.model_id, task_id)
            elif task_id not in self._waiting.get(task.model_id, ()):
                await self._tasks.report(task_id, self._node_id, UNDEPLOYED)
        for model_id, model in wanted.items():
            if model_id not in self._residents:
                self._start(model_id)
            else:
                self.refresh(model_id, model)
        for model_id in self._residents.ids():
            if model_id not in wanted:
                self._start(model_id)

    def pending(self) -> list[str]:
        """Return the models that are on their way up or down."""
        return sorted(self._coming)

    def awaited(self) -> list[str]:
        """Return the models whose deployment a task waits for that is not being told of its end."""
        return sorted(model_id for model_id, task_ids in self._waiting.items() if not self._told.issuperset(task_ids))

    def returning(self) -> list[str] | None:
        """Return the models of the last run that are not back yet; None while they are not known.

        One that failed several times over is not counted: the others need not wait for it.
        """
        return None if self._returning is None else sorted(self._returning)

    def runs(self, model_id: str, model: Model) -> bool:
        """Return whether a model runs here already, the way its document says."""
        return model_id not in self._coming and self._residents.is_up(model_id, model)

    def wait_for(self, model_id: str, task_id: str) -> None:
        """Bring a model up, and end this node's part of a task when that is done or failed."""
        waiting = self._waiting.setdefault(model_id, [])
        if task_id not in waiting:
            waiting.append(task_id)
            if model_id in self._asked:  # it waits for its next attempt: that is now
                self._asked[model_id].set()
        self._start(model_id)

    def refresh(self, model_id: str, model: Model) -> None:
        """Run a model that runs here as its document now says, where that is another way than before."""
        if model_id in self._residents:
            self._residents.note(model_id, model)
        if model_id in self._coming:
            self._again[model_id] = model
        elif self._residents.differs(model_id, model):
            self._start(model_id)

    async def settled(self, model_id: str, seconds: float) -> None:
        """Wait until a model is here, or will not be; for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # What was under way may have been begun for an older wish, and is begun again then.
                while (coming := self._coming.get(model_id)) is not None:
                    await asyncio.wait([coming])

    async def drop(self, model_id: str) -> bool:
        """Take a model down; return whether it was up, or on its way."""
        coming = self._coming.get(model_id)
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])
        deployed = await self._take_down(model_id)
        await self._end(model_id, self._waiting.get(model_id, ()), UNDEPLOYED)
        return deployed or coming is not None

    async def _take_down(self, model_id: str) -> bool:
        """Take a model off this node, and tell the other nodes; return whether it was here."""
        deployed = await self._residents.remove(model_id)
        if deployed:
            with suppress(MLCommonsError):  # the next heartbeat tells it too
                await self._nodes.beat()
        return deployed

    async def close(self) -> None:
        """Stop bringing models up; what is desired stays desired."""
        self._closed = True
        for coming in list(self._coming.values()):
            coming.cancel()
        if self._coming:
            await asyncio.wait(list(self._coming.values()))

    def _start(self, model_id: str) -> None:
        if model_id in self._coming or self._closed:
            return
        self._again.pop(model_id, None)
        coming = asyncio.create_task(self._tend(model_id), name=f"deploy {model_id}")
        self._coming[model_id] = coming
        coming.add_done_callback(lambda done: self._came(model_id, done))

    def _came(self, model_id: str, done: asyncio.Task[None]) -> None:
        del self._coming[model_id]
        if self._returning is not None:
            self._returning.discard(model_id)
        again = self._again.pop(model_id, None)
        # Only where it came up another way than was said meanwhile: on a slow store it would never rest otherwise.
        differs = again is not None and self._residents.differs(model_id, again)
        if not done.cancelled() and (differs or model_id in self._waiting):
            self._start(model_id)

    async def _tend(self, model_id: str) -> None:
        """Bring a model to where its document wants it, again until that is done or hopeless."""
        failures = 0
        while True:
            try:
                await self._settle(model_id)
            except Exception as fault:  # noqa: BLE001 - whatever it was, it may be gone the next time
                failures += 1
                reason = reason_of(fault)
                log.warning("deploying model %s failed (attempt %d): %s", model_id, failures, reason)
                if failures >= PATIENCE:
                    with suppress(MLCommonsError):  # of the store; the next attempt notes it again
                        await self._note_failure(model_id, reason)
                await self._pause(model_id, min(LONGEST_WAIT, 0.5 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311
            else:
                return

    async def _pause(self, model_id: str, seconds: float) -> None:
        """Wait before the next attempt, or until somebody deploys the model."""
        asked = self._asked[model_id] = asyncio.Event()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asked.wait()
        finally:
            del self._asked[model_id]

    async def _settle(self, model_id: str) -> None:
        claimed = tuple(self._waiting.get(model_id, ()))
        try:
            await self._bring_up(model_id)
        except _Unwanted as fault:
            self._joining.discard(model_id)
            await self._take_down(model_id)
            await self._end(model_id, claimed, str(fault))
        except InvalidModel as fault:
            log.warning("model %s cannot be deployed: %s", model_id, fault.reason)
            await self._take_down(model_id)
            await self._give_up(model_id, fault.reason)
            self._joining.discard(model_id)
            await self._end(model_id, claimed, fault.reason)
        else:
            await self._end(model_id, claimed)

    async def _bring_up(self, model_id: str) -> None:
        document = await self._models.document(model_id)
        if document is None:
            raise _Unwanted("Failed to find model")
        model = Model.from_json(document.source)
        if model.deploy_to_all_services and not self._is_planned(model):
            await self._nodes.recognise()
        if not self._is_wanted(model_id, model):
            failed = model.state is ModelState.DEPLOY_FAILED  # it was given up before the task was known here
            raise _Unwanted(model.state_reason if failed and model.state_reason else UNDEPLOYED)
        await self._residents.bring(model_id, model, asked=model_id in self._waiting)
        # Told before it looks: of nodes that come up at the same time, the last sees all, and counts them. So who is
        # told that the model is deployed finds it so, and can call it through any node.
        await self._nodes.beat()
        if not (await self._count_in(model_id, looks=False) or await self._count_in(model_id, looks=True)):
            raise _Unwanted(UNDEPLOYED)
        self._joining.discard(model_id)

    async def _count_in(self, model_id: str, *, looks: bool) -> bool:
        """Write into a model's document that it is up here; return whether that was done.

        Without a look at the other nodes it is only where the plan has none of them.
        """
        if looks:
            await self._nodes.look(ages=False)

        def make(read: Model) -> Model | None:
            joined = self._joined(model_id, read)
            alone = joined.planning_worker_nodes == [self._node_id] and not self._nodes.foreign
            if not self._is_wanted(model_id, read) or not (looks or alone):
                return None
            return plan.deployed(joined, self._nodes.running(model_id))

        return await self._models.change(model_id, make) is not None

    def _is_planned(self, model: Model) -> bool:
        return self._node_id in (model.planning_worker_nodes or ())

    def _is_wanted(self, model_id: str, model: Model) -> bool:
        """Return whether a model shall run here: it is planned here, or on all nodes and this one joins them.

        A node joins the plan when the model is up, so that its state stays as it is meanwhile. One that runs the model
        and is not in the plan was taken for gone, or ML Commons' plugin changed the plan. What that alone deployed
        is the plugin's.
        """
        if self._is_planned(model):
            return True
        joins = model_id in self._joining or model_id in self._residents
        if model.deploy_to_all_services:  # the state may be the plugin's, too
            return joins and bool(model.planning_worker_nodes)
        theirs = self._nodes.foreign.intersection(model.planning_worker_nodes or ())
        return bool(model.deploy_to_all_nodes) and model.state.is_deployed and joins and not theirs

    def _joined(self, model_id: str, model: Model) -> Model:
        own = plan.reclaimed(model, self._nodes.foreign, self._nodes.running(model_id))
        return own if self._is_planned(own) else plan.joined(own, self._node_id)

    async def _give_up(self, model_id: str, reason: str) -> None:
        """Note that a model cannot be served here, so that nothing tries it again before somebody deploys it."""
        await self._note(model_id, reason, final=True)

    async def _note_failure(self, model_id: str, reason: str) -> None:
        """Note that a model does not come up; it stays desired, and is tried again.

        A worker that still runs the model the way it was deployed before goes on serving.
        """
        await self._note(model_id, reason, final=False)
        await self._end(model_id, self._waiting.get(model_id, ()), reason)
        if self._returning is not None:
            self._returning.discard(model_id)

    async def _note(self, model_id: str, reason: str, *, final: bool) -> None:
        def make(model: Model) -> Model | None:
            if not self._is_wanted(model_id, model):
                return None
            joined, running = self._joined(model_id, model), self._nodes.running(model_id)
            return plan.failed(joined, self._node_id, reason, running, final=final)

        await self._models.change(model_id, make)

    async def _end(self, model_id: str, task_ids: Sequence[str], error: str | None = None) -> None:
        """End tasks that wait for a model; each is forgotten only when its end is stored."""
        for task_id in tuple(task_ids):
            self._told.add(task_id)
            try:
                await self._tasks.report(task_id, self._node_id, error)
            finally:
                self._told.discard(task_id)
            waiting = self._waiting.get(model_id, [])
            if task_id in waiting:
                waiting.remove(task_id)
            if not waiting:
                self._waiting.pop(model_id, None)

"""Recovery: registrations that a kill cut off are gone on with, or undone."""

import logging

from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.errors import InvalidModel, ResourceNotFound
from mlcommons_py.lifecycle.intake import Intake
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.registrations import Registrations
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import ModelState
from mlcommons_py.tasks.board import Task, Tasks, TaskType

log = logging.getLogger(__name__)


class Recovery:
    """Ends what a process that died had begun to register."""

    def __init__(
        self,
        models: Models,
        tasks: Tasks,
        proof: Proof,
        intake: Intake,
        converted: ConvertedModels,
        registrations: Registrations,
    ) -> None:
        self._models = models
        self._tasks = tasks
        self._proof = proof
        self._intake = intake
        self._converted = converted
        self._registrations = registrations
        self._stuck: dict[str, tuple[Model, int]] = {}

    async def restore(self) -> None:
        """End what the last run was killed in, while this run serves already.

        Proofs are taken up again, registrations from a URL are undone, files that no model has any more are removed.
        """
        await self._intake.discard_left_over()
        swept = await self._models.chunks.sweep()
        if swept:
            log.info("deleted %d chunks of models that are gone", swept)
        for task_id, task in await self._tasks.left_over():
            if task.task_type == TaskType.REGISTER_MODEL:
                await self.resume(task_id, task)
        for digest in await self._converted.contents():
            try:
                await self._proof.forget(digest)
            except OSError as fault:
                log.warning("cannot remove what was converted from %s, which no model needs: %s", digest, fault)

    async def resume(self, task_id: str, task: Task) -> None:
        """Go on with a registration whose process died, or end it."""
        if task_id in self._registrations:
            return
        document = None if task.model_id is None else await self._models.document(task.model_id)
        if task.model_id is not None and document is not None:
            model = Model.from_json(document.source)
            if model.is_remote:
                await self._tasks.complete(task_id, task.model_id)
                return
            if not model.state.is_incomplete:
                self._registrations.prove(task_id, task.model_id, deploy=task.deploy_model is True)
                return
            if model.register_task_id == task_id:
                await self._intake.undo(task.model_id)
        await self._tasks.fail(task_id, "the service stopped while it registered this model; register it again")

    async def mend(self, patience: int = 0) -> None:
        """End registrations that a kill left between two steps, and that no task tells of.

        Uploads whose last chunk was stored are completed, proofs that never began begin, and what was fetched for a
        task that is over is undone. Only what did not change over so many calls is touched: another node may be at it.
        """
        stuck = await self._models.matching({"terms": {"model_state": [ModelState.REGISTERING, ModelState.REGISTERED]}})
        ages: dict[str, tuple[Model, int]] = {}
        told = await self._tasks.models_of(TaskType.REGISTER_MODEL, [model_id for model_id, _ in stuck])
        for model_id, model in stuck:
            if model.is_remote or self._registrations.uploading(model_id):  # nothing to prove, or this node is at it
                continue
            before, age = self._stuck.get(model_id, (None, 0))
            age = age + 1 if before == model else 0
            ages[model_id] = (model, age)
            if age < patience:
                continue
            if model.state.is_incomplete:
                await self._complete(model_id, model)
            elif model_id not in told:
                await self._registrations.begin_proof(model_id, model)
        self._stuck = ages

    async def _complete(self, model_id: str, model: Model) -> None:
        """End a registration that a kill left between two steps; one whose chunks are still coming is left alone."""
        if model.register_task_id is not None:
            if not await self._tasks.runs(model.register_task_id):
                await self._intake.undo(model_id)
            return
        if model.state_reason is not None:  # its content was found wrong before
            return
        try:
            await self._registrations.complete_upload(model_id, model)
        except (InvalidModel, ResourceNotFound) as fault:
            log.warning("model %s is not registered: %s", model_id, fault.reason)

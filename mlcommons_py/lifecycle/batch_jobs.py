"""Batch jobs: work that a provider does in the background, and the tasks that stand for it here."""

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from mlcommons_py import exact, fields
from mlcommons_py.errors import (
    BadRequest,
    Conflict,
    IllegalArgument,
    LimitExceeded,
    MLCommonsError,
    NotFound,
    Unavailable,
)
from mlcommons_py.expressions import compiled
from mlcommons_py.inference.remote import Caller
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import FunctionName
from mlcommons_py.observe.counters import Counters
from mlcommons_py.plugin_settings import PREFIX, PluginSettings
from mlcommons_py.remote.documents import ActionType
from mlcommons_py.remote.input import ModelInput
from mlcommons_py.tasks.board import UNFINISHED, Task, Tasks, TaskState, TaskType

log = logging.getLogger(__name__)

POLL_SECONDS = 60

_STATES = {
    "remote_job.status_regex.completed": TaskState.COMPLETED,
    "remote_job.status_regex.cancelled": TaskState.CANCELLED,
    "remote_job.status_regex.cancelling": TaskState.CANCELLING,
    "remote_job.status_regex.expired": TaskState.EXPIRED,
    "remote_job.status_regex.failed": TaskState.FAILED,
}
"""What a job's status has to match for a state; in this order, for it may match several."""

_JOB_NAMES = ("TransformJobArn", "jobArn", "id", "invocationArn", "name", "job_id")
"""Fields of a provider's answer that name the job (Amazon, OpenAI and Cohere, Google, others)."""


class BatchJobs:
    """Starts batch jobs, asks for their state, and cancels them."""

    def __init__(
        self, models: Models, tasks: Tasks, caller: Caller, settings: PluginSettings, counters: Counters
    ) -> None:
        self._models = models
        self._tasks = tasks
        self._caller = caller
        self._settings = settings
        self._counters = counters
        self._noted: dict[str, int | None] = {}
        self._untold: dict[str, Mapping[str, Any] | None] = {}

    async def start(self, model_id: str, body: Mapping[str, Any], user: str | None = None) -> dict[str, Any]:
        """Start a job, and return the answer of ``_batch_predict``.

        Raises:
            BadRequest: batch jobs are switched off, or the model does not live at a provider.
            NotFound: there is no such model, or the provider made no job.
            LimitExceeded: ``max_batch_inference_tasks`` jobs run already.
        """
        if not self._settings["offline_batch_inference_enabled"]:
            raise BadRequest(
                "Offline Batch Inference is currently disabled. To enable it, update the setting"
                ' "plugins.ml_commons.offline_batch_inference_enabled" to true.'
            )
        model = await self._models.called(model_id)
        if not model.is_remote:
            raise BadRequest(f"model {model_id} is {model.algorithm}; batch jobs are for REMOTE models")
        given = self._given(body)
        # The task is there before the job, so that every service counts those that are about to begin.
        task_id = await self._tasks.create(TaskType.BATCH_PREDICTION, FunctionName.REMOTE, model_id)
        try:
            if (
                await self._tasks.ahead(task_id, TaskType.BATCH_PREDICTION)
                >= self._settings["max_batch_inference_tasks"]
            ):
                raise LimitExceeded(
                    "Exceeded maximum limit for BATCH_PREDICTION tasks. To increase the limit, update the"
                    " plugins.ml_commons.max_batch_inference_tasks setting."
                )
            with self._counters.counted(model.algorithm, "batch_predict", model_id):
                job = await self._begun(model_id, model, given, body.get("dlq"), user)
        except BaseException:
            self._untold[task_id] = None
            with contextlib.suppress(MLCommonsError):  # what happened first is what is to be told
                await self.settle()
            raise
        self._untold[task_id] = job
        try:
            await self.settle()
        except Unavailable as fault:  # the job is begun all the same: who hears of an error would begin another
            log.warning("cannot store yet which job task %s stands for: %s", task_id, fault.reason)
        return {"task_id": task_id, "status": TaskState.CREATED, "remote_job": job}

    async def settle(self) -> None:
        """Write into the tasks of jobs that were to begin here what became of them, as far as the store did not yet."""
        for task_id, job in list(self._untold.items()):
            if job is not None:
                await self._tasks.begun(task_id, job)
            else:
                with contextlib.suppress(NotFound, Conflict):
                    await self._tasks.delete(task_id)
            self._untold.pop(task_id, None)

    async def _begun(
        self, model_id: str, model: Model, given: ModelInput, dlq: Any, user: str | None
    ) -> dict[str, Any]:
        job = await self._asked(model_id, model, given, ActionType.BATCH_PREDICT, user)
        if not any(job.get(name) for name in _JOB_NAMES):
            raise NotFound("Unable to create batch transform job")
        return job if dlq is None else {**job, "dlq": exact.plain(dlq)}

    async def restore(self) -> None:
        """End the tasks whose jobs this node was beginning when its last run ended."""
        for task_id, task in await self._tasks.left_over():
            await self.give_up(task_id, task)

    async def give_up(self, task_id: str, task: Task) -> None:
        """End a task whose job a node was beginning that is gone; nobody knows whether the provider began it.

        Should the node be there after all, it says so itself once the provider has answered it.
        """
        if task.task_type == TaskType.BATCH_PREDICTION and task.remote_job is None:
            await self._tasks.fail(task_id, "the service ended before the provider told which job it began")

    async def shown(self, task_id: str) -> dict[str, Any]:
        """Return a task; of a job that was not over, its state is asked for first.

        Where the provider cannot be asked the task is shown as it was last known, with ``remote_error``, the reason.

        Raises:
            NotFound: there is no such task.
        """
        document = await self._tasks.get(task_id)
        task = Task.from_json(document)
        if not _is_job(task) or task.state not in UNFINISHED:
            return document
        try:
            await self._follow(task_id, task)
        except MLCommonsError as fault:
            return {**document, "remote_error": fault.reason}
        return await self._tasks.get(task_id)

    async def poll(self) -> None:
        """Ask for the state of every job of which nobody asked since the last call.

        What other nodes' clocks say in a task is only compared with what it said before.
        """
        jobs = await self._tasks.of_type(TaskType.BATCH_PREDICTION)
        before, self._noted = self._noted, {task_id: task.last_update_time for task_id, task in jobs}
        for task_id, task in jobs:
            if not _is_job(task) or task_id not in before or before[task_id] != task.last_update_time:
                continue
            try:
                await self._follow(task_id, task)
            except Unavailable:
                raise
            except MLCommonsError as fault:
                log.info("the state of batch job %s is not known: %s", task_id, fault.reason)
            else:
                after = await self._tasks.task(task_id)
                self._noted[task_id] = None if after is None else after.last_update_time

    async def _follow(self, task_id: str, task: Task) -> None:
        """Ask for a job's state, and note it; a job whose model is gone can be asked about no more."""
        model = await self._model(task_id, task)
        if model is None or task.model_id is None:
            return
        given = ModelInput(parameters=_arguments(task))
        found = await self._asked(task.model_id, model, given, ActionType.BATCH_PREDICT_STATUS)
        job = {**(task.remote_job or {}), **found}
        await self._tasks.follow(task_id, job, self._state(job))

    async def _model(self, task_id: str, task: Task) -> Model | None:
        document = None if task.model_id is None else await self._models.document(task.model_id)
        if document is None:
            await self._tasks.fail(task_id, "the model of the batch job was deleted", TaskState.UNREACHABLE)
            return None
        return Model.from_json(document.source)

    def _state(self, job: Mapping[str, Any]) -> TaskState | None:
        """Return the state that a job's own status stands for; None where it says nothing of an end."""
        for name in self._settings["remote_job.status_field"]:
            if (status := job.get(name)) is None:
                continue
            for setting, state in _STATES.items():
                if compiled(f"(?i){self._settings[setting]}", PREFIX + setting).search(str(status)):
                    return state
            return TaskState.RUNNING
        return None

    async def cancel(self, task_id: str) -> None:
        """Cancel a job.

        Raises:
            NotFound: there is no such task.
            BadRequest: it is no job.
            MLCommonsError: the provider cannot be asked, or refuses.
        """
        task = await self._tasks.task(task_id)
        if task is None:
            raise NotFound("Fail to find task")
        if not _is_job(task) or task.model_id is None:
            raise BadRequest("The task ID you provided does not have any associated batch job")
        model = await self._model(task_id, task)
        if model is None:
            raise NotFound("Failed to find model")
        await self._asked(
            task.model_id, model, ModelInput(parameters=_arguments(task)), ActionType.CANCEL_BATCH_PREDICT
        )
        await self._tasks.follow(task_id, dict(task.remote_job or {}), TaskState.CANCELLING)

    async def _asked(
        self, model_id: str, model: Model, given: ModelInput, action_type: str, user: str | None = None
    ) -> dict[str, Any]:
        """Return what the provider tells of a job; empty where it tells nothing."""
        entries = await self._caller.act(model_id, model, given, action_type, user)
        told: dict[str, Any] = {}
        for entry in entries:
            for tensor in entry.get("output", ()):
                if isinstance(found := tensor.get("dataAsMap"), Mapping):
                    told.update(exact.plain(found))
        return told

    def _given(self, body: Mapping[str, Any]) -> ModelInput:
        dlq = fields.mapping(body, "dlq")
        if dlq is not None and (not dlq.get("bucket") or not dlq.get("region")):
            raise IllegalArgument("DLQ bucketName or region cannot be null")
        given = self._caller.given(body, FunctionName.REMOTE)
        return ModelInput(algorithm=given.algorithm, parameters=given.parameters, raw=body, action_type="BATCH_PREDICT")


def _is_job(task: Task) -> bool:
    """Return whether a task stands for a job that the provider has begun."""
    is_remote = task.function_name == FunctionName.REMOTE and task.remote_job is not None
    return task.task_type == TaskType.BATCH_PREDICTION and is_remote


def _arguments(task: Task) -> dict[str, Any]:
    """Return what the templates of the actions on a job may name: its own fields, and short names of Amazon's jobs."""
    job = dict(task.remote_job or {})
    if isinstance(arn := job.get("TransformJobArn"), str):
        job["TransformJobName"] = arn.rpartition("/")[2]
    if isinstance(arn := job.get("jobArn"), str):
        job["processedJobArn"] = arn  # a template of a URL encodes what goes into it
    return job

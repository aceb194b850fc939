"""Registering models, as the API asks for it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import Any

from mlcommons_py import fields
from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.errors import (
    BadRequest,
    IllegalArgument,
    InvalidModel,
    LimitExceeded,
    MLCommonsError,
    ResourceNotFound,
)
from mlcommons_py.lifecycle.deploying import Deployer
from mlcommons_py.lifecycle.download import check_url
from mlcommons_py.lifecycle.intake import Intake
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.remote import RemoteModels
from mlcommons_py.lifecycle.vetting import Vetting
from mlcommons_py.models.documents import Model
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import FunctionName, ModelState
from mlcommons_py.models.uploads import Uploads
from mlcommons_py.observe.counters import Counters
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.settings import Operator
from mlcommons_py.store import Written
from mlcommons_py.store.client_search import exactly
from mlcommons_py.tasks.board import Task, Tasks, TaskState, TaskType

log = logging.getLogger(__name__)

_TURN_SECONDS = 0.5
_LONGEST_PAUSE = 10.0
_UPLOADS_OFF = (
    "To upload custom model from local file, user needs to enable allow_registering_model_via_local_file settings."
    " Otherwise please use opensearch pre-trained models"
)


class Registrar:
    """Takes models in."""

    def __init__(
        self,
        groups: Groups,
        models: Models,
        tasks: Tasks,
        proof: Proof,
        intake: Intake,
        deployer: Deployer,
        remote: RemoteModels,
        vetting: Vetting,
        converted: ConvertedModels,
        settings: PluginSettings,
        operator: Operator,
        counters: Counters,
    ) -> None:
        self._groups = groups
        self._models = models
        self._tasks = tasks
        self._proof = proof
        self._intake = intake
        self._deployer = deployer
        self._remote = remote
        self._vetting = vetting
        self._converted = converted
        self._settings = settings
        self._operator = operator
        self._counters = counters
        self._running: dict[str, asyncio.Task[None]] = {}
        self._registering = 0
        self._uploads = Uploads(models)
        self._uploading: Counter[str] = Counter()
        self._stuck: dict[str, tuple[Model, int]] = {}

    async def register_meta(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a registration whose chunks follow, and return the answer of ``_register_meta``.

        Raises:
            IllegalArgument: uploads are switched off, or a field is missing or wrong.
            NotFound: the group does not exist.
        """
        await self._vetting.registration(body)
        if not self._settings["allow_registering_model_via_local_file"]:
            raise IllegalArgument(_UPLOADS_OFF)
        registration = Registration.of_meta(body)
        with self._counters.counted(registration.function, "register"):
            self._check_function(registration.function)
            group_id = registration.model_group_id
            if group_id is not None and not await self._groups.exists(group_id):
                raise ResourceNotFound("Fail to find model group")
            model_id = await self._models.create(registration)
            return {"model_id": model_id, "status": "CREATED"}

    async def upload_chunk(self, model_id: str, number: int, content: bytes) -> dict[str, Any]:
        """Take one chunk in, and return the answer of ``upload_chunk``; the last one sets off the proof of the model.

        Raises:
            MLCommonsError: as :meth:`~mlcommons_py.models.uploads.Uploads.upload`.
        """
        if not self._settings["allow_registering_model_via_local_file"]:
            raise IllegalArgument(_UPLOADS_OFF + ".")
        self._uploading[model_id] += 1
        try:
            if await self._uploads.upload(model_id, number, content, self._proof.begin):
                await self._begin_proof(model_id, await self._models.model(model_id))
        finally:
            self._uploading[model_id] -= 1
            if not self._uploading[model_id]:
                del self._uploading[model_id]
        return {"status": "Uploaded"}

    async def _begin_proof(self, model_id: str, model: Model) -> None:
        running = TaskState.RUNNING
        task_id = await self._tasks.create(TaskType.REGISTER_MODEL, model.algorithm, model_id, state=running)
        self._spawn(task_id, self._prove(task_id, model_id))

    async def register(self, body: Mapping[str, Any], *, deploy: bool) -> dict[str, Any]:
        """Start a registration from a URL, and return the answer of ``_register``; the task tells how it went.

        A remote model is registered when the answer is given.

        Raises:
            IllegalArgument: URLs are switched off, the URL is not trusted, or a field is missing or wrong.
            BadRequest: the model's function is not one of this version.
            LimitExceeded: ``max_register_model_tasks_per_node`` registrations run already.
        """
        await self._vetting.registration(body)
        function_name = fields.text(body, "function_name")
        if function_name is not None and FunctionName.named(function_name) is FunctionName.REMOTE:
            return await self._remote.register(body, deploy=deploy)
        registration = Registration.of_url(body)
        self._check_function(registration.function)
        if registration.url is not None:
            check_url(registration.url, self._settings, self._operator.model_root)
        if self._registering >= self._settings["max_register_model_tasks_per_node"]:
            raise LimitExceeded("exceed max running task limit")
        self._registering += 1  # and one less when _register ends
        try:
            function, wish = registration.function, True if deploy else None
            task_id = await self._tasks.create(TaskType.REGISTER_MODEL, function, deploy_model=wish)
        except BaseException:
            self._registering -= 1
            raise
        self._spawn(task_id, self._register(task_id, registration, deploy=deploy))
        return {"task_id": task_id, "status": "CREATED"}

    async def delete(self, model_id: str) -> Written:
        """Delete a model that is not deployed, with its chunks, and its converted form if no other model needs it.

        Raises:
            NotFound: there is no such model.
            BadRequest: it is deployed.
        """
        model, written = await self._deployer.delete(model_id)
        if model.model_content_hash_value:
            await self._forget(model.model_content_hash_value)
        return written

    async def _forget(self, digest: str) -> None:
        async def is_needed() -> bool:
            return bool(await self._models.matching(exactly("model_content_hash_value", digest)))

        await self._converted.forget(digest, is_needed)

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
                await self._forget(digest)
            except OSError as fault:
                log.warning("cannot remove what was converted from %s, which no model needs: %s", digest, fault)

    async def resume(self, task_id: str, task: Task) -> None:
        """Go on with a registration whose process died, or end it."""
        if task_id in self._running:
            return
        document = None if task.model_id is None else await self._models.document(task.model_id)
        if task.model_id is not None and document is not None:
            model = Model.from_json(document.source)
            if model.is_remote:
                await self._tasks.complete(task_id, task.model_id)
                return
            if not model.state.is_incomplete:
                self._spawn(task_id, self._prove(task_id, task.model_id, deploy=task.deploy_model is True))
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
            if model.is_remote or self._uploading[model_id]:  # nothing to prove, or this node is at it
                continue
            before, age = self._stuck.get(model_id, (None, 0))
            age = age + 1 if before == model else 0
            ages[model_id] = (model, age)
            if age < patience:
                continue
            if model.state.is_incomplete:
                await self._complete(model_id, model)
            elif model_id not in told:
                await self._begin_proof(model_id, model)
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
            if await self._uploads.complete(model_id):
                await self._begin_proof(model_id, model)
        except (InvalidModel, ResourceNotFound) as fault:
            log.warning("model %s is not registered: %s", model_id, fault.reason)

    async def close(self) -> None:
        """Stop what runs; the next start ends it."""
        running = list(self._running.values())
        for one in running:
            one.cancel()
        if running:
            await asyncio.wait(running)
        await self._converted.close()

    def _check_function(self, function: FunctionName) -> None:
        self._settings.check_local_models()
        if function is not FunctionName.TEXT_EMBEDDING:
            raise BadRequest(
                f"[function_name] {function} is not supported by this version; TEXT_EMBEDDING and REMOTE are"
            )

    def _spawn(self, task_id: str, work: Coroutine[Any, Any, None]) -> None:
        self._running[task_id] = running = asyncio.create_task(work)
        running.add_done_callback(lambda _: self._running.pop(task_id))

    async def _prove(self, task_id: str, model_id: str, *, deploy: bool = False) -> None:
        try:
            try:
                _, manifest = await self._proof.prepare(model_id, await self._models.model(model_id))
            finally:
                await self._models.chunks.kept.drop(model_id)
            await self._proof.complete_config(model_id, manifest)
            if deploy:
                await self._deploy(model_id)
        except asyncio.CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it was, the task tells it
            reason = _reason(fault)
            log.warning("model %s is not fit to be deployed: %s", model_id, reason)
            with suppress(MLCommonsError):  # the task tells it too
                await self._proof.note(model_id, reason)
            await self._end(task_id, partial(self._tasks.fail, task_id, reason))
            return
        await self._end(task_id, partial(self._tasks.complete, task_id, model_id))

    async def _register(self, task_id: str, registration: Registration, *, deploy: bool) -> None:
        try:
            await self._tasks.start(task_id)
            with self._counters.counted(registration.function, "register"):
                model_id = await self._intake.take_in(task_id, registration)
            if deploy:  # the task ends when the deployment stands, so that a kill in between does not lose the wish
                await self._deploy(model_id)
        except asyncio.CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it was, the task tells it
            end = partial(self._tasks.fail, task_id, _reason(fault))
        else:
            end = partial(self._tasks.complete, task_id, model_id)
        finally:
            self._registering -= 1  # before the end is told: who hears of it may register the next
        await self._end(task_id, end)

    async def _end(self, task_id: str, write: Callable[[], Awaitable[None]]) -> None:
        """Store the end of a task, as soon as the store takes it."""
        for pause in chain((0.5, 1, 2, 4), repeat(_LONGEST_PAUSE)):
            try:
                await write()
            except MLCommonsError as fault:
                log.warning("cannot store the end of task %s yet: %s", task_id, fault.reason)
                await asyncio.sleep(pause)
            else:
                return

    async def _deploy(self, model_id: str) -> None:
        """Deploy a model that was registered for it; while too many others are being deployed, its turn is waited for.

        A refusal does not make the registration a failure; the model's document tells.
        """
        while True:
            try:
                await self._deployer.deploy(model_id, {})
            except LimitExceeded:
                await asyncio.sleep(_TURN_SECONDS)
            except MLCommonsError as fault:
                log.warning("model %s is registered, but not deployed: %s", model_id, fault.reason)
                await self._proof.note(model_id, f"registered, but not deployed: {fault.reason}")
                return
            else:
                return


def _reason(fault: Exception) -> str:
    return fault.reason if isinstance(fault, MLCommonsError) else f"{type(fault).__name__}: {fault}"

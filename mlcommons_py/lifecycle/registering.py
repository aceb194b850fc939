"""Registering models, as the API asks for it."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.errors import (
    BadRequest,
    IllegalArgument,
    InvalidModel,
    LimitExceeded,
    MLCommonsError,
    NotFound,
    ResourceNotFound,
)
from mlcommons_py.lifecycle.deploying import LOCAL_MODELS_OFF, Deployer
from mlcommons_py.lifecycle.download import check_url, fetch
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.resources import check_disk
from mlcommons_py.models.documents import CHUNK_SIZE, Model, now
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.registry import Models
from mlcommons_py.models.searching import exactly
from mlcommons_py.models.states import FunctionName, ModelState
from mlcommons_py.observe.counters import Counters
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.settings import Operator
from mlcommons_py.store import Written
from mlcommons_py.tasks.board import Tasks, TaskType

log = logging.getLogger(__name__)

_DOWNLOAD = "download-"
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
        deployer: Deployer,
        converted: ConvertedModels,
        settings: PluginSettings,
        operator: Operator,
        counters: Counters,
    ) -> None:
        self._groups = groups
        self._models = models
        self._tasks = tasks
        self._proof = proof
        self._deployer = deployer
        self._converted = converted
        self._settings = settings
        self._operator = operator
        self._counters = counters
        self._running: set[asyncio.Task[None]] = set()

    async def register_meta(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a registration whose chunks follow, and return the answer of ``_register_meta``.

        Raises:
            IllegalArgument: uploads are switched off, or a field is missing or wrong.
            NotFound: the group does not exist.
        """
        if not self._settings["allow_registering_model_via_local_file"]:
            raise IllegalArgument(_UPLOADS_OFF)
        if not body:
            raise IllegalArgument("Model meta request has empty body")
        registration = Registration.of_meta(body)
        with self._counters.counted(registration.function, "register"):
            self._check_function(registration.function)
            group_id = registration.model_group_id
            if group_id is not None and not await self._groups.exists(group_id):
                raise ResourceNotFound("Fail to find model group")
            return {"model_id": await self._models.create(registration), "status": "CREATED"}

    async def upload_chunk(self, model_id: str, number: int, content: bytes) -> dict[str, Any]:
        """Take one chunk in, and return the answer of ``upload_chunk``; the last one sets off the proof of the model.

        Raises:
            MLCommonsError: as :meth:`~mlcommons_py.models.registry.Models.upload`.
        """
        if not self._settings["allow_registering_model_via_local_file"]:
            raise IllegalArgument(_UPLOADS_OFF + ".")
        if await self._models.upload(model_id, number, content):
            await self._begin_proof(model_id, await self._models.model(model_id))
        return {"status": "Uploaded"}

    async def _begin_proof(self, model_id: str, model: Model) -> None:
        task_id = await self._tasks.create(TaskType.REGISTER_MODEL, model.algorithm, model_id)
        self._spawn(self._prove(task_id, model_id))

    async def register(self, body: Mapping[str, Any], *, deploy: bool) -> dict[str, Any]:
        """Start a registration from a URL, and return the answer of ``_register``; the task tells how it went.

        Raises:
            IllegalArgument: URLs are switched off, the URL is not trusted, or a field is missing or wrong.
            BadRequest: the model's function is not one of this version.
            LimitExceeded: ``max_register_model_tasks_per_node`` registrations run already.
        """
        if not body:
            raise IllegalArgument("Model register request has empty body")
        registration = Registration.of_url(body)
        self._check_function(registration.function)
        if registration.url is not None:
            check_url(registration.url, self._settings, self._operator.model_root)
        if len(self._running) >= self._settings["max_register_model_tasks_per_node"]:
            raise LimitExceeded("exceed max running task limit")
        task_id = await self._tasks.create(TaskType.REGISTER_MODEL, registration.function)
        self._spawn(self._register(task_id, registration, deploy=deploy))
        return {"task_id": task_id, "status": "CREATED"}

    async def delete(self, model_id: str) -> Written:
        """Delete a model that is not deployed, with its chunks, and its converted form if no other model needs it.

        Raises:
            NotFound: there is no such model.
            BadRequest: it is deployed.
        """
        model, written = await self._models.delete(model_id)
        digest = model.model_content_hash_value
        if digest and not await self._models.matching(exactly("model_content_hash_value", digest)):
            await self._converted.forget(digest)
        return written

    async def restore(self) -> None:
        """End what the last run was killed in: proofs are taken up again, registrations from a URL are undone."""
        await asyncio.to_thread(_discard_downloads, self._operator.data)
        swept = await self._models.chunks.sweep()
        if swept:
            log.info("deleted %d chunks of models that are gone", swept)
        for task_id, task in await self._tasks.unfinished():
            if task.task_type != TaskType.REGISTER_MODEL:
                continue
            document = None if task.model_id is None else await self._models.document(task.model_id)
            if task.model_id is not None and document is not None:
                if not Model.from_json(document.source).state.is_incomplete:
                    self._spawn(self._prove(task_id, task.model_id))
                    continue
                await self._undo(task.model_id, created_group=False)
            await self._tasks.fail(task_id, "the service stopped while it registered this model; register it again")
        for model_id, model in await self._models.matching(exactly("model_state", ModelState.REGISTERED)):
            if not await self._tasks.any_about(model_id, TaskType.REGISTER_MODEL):  # killed just before it
                await self._begin_proof(model_id, model)

    async def close(self) -> None:
        """Stop what runs; the next start ends it."""
        for running in self._running:
            running.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _check_function(self, function: FunctionName) -> None:
        if function is not FunctionName.REMOTE and not self._settings["local_model.enabled"]:
            raise BadRequest(LOCAL_MODELS_OFF)
        if function is not FunctionName.TEXT_EMBEDDING:
            raise BadRequest(f"[function_name] {function} is not supported by this version; TEXT_EMBEDDING is")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _prove(self, task_id: str, model_id: str) -> None:
        await self._tasks.start(task_id)
        try:
            _, manifest = await self._proof.prepare(model_id, await self._models.model(model_id))
            await self._proof.complete_config(model_id, manifest)
        except asyncio.CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it was, the task tells it
            reason = _reason(fault)
            log.warning("model %s is not fit to be deployed: %s", model_id, reason)
            await self._proof.note(model_id, reason)
            await self._tasks.fail(task_id, reason)
            return
        await self._tasks.complete(task_id, model_id)

    async def _register(self, task_id: str, registration: Registration, *, deploy: bool) -> None:
        await self._tasks.start(task_id)
        try:
            with self._counters.counted(registration.function, "register"):
                model_id = await self._take_in(task_id, registration)
        except asyncio.CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it was, the task tells it
            await self._tasks.fail(task_id, _reason(fault))
            return
        await self._tasks.complete(task_id, model_id)
        if deploy:
            with suppress(MLCommonsError):  # its own task, or the model's document, tells
                await self._deployer.deploy(model_id, {})

    async def _take_in(self, task_id: str, registration: Registration) -> str:
        if registration.url is None:
            raise IllegalArgument("This model is not in the pre-trained model list, please check your parameters.")
        if registration.digest is None:
            raise IllegalArgument(
                "Model content Hash code need to be provided when register via url. Please calculate sha 256 Hash code."
            )
        check_disk(self._operator.data, self._settings)
        group_id = registration.model_group_id
        if group_id is not None and not await self._groups.exists(group_id):
            raise NotFound("Model group not found")
        new_group = group_id is None and await self._groups.named(registration.name) is None
        directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=_DOWNLOAD, dir=self._operator.data))
        try:
            archive = directory / "archive.zip"
            size, digest = await fetch(registration.url, archive, self._settings, self._operator.model_root)
            if digest != registration.digest:
                raise InvalidModel(
                    f"model content changed: model_content_hash_value is {registration.digest},"
                    f" the SHA-256 of what the URL holds is {digest}"
                )
            whole = replace(registration, size=size, total_chunks=-(-size // CHUNK_SIZE))
            model_id = await self._models.create(whole)
            try:
                await self._tasks.attach(task_id, model_id)
                await self._store_and_prove(model_id, archive)
            except BaseException:
                await asyncio.shield(self._undo(model_id, created_group=new_group))
                raise
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        return model_id

    async def _store_and_prove(self, model_id: str, archive: Path) -> None:
        model = await self._models.model(model_id)
        await self._models.chunks.split(model_id, model, archive)
        _, manifest = await self._proof.prepare(model_id, model)
        at = now()
        await self._models.change(
            model_id,
            lambda read: replace(
                read, model_state=ModelState.REGISTERED, last_registered_time=at, last_updated_time=at
            ),
        )
        await self._proof.complete_config(model_id, manifest)

    async def _undo(self, model_id: str, *, created_group: bool) -> None:
        """Remove a model that did not become one, and the version it took."""
        try:
            model, _ = await self._models.delete(model_id)
        except NotFound:
            return
        if model.model_group_id is not None and model.model_version is not None:
            await self._groups.give_back(model.model_group_id, int(model.model_version), created=created_group)


def _discard_downloads(data: Path) -> None:
    for left in data.glob(f"{_DOWNLOAD}*"):
        shutil.rmtree(left, ignore_errors=True)


def _reason(fault: Exception) -> str:
    return fault.reason if isinstance(fault, MLCommonsError) else f"{type(fault).__name__}: {fault}"

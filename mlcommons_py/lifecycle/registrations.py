"""Registrations under way: what this process carries out of tasks of type ``REGISTER_MODEL``."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import Any

from mlcommons_py.errors import LimitExceeded, MLCommonsError, reason_of
from mlcommons_py.lifecycle.deploying import Deployer
from mlcommons_py.lifecycle.intake import Intake
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.registry import Models
from mlcommons_py.models.uploads import Uploads
from mlcommons_py.observe.counters import Counters
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.tasks.board import Tasks, TaskState, TaskType

log = logging.getLogger(__name__)

_TURN_SECONDS = 0.5
_LONGEST_PAUSE = 10.0


class Registrations:
    """Uploads that come in, proofs, and models that are fetched."""

    def __init__(
        self,
        models: Models,
        tasks: Tasks,
        proof: Proof,
        intake: Intake,
        deployer: Deployer,
        settings: PluginSettings,
        counters: Counters,
    ) -> None:
        self._models = models
        self._tasks = tasks
        self._proof = proof
        self._intake = intake
        self._deployer = deployer
        self._settings = settings
        self._counters = counters
        self._running: dict[str, asyncio.Task[None]] = {}
        self._fetching = 0
        self._uploads = Uploads(models)
        self._uploading: Counter[str] = Counter()

    def __contains__(self, task_id: str) -> bool:
        """Return whether this process carries out a task."""
        return task_id in self._running

    def uploading(self, model_id: str) -> bool:
        """Return whether a chunk of a model is coming in here."""
        return self._uploading[model_id] > 0

    async def upload(self, model_id: str, number: int, content: bytes) -> None:
        """Take one chunk in; the last one sets off the proof of the model.

        Raises:
            MLCommonsError: as :meth:`~mlcommons_py.models.uploads.Uploads.upload`.
        """
        self._uploading[model_id] += 1
        try:
            registered = await self._uploads.upload(model_id, number, content, self._proof.begin)
            if registered is not None:
                await self.begin_proof(model_id, registered)
        finally:
            self._uploading[model_id] -= 1
            if not self._uploading[model_id]:
                del self._uploading[model_id]

    async def complete_upload(self, model_id: str, model: Model) -> None:
        """Begin the proof of a model all of whose chunks are there, if they are right.

        Raises:
            MLCommonsError: as :meth:`~mlcommons_py.models.uploads.Uploads.complete`.
        """
        if await self._uploads.complete(model_id):
            await self.begin_proof(model_id, model)

    async def begin_proof(self, model_id: str, model: Model) -> None:
        """Begin to prove a registered model, with a task that tells of it."""
        running = TaskState.RUNNING
        task_id = await self._tasks.create(TaskType.REGISTER_MODEL, model.algorithm, model_id, state=running)
        self.prove(task_id, model_id)

    def prove(self, task_id: str, model_id: str, *, deploy: bool = False) -> None:
        """Prove a registered model for a task that there is, and deploy it then if that is wished for."""
        self._spawn(task_id, self._prove(task_id, model_id, deploy=deploy))

    async def fetch(self, registration: Registration, *, deploy: bool) -> str:
        """Begin to take a model in from its URL, and return the task that tells of it.

        Raises:
            LimitExceeded: ``max_register_model_tasks_per_node`` models are being taken in already.
        """
        if self._fetching >= self._settings["max_register_model_tasks_per_node"]:
            raise LimitExceeded("exceed max running task limit")
        self._fetching += 1  # and one less when _fetch ends
        try:
            function, wish = registration.function, True if deploy else None
            task_id = await self._tasks.create(TaskType.REGISTER_MODEL, function, deploy_model=wish)
        except BaseException:
            self._fetching -= 1
            raise
        self._spawn(task_id, self._fetch(task_id, registration, deploy=deploy))
        return task_id

    async def close(self) -> None:
        """Stop what runs; the next start ends it."""
        running = list(self._running.values())
        for one in running:
            one.cancel()
        if running:
            await asyncio.wait(running)

    def _spawn(self, task_id: str, work: Coroutine[Any, Any, None]) -> None:
        self._running[task_id] = running = asyncio.create_task(work)
        running.add_done_callback(lambda _: self._running.pop(task_id))

    async def _prove(self, task_id: str, model_id: str, *, deploy: bool) -> None:
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
            reason = reason_of(fault)
            log.warning("model %s is not fit to be deployed: %s", model_id, reason)
            with suppress(MLCommonsError):  # the task tells it too
                await self._proof.note(model_id, reason)
            await self._end(task_id, partial(self._tasks.fail, task_id, reason))
            return
        await self._end(task_id, partial(self._tasks.complete, task_id, model_id))

    async def _fetch(self, task_id: str, registration: Registration, *, deploy: bool) -> None:
        try:
            await self._tasks.start(task_id)
            with self._counters.counted(registration.function, "register"):
                model_id = await self._intake.take_in(task_id, registration)
            if deploy:  # the task ends when the deployment stands, so that a kill in between does not lose the wish
                await self._deploy(model_id)
        except asyncio.CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it was, the task tells it
            end = partial(self._tasks.fail, task_id, reason_of(fault))
        else:
            end = partial(self._tasks.complete, task_id, model_id)
        finally:
            self._fetching -= 1  # before the end is told: who hears of it may register the next
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

"""Taking a model in from a URL: fetched, stored in chunks, proven; or nothing of it is left."""

import asyncio
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import IllegalArgument, InvalidModel, NotFound, ResourceNotFound
from mlcommons_py.lifecycle.download import fetch
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.resources import check_disk
from mlcommons_py.models.documents import CHUNK_SIZE, Model
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.registry import Models
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.settings import Operator
from mlcommons_py.tasks.board import Tasks

_DOWNLOAD = "download-"


class Intake:
    """Takes models in from URLs."""

    def __init__(
        self,
        groups: Groups,
        models: Models,
        tasks: Tasks,
        proof: Proof,
        settings: PluginSettings,
        operator: Operator,
    ) -> None:
        self._groups = groups
        self._models = models
        self._tasks = tasks
        self._proof = proof
        self._settings = settings
        self._operator = operator
        self._downloads: set[Path] = set()

    async def take_in(self, task_id: str, registration: Registration) -> str:
        """Fetch, store and prove a model; return its id. Where that fails nothing is left of it.

        Raises:
            MLCommonsError: the URL cannot be fetched, or what it holds is not what was announced or cannot be served.
        """
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
        directory = self._operator.data / f"{_DOWNLOAD}{task_id}"
        self._downloads.add(directory)
        try:
            await asyncio.to_thread(directory.mkdir)
            archive = directory / "archive.zip"
            size, digest = await fetch(registration.url, archive, self._settings, self._operator.model_root)
            if digest != registration.digest:
                raise InvalidModel(
                    f"model content changed: model_content_hash_value is {registration.digest},"
                    f" the SHA-256 of what the URL holds is {digest}"
                )
            whole = replace(registration, size=size, total_chunks=-(-size // CHUNK_SIZE))
            model_id = await self._models.create(whole, task_id=task_id)
            try:
                await self._tasks.attach(task_id, model_id)
                manifest = await self._store_and_prove(model_id, archive)
            except BaseException:
                await asyncio.shield(self.undo(model_id))
                raise
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            self._downloads.discard(directory)
        if not await self._models.registered(model_id):  # from here on it is a model, and nothing undoes it
            raise ResourceNotFound("the model was deleted while it was being registered")
        await self._proof.complete_config(model_id, manifest)
        return model_id

    async def _store_and_prove(self, model_id: str, archive: Path) -> Manifest:
        model = await self._models.model(model_id)
        proving = asyncio.create_task(self._proof.prepare(model_id, model, archive=archive))
        try:
            await self._models.chunks.split(model_id, model, archive)
            return (await proving)[1]
        finally:
            proving.cancel()
            await asyncio.gather(proving, return_exceptions=True)

    async def undo(self, model_id: str) -> None:
        """Remove a model that did not become one, the version it took, and the group that was made for it."""
        document = await self._models.document(model_id)
        if document is None:
            return
        await self._models.membership.leave(model_id, Model.from_json(document.source))
        with suppress(NotFound):
            await self._models.delete(model_id)

    async def discard_left_over(self) -> None:
        """Delete what earlier runs were downloading when they ended."""
        there = await asyncio.to_thread(lambda: list(self._operator.data.glob(f"{_DOWNLOAD}*")))
        for left in there:
            if left not in self._downloads:
                await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)

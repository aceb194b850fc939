"""A model file is what its registration says it is: it converts, it runs, and its embeddings have the right length."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import InvalidModel
from mlcommons_py.inference.options import RunOptions
from mlcommons_py.models.documents import Model
from mlcommons_py.models.kept import Beginning
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import FunctionName, ModelFormat
from mlcommons_py.settings import Operator
from mlcommons_py.store.client_search import exactly
from mlcommons_py.store.record import now


class Proof:
    """Turns registered models into converted ones, and compares the two."""

    def __init__(self, models: Models, converted: ConvertedModels, operator: Operator) -> None:
        self._models = models
        self._converted = converted
        self._operator = operator

    async def prepare(
        self, model_id: str, model: Model, *, doubt: bool = False, archive: Path | None = None
    ) -> tuple[Path, Manifest]:
        """Return the directory of a model's converted form, proven, and its manifest.

        With ``doubt`` the files of a model that was converted before are read and compared with their hashes again.
        ``archive`` is the model's content where it is at hand, its hash compared already.

        Raises:
            InvalidModel: the content is not what was announced, cannot be served, or contradicts ``model_config``.
        """
        function = FunctionName(model.algorithm)
        if function is not FunctionName.TEXT_EMBEDDING:
            raise InvalidModel(f"models of function {function} cannot be run by this version; TEXT_EMBEDDING can")

        async def fetch(path: Path) -> None:
            if archive is not None:
                await asyncio.to_thread(shutil.copyfile, archive, path)
                return
            await self._models.chunks.verify(model_id, model, copy_to=path)

        directory = await self._converted.directory(
            model.model_content_hash_value or "", model.model_format or "", model.compute_type, fetch, doubt=doubt
        )
        manifest = await asyncio.to_thread(Manifest.read, directory)
        compare(model, manifest)
        return directory, manifest

    def begin(self, model: Model, arrived: Beginning) -> None:
        """Begin to convert a model of whose archive there is a part."""
        digest = model.model_content_hash_value or ""
        self._converted.advance(
            digest,
            model.model_format or "",
            model.compute_type,
            arrived.path,
            arrived.size,
            whole=arrived.chunks == model.total_chunks and arrived.digest == digest,
        )

    async def forget(self, digest: str) -> None:
        """Remove the converted form of a content, unless a model needs it."""

        async def is_needed() -> bool:
            return bool(await self._models.matching(exactly("model_content_hash_value", digest)))

        await self._converted.forget(digest, is_needed)

    async def complete_config(self, model_id: str, manifest: Manifest) -> None:
        """Write into ``model_config`` what the registration left out and the file says."""
        says = {
            "model_type": manifest.family,
            "embedding_dimension": manifest.dimension,
            "framework_type": manifest.inside.upper(),
        }

        def make(model: Model) -> Model | None:
            config = {**says, **model.config}
            if config == model.config and model.state_reason is None:
                return None
            return replace(model, model_config=config, state_reason=None, last_updated_time=now())

        await self._models.change(model_id, make)

    async def note(self, model_id: str, reason: str) -> None:
        """Write into the model's document why it cannot be served."""
        await self._models.change(model_id, lambda model: replace(model, state_reason=reason))

    def options(self, model: Model) -> RunOptions:
        """Return how a model is to be run."""
        config = model.config
        chosen = config.get("framework_type") == "HUGGINGFACE_TRANSFORMERS"
        mode = str(config.get("pooling_mode") or "MEAN").lower()
        limited = chosen or model.model_format == ModelFormat.SAFETENSORS
        return RunOptions(
            compute_type=model.compute_type,
            threads=self._operator.threads,
            batch_tokens=self._operator.batch_tokens,
            pooling=mode if chosen else None,
            normalize=bool(config.get("normalize_result")) if chosen else None,
            max_length=config.get("model_max_length") if limited else None,
        )


def compare(model: Model, manifest: Manifest) -> None:
    """Compare what a registration says of a model with what was measured.

    Raises:
        InvalidModel: they differ; the text names both.
    """
    dimension = model.config.get("embedding_dimension")
    if dimension is not None and dimension != manifest.dimension:
        raise InvalidModel(
            f"model_config.embedding_dimension is {dimension}, but the model's embeddings have {manifest.dimension}"
            " dimensions; register it again with the right number"
        )

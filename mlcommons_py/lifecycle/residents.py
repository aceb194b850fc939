"""The models on this node: a worker for each local one, and the word that calls may go out for each remote one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import InvalidModel, LimitExceeded, Unavailable
from mlcommons_py.inference.deployments import Deployments
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.resources import WORKER_BYTES, check_memory
from mlcommons_py.models.documents import Model
from mlcommons_py.observe.latencies import Latencies
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.breaker import Breaker

Ready = Callable[[str, Model], Awaitable[None]]
"""Raises :class:`InvalidModel` for a remote model that cannot be called, whatever is tried."""


class Residents:
    """Brings models onto this node, and takes them off it."""

    def __init__(
        self,
        proof: Proof,
        deployments: Deployments,
        remotes: Remotes,
        ready: Ready,
        settings: PluginSettings,
        breaker: Breaker,
        metrics: Metrics,
    ) -> None:
        self._proof = proof
        self._deployments = deployments
        self._remotes = remotes
        self._ready = ready
        self._settings = settings
        self._breaker = breaker
        self._metrics = metrics
        self._placing: set[str] = set()
        self._times_to_live: dict[str, float | None] = {}
        self._connections: dict[str, object] = {}

    def ids(self) -> list[str]:
        """Return the models that are here."""
        return sorted([*self._deployments.ids(), *self._remotes.ids()])

    def __contains__(self, model_id: str) -> bool:
        """Return whether a model is here."""
        return model_id in self._remotes or self._deployments.get(model_id) is not None

    def idle(self) -> list[str]:
        """Return the models here that nobody called for as long as their ``model_ttl_minutes`` say."""
        now = time.monotonic()
        return [model_id for model_id in self.ids() if self._is_idle(model_id, now)]

    def _is_idle(self, model_id: str, now: float) -> bool:
        seconds, used = self._times_to_live.get(model_id), self._used(model_id)
        return seconds is not None and used is not None and now - used.last > seconds

    def _used(self, model_id: str) -> Latencies | None:
        deployment = self._deployments.get(model_id)
        return self._remotes.latencies(model_id) if deployment is None else deployment.latencies

    def is_up(self, model_id: str, model: Model) -> bool:
        """Return whether a model is here and can be called, the way its document says."""
        if model.is_remote:
            return model_id in self._remotes
        deployment = self._deployments.get(model_id)
        return deployment is not None and deployment.up and deployment.options == self._proof.options(model)

    def differs(self, model_id: str, model: Model) -> bool:
        """Return whether a model runs here another way than its document says."""
        deployment = self._deployments.get(model_id)
        return deployment is not None and deployment.options != self._proof.options(model)

    def note(self, model_id: str, model: Model) -> None:
        """Take down what a model's document says of how long it stays, and whether it has another connector now."""
        self._times_to_live[model_id] = model.time_to_live
        connection = model.connector_id, model.connector
        if self._connections.setdefault(model_id, connection) != connection:
            self._connections[model_id] = connection
            self._breaker.forget(model_id)

    async def bring(self, model_id: str, model: Model, *, asked: bool) -> None:
        """Bring a model here, the way its document says; ``asked`` says that a task waits for it.

        Raises:
            InvalidModel: it cannot be served; or it is asked for while there is no room for it.
            LimitExceeded: there is no room for it now.
            MLCommonsError: something passing is in the way.
        """
        self.note(model_id, model)
        if model.is_remote:
            await self._bring_remote(model_id, model, asked=asked)
            return

        manifest: Manifest | None = None

        async def source(doubt: bool) -> Path:
            nonlocal manifest
            first = manifest is None
            directory, manifest = await self._proof.prepare(model_id, model, doubt=doubt)
            if first:
                weights = await asyncio.to_thread(lambda: (directory / "model.bin").stat().st_size)
                await asyncio.to_thread(check_memory, weights + WORKER_BYTES)
            return directory

        with self._room(model_id, asked=asked):
            if not self.is_up(model_id, model):
                await self._deployments.deploy(model_id, source, self._proof.options(model))
            if manifest is None:
                _, manifest = await self._proof.prepare(model_id, model)
        await self._proof.complete_config(model_id, manifest)

    async def _bring_remote(self, model_id: str, model: Model, *, asked: bool) -> None:
        try:
            await self._ready(model_id, model)
        except InvalidModel as fault:
            if asked:
                raise
            # What was deployed before stays desired: the master key, or the connector, may be given back.
            raise Unavailable(fault.reason) from fault
        self._remotes.deploy(model_id)

    async def remove(self, model_id: str) -> bool:
        """Take a model off this node, with what is known of its calls; return whether it was here."""
        self._times_to_live.pop(model_id, None)
        self._connections.pop(model_id, None)
        was_here = await self._deployments.undeploy(model_id) or self._remotes.undeploy(model_id)
        self._breaker.forget(model_id)
        self._metrics.forget(model_id)
        return was_here

    @contextmanager
    def _room(self, model_id: str, *, asked: bool) -> Iterator[None]:
        """Hold one of the places that ``max_model_on_node`` gives to local models, while one comes up."""
        others = {*self._deployments.ids(), *self._placing} - {model_id}
        if self._deployments.get(model_id) is None and len(others) >= self._settings["max_model_on_node"]:
            text = "Exceed max local model per node limit"
            # What was deployed before the limit was lowered stays desired: it is tried again.
            raise InvalidModel(text) if asked else LimitExceeded(text)
        self._placing.add(model_id)
        try:
            yield
        finally:
            self._placing.discard(model_id)

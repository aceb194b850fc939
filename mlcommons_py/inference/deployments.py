"""The models that run here."""

import asyncio
from collections.abc import Iterator
from weakref import WeakValueDictionary

from mlcommons_py.errors import Unavailable
from mlcommons_py.inference.deployment import Deployment, Numbers, Source
from mlcommons_py.inference.options import RunOptions


class Deployments:
    """All models that run here, by their ids."""

    def __init__(self, max_queued_texts: int, batch_seconds: float) -> None:
        """Let so many texts wait for each, and give a worker so many seconds for a batch."""
        self._limit = max_queued_texts
        self._batch_seconds = batch_seconds
        self._running: dict[str, Deployment] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._changed = asyncio.Condition()
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

    async def deploy(self, model_id: str, source: Source, options: RunOptions) -> Deployment:
        """Run a model; one that runs already, with the same options, is left alone.

        One that shall run another way is replaced when its successor is up.

        Raises:
            MLCommonsError: its worker does not come up.
            Unavailable: the table is closed.
        """
        async with self._turn(model_id):
            before = self._running.get(model_id)
            if before is not None and before.options == options and before.up:
                return before
            deployment = Deployment(model_id, source, options, self._limit, self._batch_seconds)
            if not self._closed:
                await deployment.start()
            if self._closed:
                await self._stop(deployment)
                raise Unavailable("the service is shutting down")
            self._running[model_id] = deployment
            async with self._changed:
                self._changed.notify_all()
            if before is not None:
                await self._stop(before)
            return deployment

    async def undeploy(self, model_id: str) -> bool:
        """End a model's worker, also one that is being deployed; return whether the model ran."""
        async with self._turn(model_id):
            deployment = self._running.pop(model_id, None)
            if deployment is None:
                return False
            await self._stop(deployment)
            return True

    async def _stop(self, deployment: Deployment) -> None:
        """Stop a deployment that is in the table no more, also if the caller does not wait for it."""
        stopping = asyncio.create_task(deployment.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        await asyncio.shield(stopping)

    def _turn(self, model_id: str) -> asyncio.Lock:
        return self._turns.setdefault(model_id, asyncio.Lock())

    def get(self, model_id: str) -> Deployment | None:
        """Return a model that runs, or None."""
        return self._running.get(model_id)

    def numbers(self) -> Iterator[tuple[str, Numbers]]:
        """Yield the models that run, with what they have done."""
        for model_id in self.ids():
            yield model_id, self._running[model_id].stats()

    def ids(self) -> list[str]:
        """Return the models that run."""
        return sorted(self._running)

    async def wait_for(self, model_id: str, seconds: float) -> Deployment | None:
        """Return a model as soon as it runs; None if it does not within so many seconds."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: model_id in self._running)
        except TimeoutError:
            return None
        return self._running.get(model_id)

    async def close(self) -> None:
        """End all workers, and deploy nothing any more."""
        self._closed = True
        await asyncio.gather(*(self.undeploy(model_id) for model_id in {*self._running, *self._turns}))
        await asyncio.gather(*self._stopping)

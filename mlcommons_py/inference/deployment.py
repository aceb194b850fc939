"""One model that runs here, watched over."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlcommons_py.errors import MLCommonsError, Rejected, Unavailable, WorkerLost
from mlcommons_py.inference.options import RunOptions
from mlcommons_py.inference.process import Vectors, Worker, WorkerDied
from mlcommons_py.observe.latencies import Latencies
from mlcommons_py.observe.metrics import Running

log = logging.getLogger(__name__)

LONGEST_PAUSE = 30.0
SETTLED = 60.0
"""Seconds after which a worker counts as stable, and the next restart is immediate again."""

STOP_SECONDS = 10.0
PING_SECONDS = 10.0
"""How often a worker is asked whether it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers(Running):
    """What a deployment is and has done, for stats and profile too.

    Attributes:
        pid: of the worker; 0 before the first.
        latencies: count, max, min, average and percentiles of the last requests, in milliseconds; empty before any.
    """

    pid: int
    requests: int
    latencies: dict[str, float]


Source = Callable[[bool], Awaitable[Path]]
"""Returns the directory of a converted model, as it is at the moment; true says that what is there may be damaged."""


class Deployment:
    """One model and its worker, which is replaced whenever it ends by itself."""

    def __init__(
        self,
        model_id: str,
        source: Source,
        options: RunOptions,
        max_queued_texts: int,
        batch_seconds: float,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        """Run a model in a worker that is replaced, too, if it takes longer than ``batch_seconds`` for a batch."""
        self.model_id = model_id
        self.options = options
        self._source = source
        self._limit = max_queued_texts
        self._batch_seconds = batch_seconds
        self._ping_seconds = ping_seconds
        self._worker: Worker | None = None
        self._changed = asyncio.Condition()
        self._watching: asyncio.Task[None] | None = None
        self._closed = False
        self._waiting = 0
        self._texts = self._tokens = self._truncated = 0
        self._failures = self._rejected = self._restarts = 0
        self.latencies = Latencies()
        self._busy_since = 0.0
        self._answered = 0

    async def start(self) -> None:
        """Start the worker.

        Raises:
            InvalidModel: the model cannot be loaded.
            MLCommonsError: the worker ended while it loaded the model.
        """
        try:
            self._worker = await self._launch(doubt=False)
        except WorkerDied as fault:
            raise MLCommonsError(str(fault)) from fault
        self._watching = asyncio.create_task(self._watch(), name=f"watch {self.model_id}")

    async def _launch(self, *, doubt: bool) -> Worker:
        """Return a worker that has loaded the model; its process starts while the model may still be converted."""
        worker = await Worker.begin()
        try:
            directory = await self._source(doubt)
        except BaseException:
            await worker.kill()
            raise
        await worker.load(directory, self.options)
        return worker

    async def stop(self) -> None:
        """End the worker; who still waits is refused."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._worker is not None:
            await self._worker.stop(STOP_SECONDS)

    async def embed(self, texts: list[str], *, urgent: bool, timeout: float) -> Vectors:  # noqa: ASYNC109
        """Return the embeddings of texts.

        If the worker ends before it answers, the texts go once more, to its successor.

        Raises:
            Rejected: too many texts wait already.
            WorkerLost: two workers ended under these texts.
            Unavailable: it took longer than ``timeout`` seconds, or the model was undeployed meanwhile.
            MLCommonsError: the model failed on the texts.
        """
        self.latencies.touch()
        with self._admitted(len(texts)):
            began = time.monotonic()
            try:
                async with asyncio.timeout(timeout):
                    vectors = await self._try_twice(texts, urgent=urgent, until=began + timeout)
            except TimeoutError as fault:
                self._failures += 1
                raise Unavailable(f"model {self.model_id} did not answer within {timeout:.0f} s") from fault
            except MLCommonsError:
                self._failures += 1
                raise
            ended = time.monotonic()
            self._texts += len(texts)
            self._tokens += sum(vectors.answer.tokens)
            self._truncated += vectors.answer.truncated
            self._answered += len(texts)
            self.latencies.add(ended - began)
            return vectors

    async def _try_twice(self, texts: list[str], *, urgent: bool, until: float) -> Vectors:
        for _ in range(2):
            worker = await self._current()
            try:
                return await worker.embed(texts, urgent=urgent, timeout=until - time.monotonic())
            except WorkerDied as fault:
                how = str(fault)
        raise WorkerLost(f"the worker of model {self.model_id} ended twice under this request: {how}")

    async def _current(self) -> Worker:
        """Return the worker, waiting for the next one where there is none."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or (self._worker is not None and self._worker.alive))
        if self._closed or self._worker is None:
            raise Unavailable(f"model {self.model_id} was undeployed")
        return self._worker

    @contextmanager
    def _admitted(self, texts: int) -> Iterator[None]:
        if self._waiting + texts > self._limit:
            self._rejected += 1
            raise Rejected(
                f"model {self.model_id} has {self._waiting} texts waiting and takes no more than {self._limit}",
                retry_after=self._seconds_of_work(),
            )
        if not self._waiting:
            self._busy_since, self._answered = time.monotonic(), 0
        self._waiting += texts
        try:
            yield
        finally:
            self._waiting -= texts

    def _seconds_of_work(self) -> int:
        """Return how long what waits will take, at the pace since the model was idle last; 1 to 60 seconds."""
        if not self._answered:
            return 1
        seconds = (time.monotonic() - self._busy_since) * self._waiting / self._answered
        return max(1, min(60, math.ceil(seconds)))

    async def _watch(self) -> None:
        pause = 0.0
        while True:
            assert self._worker is not None
            began = time.monotonic()
            how = await self._end_of(self._worker)
            self._restarts += 1
            log.warning("the worker of model %s %s; starting another", self.model_id, how)
            if time.monotonic() - began > SETTLED:
                pause = 0.0
            pause = await self._replace(pause)

    async def _end_of(self, worker: Worker) -> str:
        """Wait until a worker ends, or has to be ended; return how it ended."""
        failing = asyncio.create_task(worker.fails(self._ping_seconds, self._batch_seconds))
        try:
            await asyncio.wait((worker.ended, failing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            failing.cancel()
        if not worker.ended.done():
            await worker.kill(f"{failing.result()} and was killed")
        return worker.ended.result()

    async def _replace(self, pause: float) -> float:
        """Start workers until one stays up long enough to load; return the pause before the next restart."""
        doubt = pause > 0  # the last one ended soon after it was loaded
        while True:
            if pause:
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(LONGEST_PAUSE, max(0.25, 2 * pause))
            try:
                worker = await self._launch(doubt=doubt)
            except Exception as fault:  # noqa: BLE001 - whatever it was, it may be gone the next time
                doubt = True
                log.warning("the worker of model %s does not start: %s", self.model_id, fault)
                continue
            self._worker = worker  # before anything can be cancelled: whoever stops the model ends this worker too
            async with self._changed:
                self._changed.notify_all()
            return pause

    @property
    def up(self) -> bool:
        """Whether the worker runs at this moment."""
        return self._worker is not None and self._worker.alive

    def stats(self) -> Numbers:
        """Return what was done so far."""
        worker, up = self._worker, self.up
        return Numbers(
            pid=worker.pid if worker is not None else 0,
            up=up,
            requests=self.latencies.count,
            texts=self._texts,
            tokens=self._tokens,
            truncated=self._truncated,
            failures=self._failures,
            rejected=self._rejected,
            restarts=self._restarts,
            waiting=self._waiting,
            rss=worker.rss if worker is not None and up else 0,
            latencies=self.latencies.summary(),
        )

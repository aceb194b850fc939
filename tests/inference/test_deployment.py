"""A model that runs, watched over."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlcommons_py.errors import Rejected, Unavailable, WorkerLost
from mlcommons_py.inference.deployment import Deployment
from mlcommons_py.inference.options import RunOptions
from tests.inference.conftest import at

OPTIONS = RunOptions(threads=2, batch_tokens=128)


@pytest.fixture
async def deployment(converted: Path) -> AsyncIterator[Deployment]:
    """A deployment of the small model that takes 1,000 texts at once."""
    started = Deployment("m", at(converted), OPTIONS, max_queued_texts=1000, batch_seconds=60)
    await started.start()
    yield started
    await started.stop()


async def count(deployment: Deployment, texts: list[str]) -> int:
    """Return how many embeddings texts get."""
    return len((await deployment.embed(texts, urgent=False, timeout=60)).rows())


async def test_request_survives_a_kill(deployment: Deployment) -> None:
    """A request whose worker is killed is answered by the next worker."""
    asked = asyncio.create_task(count(deployment, ["word " * 100] * 900))
    await asyncio.sleep(0.05)
    before = deployment.stats().pid
    os.kill(before, signal.SIGKILL)

    assert await asked == 900
    after = deployment.stats()
    assert after.pid != before
    assert (after.restarts, after.waiting, after.up) == (1, 0, True)


async def test_hung_worker_is_replaced(converted: Path) -> None:
    """A worker that stands still is ended, whether it has work or not, and a request that it had is answered."""
    deployment = Deployment("m", at(converted), OPTIONS, max_queued_texts=1000, batch_seconds=60, ping_seconds=0.2)
    await deployment.start()
    try:
        for restarts, texts in ((1, []), (2, ["word " * 100] * 900)):
            asked = asyncio.create_task(count(deployment, texts)) if texts else None
            await asyncio.sleep(0)
            before = deployment.stats().pid
            os.kill(before, signal.SIGSTOP)
            async with asyncio.timeout(60):
                while deployment.stats().restarts < restarts or not deployment.stats().up:
                    await asyncio.sleep(0.01)
            assert deployment.stats().pid != before
            assert asked is None or await asked == 900
    finally:
        await deployment.stop()


async def test_busy_worker_is_not_hung(converted: Path) -> None:
    """A worker that computes for much longer than one that hangs is given is left at it."""
    options = RunOptions(threads=1, batch_tokens=1 << 20)
    deployment = Deployment("m", at(converted), options, max_queued_texts=100_000, batch_seconds=60, ping_seconds=0.3)
    await deployment.start()
    try:
        before = deployment.stats().pid
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 1.5:
            assert await count(deployment, ["word " * 120] * 4000) == 4000
        assert (deployment.stats().pid, deployment.stats().restarts) == (before, 0)
    finally:
        await deployment.stop()


@pytest.fixture
def hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with how many long batches CTranslate2 is yet to hang in, in workers that are started from now on."""
    (tmp_path / "sitecustomize.py").write_text(ENGINE_THAT_HANGS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}")
    return tmp_path / "hangs"


ENGINE_THAT_HANGS = """
import pathlib, threading, ctranslate2

left = pathlib.Path(__file__).with_name("hangs")

class Encoder(ctranslate2.Encoder):
    def forward_batch(self, batch, **options):
        if len(batch[0]) > 50 and (times := int(left.read_text())):
            left.write_text(str(times - 1))
            threading.Event().wait()
        return super().forward_batch(batch, **options)

ctranslate2.Encoder = Encoder
"""


@pytest.mark.parametrize("times", [1, 2])
async def test_batch_that_never_ends(
    converted: Path, hangs: Path, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that answers pings and never ends a batch is replaced; who waits is answered by the next or told why."""
    hangs.write_text(str(times))
    options = RunOptions(threads=2)
    deployment = Deployment("m", at(converted), options, max_queued_texts=10, batch_seconds=1, ping_seconds=0.1)
    await deployment.start()
    try:
        if times == 1:
            assert await count(deployment, ["word " * 100]) == 1
        else:
            with pytest.raises(
                WorkerLost, match="ended twice under this request: computed one batch for more than 1 s"
            ):
                await count(deployment, ["word " * 100])
        assert await count(deployment, ["rain", "word " * 100]) == 2
        assert deployment.stats().restarts == times
        assert "the worker of model m computed one batch for more than 1 s and was killed" in caplog.text
    finally:
        await deployment.stop()


async def test_two_kills_are_too_many(deployment: Deployment) -> None:
    """A request under which two workers end is given up with 503; the next request is served."""
    asked = asyncio.create_task(count(deployment, ["word " * 120] * 900))
    for restarts in (0, 1):
        async with asyncio.timeout(60):
            while deployment.stats().restarts < restarts or not deployment.stats().up:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        os.kill(deployment.stats().pid, signal.SIGKILL)

    with pytest.raises(WorkerLost):
        await asked
    assert await count(deployment, ["rain"]) == 1


async def test_full_queue_refuses(deployment: Deployment) -> None:
    """More texts than may wait are refused at once with 429 and a time to come back; those before are answered."""
    asked = asyncio.create_task(count(deployment, ["word " * 50] * 900))
    await asyncio.sleep(0)

    with pytest.raises(Rejected) as caught:
        await count(deployment, ["rain"] * 101)

    assert caught.value.status == 429
    assert int(caught.value.headers["Retry-After"]) >= 1
    assert await asked == 900
    assert await count(deployment, ["rain"] * 1000) == 1000
    assert deployment.stats().rejected == 1


async def test_slow_answers_are_given_up(deployment: Deployment) -> None:
    """A request that takes longer than its time is 503, and leaves nothing waiting."""
    with pytest.raises(Unavailable, match="did not answer within"):
        await deployment.embed(["word " * 120] * 1000, urgent=False, timeout=0.05)

    assert deployment.stats().waiting == 0
    assert await count(deployment, ["rain"]) == 1


async def test_stop_ends_the_process(converted: Path) -> None:
    """After a stop the process is gone, and who asks is refused."""
    deployment = Deployment("m", at(converted), OPTIONS, max_queued_texts=10, batch_seconds=60)
    await deployment.start()
    pid = deployment.stats().pid

    await deployment.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(Unavailable):
        await count(deployment, ["rain"])


async def test_idle_time_does_not_count_in_retry_after(converted: Path) -> None:
    """The pace behind Retry-After is that of the present load: hours without a request do not slow it."""
    deployment = Deployment("m", at(converted), OPTIONS, max_queued_texts=200, batch_seconds=60)
    await deployment.start()
    await deployment.embed(["rain"], urgent=True, timeout=30)
    deployment._busy_since -= 3600
    asked = asyncio.create_task(deployment.embed(["rain"] * 200, urgent=False, timeout=30))
    await asyncio.sleep(0)

    with pytest.raises(Rejected) as caught:
        await deployment.embed(["rain"], urgent=False, timeout=30)

    assert caught.value.retry_after == 1
    await asked
    await deployment.stop()

"""Models that run, watched over."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from mlcommons_py.errors import Rejected, Unavailable, WorkerLost
from mlcommons_py.inference.deployments import Deployment, Deployments
from mlcommons_py.inference.options import RunOptions
from tests.inference.conftest import at

OPTIONS = RunOptions(threads=2, batch_tokens=128)


@pytest.fixture
async def deployment(converted: Path) -> AsyncIterator[Deployment]:
    """A deployment of the small model that takes 1,000 texts at once."""
    started = Deployment("m", at(converted), OPTIONS, max_queued_texts=1000)
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
    deployment = Deployment("m", at(converted), OPTIONS, max_queued_texts=1000, ping_seconds=0.2)
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
    deployment = Deployment("m", at(converted), options, max_queued_texts=100_000, ping_seconds=0.1)
    await deployment.start()
    try:
        before = deployment.stats().pid
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 1:
            assert await count(deployment, ["word " * 120] * 4000) == 4000
        assert (deployment.stats().pid, deployment.stats().restarts) == (before, 0)
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
    deployment = Deployment("m", at(converted), OPTIONS, max_queued_texts=10)
    await deployment.start()
    pid = deployment.stats().pid

    await deployment.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(Unavailable):
        await count(deployment, ["rain"])


async def test_table(converted: Path) -> None:
    """The table runs a model once, replaces it when its options change, and tells who waits when it is there."""
    table = Deployments(max_queued_texts=10)
    waiting = asyncio.create_task(table.wait_for("m", 30))
    first = await table.deploy("m", at(converted), OPTIONS)

    assert await waiting is first
    assert await table.deploy("m", at(converted), OPTIONS) is first
    other = await table.deploy("m", at(converted), RunOptions(threads=1, pooling="cls"))
    assert other is not first
    assert table.get("m") is other
    assert not first.stats().up
    assert await table.wait_for("nobody", 0.01) is None
    assert await table.undeploy("m")
    assert not await table.undeploy("m")
    assert table.ids() == []
    await table.close()


async def test_options_choose_the_pooling(converted: Path) -> None:
    """Pooling and normalising that are asked for take the place of the model's own."""
    table = Deployments(max_queued_texts=10)
    own = await table.deploy("own", at(converted), OPTIONS)
    chosen = await table.deploy("chosen", at(converted), RunOptions(threads=1, pooling="mean", normalize=False))

    normal = (await own.embed(["a cat"], urgent=True, timeout=30)).rows()[0]
    plain = (await chosen.embed(["a cat"], urgent=True, timeout=30)).rows()[0]

    np.testing.assert_allclose(plain / np.linalg.norm(plain), normal, atol=1e-6)
    assert abs(float(np.linalg.norm(plain)) - 1) > 1e-3
    await table.close()


def workers() -> set[int]:
    """Return the worker processes of this process that live."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            command = (stat.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and b"inference.worker" in command:
            found.add(int(stat.parent.name))
    return found


async def test_deploys_at_once_start_one_worker(converted: Path) -> None:
    """Deploys of one model that come together share one worker, and closing ends it."""
    before, table = workers(), Deployments(max_queued_texts=10)

    first, *others = await asyncio.gather(*(table.deploy("m", at(converted), OPTIONS) for _ in range(3)))

    assert all(other is first for other in others)
    assert len(workers() - before) == 1
    await table.close()
    assert workers() == before


async def test_undeploy_takes_a_model_that_is_being_deployed(converted: Path) -> None:
    """An undeploy that comes while a deploy is under way leaves nothing running."""
    before, table = workers(), Deployments(max_queued_texts=10)
    deploying = asyncio.create_task(table.deploy("m", at(converted), OPTIONS))
    await asyncio.sleep(0)

    assert await table.undeploy("m")

    assert deploying.done()
    assert table.get("m") is None
    assert workers() == before


async def test_close_takes_what_is_being_deployed(converted: Path) -> None:
    """A deploy that is under way when the table closes fails, and leaves nothing running."""
    before, table = workers(), Deployments(max_queued_texts=10)
    deploying = asyncio.create_task(table.deploy("m", at(converted), OPTIONS))
    await asyncio.sleep(0)

    await table.close()

    with pytest.raises(Unavailable, match="shutting down"):
        await deploying
    with pytest.raises(Unavailable, match="shutting down"):
        await table.deploy("n", at(converted), OPTIONS)
    assert workers() == before


async def test_replaced_worker_ends_though_nobody_waits(converted: Path) -> None:
    """A worker that is being replaced ends, also when the deploy that replaces it is given up at that moment."""
    before, table = workers(), Deployments(max_queued_texts=10)
    first = await table.deploy("m", at(converted), OPTIONS)
    deploying = asyncio.create_task(table.deploy("m", at(converted), RunOptions(threads=1)))
    async with asyncio.timeout(30):
        while table.get("m") is first:
            await asyncio.sleep(0)

    deploying.cancel()
    await asyncio.wait([deploying])
    await table.close()

    assert workers() == before


async def test_idle_time_does_not_count_in_retry_after(converted: Path) -> None:
    """The pace behind Retry-After is that of the present load: hours without a request do not slow it."""
    deployment = Deployment("m", at(converted), OPTIONS, max_queued_texts=200)
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

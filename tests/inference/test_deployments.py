"""The table of the models that run."""

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from mlcommons_py.errors import Unavailable
from mlcommons_py.inference.deployments import Deployments
from mlcommons_py.inference.options import RunOptions
from tests.inference.conftest import at
from tests.processes import children

OPTIONS = RunOptions(threads=2, batch_tokens=128)


async def test_table(converted: Path) -> None:
    """The table runs a model once, replaces it when its options change, and tells who waits when it is there."""
    table = Deployments(max_queued_texts=10, batch_seconds=60)
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
    table = Deployments(max_queued_texts=10, batch_seconds=60)
    own = await table.deploy("own", at(converted), OPTIONS)
    chosen = await table.deploy("chosen", at(converted), RunOptions(threads=1, pooling="mean", normalize=False))

    normal = (await own.embed(["a cat"], urgent=True, timeout=30)).rows()[0]
    plain = (await chosen.embed(["a cat"], urgent=True, timeout=30)).rows()[0]

    np.testing.assert_allclose(plain / np.linalg.norm(plain), normal, atol=1e-6)
    assert abs(float(np.linalg.norm(plain)) - 1) > 1e-3
    await table.close()


def workers() -> set[int]:
    """Return the worker processes of this process that live."""
    return set(children(os.getpid(), "inference.worker"))


async def test_deploys_at_once_start_one_worker(converted: Path) -> None:
    """Deploys of one model that come together share one worker, and closing ends it."""
    before, table = workers(), Deployments(max_queued_texts=10, batch_seconds=60)

    first, *others = await asyncio.gather(*(table.deploy("m", at(converted), OPTIONS) for _ in range(3)))

    assert all(other is first for other in others)
    assert len(workers() - before) == 1
    await table.close()
    assert workers() == before


async def test_undeploy_takes_a_model_that_is_being_deployed(converted: Path) -> None:
    """An undeploy that comes while a deploy is under way leaves nothing running."""
    before, table = workers(), Deployments(max_queued_texts=10, batch_seconds=60)
    deploying = asyncio.create_task(table.deploy("m", at(converted), OPTIONS))
    await asyncio.sleep(0)

    assert await table.undeploy("m")

    assert deploying.done()
    assert table.get("m") is None
    assert workers() == before


async def test_close_takes_what_is_being_deployed(converted: Path) -> None:
    """A deploy that is under way when the table closes fails, and leaves nothing running."""
    before, table = workers(), Deployments(max_queued_texts=10, batch_seconds=60)
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
    before, table = workers(), Deployments(max_queued_texts=10, batch_seconds=60)
    first = await table.deploy("m", at(converted), OPTIONS)
    deploying = asyncio.create_task(table.deploy("m", at(converted), RunOptions(threads=1)))
    async with asyncio.timeout(30):
        while table.get("m") is first:
            await asyncio.sleep(0)

    deploying.cancel()
    await asyncio.wait([deploying])
    await table.close()

    assert workers() == before

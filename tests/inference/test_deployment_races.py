"""The table of running models, asked for several things at once."""

import asyncio
import os
from pathlib import Path

import pytest

from mlcommons_py.errors import Rejected, Unavailable
from mlcommons_py.inference.deployments import Deployment, Deployments
from mlcommons_py.inference.options import RunOptions

OPTIONS = RunOptions(threads=1)


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

    first, *others = await asyncio.gather(*(table.deploy("m", converted, OPTIONS) for _ in range(3)))

    assert all(other is first for other in others)
    assert len(workers() - before) == 1
    await table.close()
    assert workers() == before


async def test_undeploy_takes_a_model_that_is_being_deployed(converted: Path) -> None:
    """An undeploy that comes while a deploy is under way leaves nothing running."""
    before, table = workers(), Deployments(max_queued_texts=10)
    deploying = asyncio.create_task(table.deploy("m", converted, OPTIONS))
    await asyncio.sleep(0)

    assert await table.undeploy("m")

    assert deploying.done()
    assert table.get("m") is None
    assert workers() == before


async def test_close_takes_what_is_being_deployed(converted: Path) -> None:
    """A deploy that is under way when the table closes fails, and leaves nothing running."""
    before, table = workers(), Deployments(max_queued_texts=10)
    deploying = asyncio.create_task(table.deploy("m", converted, OPTIONS))
    await asyncio.sleep(0)

    await table.close()

    with pytest.raises(Unavailable, match="shutting down"):
        await deploying
    with pytest.raises(Unavailable, match="shutting down"):
        await table.deploy("n", converted, OPTIONS)
    assert workers() == before


async def test_idle_time_does_not_count_in_retry_after(converted: Path) -> None:
    """The pace behind Retry-After is that of the present load: hours without a request do not slow it."""
    deployment = Deployment("m", converted, OPTIONS, max_queued_texts=200)
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

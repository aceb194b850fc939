"""What can go wrong between the service and a worker."""

import asyncio
import os
from pathlib import Path

import pytest

from mlcommons_py.errors import InvalidModel, MLCommonsError
from mlcommons_py.inference.deployment import Deployment
from mlcommons_py.inference.options import RunOptions
from mlcommons_py.inference.process import Worker
from tests.inference.conftest import at

OPTIONS = RunOptions(threads=2)


def workers() -> list[int]:
    """Return the worker processes of this one."""
    threads = Path("/proc/self/task").glob("*/children")
    found = [int(child) for thread in threads for child in thread.read_text().split()]
    return [child for child in found if b"inference.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


async def test_empty_request_is_answered(converted: Path) -> None:
    """A request without a text is answered with no rows, at once."""
    worker = await Worker.start(converted, OPTIONS)

    async with asyncio.timeout(20):
        vectors = await worker.embed([], urgent=False, timeout=None)

    assert vectors.rows().shape == (0, 32)
    await worker.kill()


async def test_only_the_model_is_called_invalid(tmp_path: Path) -> None:
    """What keeps a worker from loading, and is no fault of the model, is no InvalidModel: it may be gone later."""
    with pytest.raises(MLCommonsError, match="FileNotFoundError") as caught:
        await Worker.start(tmp_path / "missing", OPTIONS)

    assert not isinstance(caught.value, InvalidModel)


async def test_working_directory_is_not_imported_from(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the service's working directory is not taken for a module by the worker."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "tokenizers.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)

    worker = await Worker.start(converted, OPTIONS)

    assert worker.alive
    await worker.kill()


async def test_worker_has_a_session_of_its_own(converted: Path) -> None:
    """What the terminal sends to the service's process group does not reach a worker."""
    worker = await Worker.start(converted, OPTIONS)

    assert os.getsid(worker.pid) == worker.pid
    await worker.kill()


async def test_worker_that_talks_nonsense_is_replaced(converted: Path) -> None:
    """A frame that cannot be read costs the worker, not the model."""
    deployment = Deployment("m", at(converted), OPTIONS, max_queued_texts=10, batch_seconds=60)
    await deployment.start()
    assert deployment._worker is not None
    before = deployment._worker

    before._reader.feed_data(b"\x05\0\0\0\0\0\0\0{bad}")

    async with asyncio.timeout(30):
        await before.ended
        vectors = await deployment.embed(["rain"], urgent=True, timeout=30)
    assert len(vectors.rows()) == 1
    assert deployment.stats().pid != before.pid
    await deployment.stop()


async def test_a_process_starts_while_its_model_is_made(converted: Path) -> None:
    """The worker's process is there before the directory of its model is."""
    began, go = asyncio.Event(), asyncio.Event()

    async def source(doubt: bool) -> Path:
        began.set()
        await go.wait()
        return converted

    deployment = Deployment("m", source, OPTIONS, max_queued_texts=10, batch_seconds=60)
    starting = asyncio.create_task(deployment.start())
    await began.wait()
    async with asyncio.timeout(20):
        while len(workers()) != 1:  # a process that just began has no command line for a moment
            await asyncio.sleep(0.01)
    go.set()
    await starting

    assert deployment.up
    await deployment.stop()


async def test_no_process_is_left_without_a_model(tmp_path: Path) -> None:
    """If there is no model in the end, or nobody waits for it any more, the process is ended."""

    async def nothing(doubt: bool) -> Path:
        raise InvalidModel("it cannot be served")

    async def never(doubt: bool) -> Path:
        return await asyncio.Event().wait() and tmp_path

    with pytest.raises(InvalidModel, match="it cannot be served"):
        await Deployment("m", nothing, OPTIONS, max_queued_texts=10, batch_seconds=60).start()
    assert workers() == []

    starting = asyncio.create_task(Deployment("m", never, OPTIONS, max_queued_texts=10, batch_seconds=60).start())
    async with asyncio.timeout(20):
        while not workers():
            await asyncio.sleep(0.01)
    starting.cancel()
    await asyncio.wait([starting])
    assert workers() == []

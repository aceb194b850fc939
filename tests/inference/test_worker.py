"""The worker process, for real."""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mlcommons_py.artifacts.convert import convert
from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import InvalidModel, MLCommonsError
from mlcommons_py.inference.options import RunOptions
from mlcommons_py.inference.process import Worker, WorkerDied
from mlcommons_py.inference.worker import SLICE, SLICE_CHARACTERS, _slice_end
from tests.inference.conftest import TRACED

TEXTS = ["a cat is an animal", "", "rain", "stocks fell on monday " * 40, "word " * 7, "🙂"]
OPTIONS = RunOptions(threads=2, batch_tokens=128)


@pytest.fixture
async def worker(converted: Path) -> AsyncIterator[Worker]:
    """A worker of the small model."""
    started = await Worker.start(converted, OPTIONS)
    yield started
    await started.kill()


async def embed(worker: Worker, texts: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the embeddings of texts."""
    return (await worker.embed(texts, urgent=False, timeout=30)).rows()


async def test_results_do_not_depend_on_neighbours(worker: Worker) -> None:
    """A text's embedding is the same alone, in any order, and among any others."""
    alone = np.concatenate([await embed(worker, [text]) for text in TEXTS])
    chance = random.Random(5)
    orders = [chance.choices(range(len(TEXTS)), k=chance.randint(1, 40)) for _ in range(30)]

    together = await asyncio.gather(*(embed(worker, [TEXTS[place] for place in order]) for order in orders))

    for order, rows in zip(orders, together, strict=True):
        np.testing.assert_allclose(rows, alone[order], atol=1e-6)


async def test_answer_says_what_was_cut(worker: Worker) -> None:
    """The answer counts tokens, and texts that were cut."""
    answer = (await worker.embed(["rain", "word " * 400], urgent=True, timeout=30)).answer

    assert answer.truncated == 1
    assert answer.tokens[1] == 128
    assert answer.rss > 10 << 20


@pytest.mark.parametrize(("pooling", "dimension"), [(None, 16), ("mean", 32)])
async def test_embeddings_are_as_long_as_the_last_step_makes_them(
    tmp_path: Path, pooling: str | None, dimension: int
) -> None:
    """A Dense module of the model's changes the length of embeddings, unless another pooling is chosen."""
    convert(TRACED / "distilbert-mean-dense.zip", "TORCH_SCRIPT", tmp_path / "model", "float32")
    started = await Worker.start(tmp_path / "model", RunOptions(threads=1, pooling=pooling))
    try:
        assert (await embed(started, ["rain", "snow"])).shape == (2, dimension)
    finally:
        await started.kill()


async def test_killed(worker: Worker) -> None:
    """Requests under way learn that the process was killed, and by what."""
    asked = asyncio.create_task(embed(worker, ["word " * 100] * 2000))
    await asyncio.sleep(0)
    os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(WorkerDied, match="SIGKILL"):
        await asked
    assert "SIGKILL" in await worker.ended
    with pytest.raises(WorkerDied):
        await embed(worker, ["rain"])


async def test_stop_finishes_what_is_queued(worker: Worker) -> None:
    """A worker that is told to stop answers what it has, and ends well."""
    asked = [asyncio.create_task(embed(worker, ["word " * 50] * 100)) for _ in range(3)]
    await asyncio.sleep(0)

    await worker.stop(30)

    assert [len(rows) for rows in await asyncio.gather(*asked)] == [100] * 3
    assert await worker.ended == "ended with status 0"


async def test_it_does_not_outlive_its_service(converted: Path) -> None:
    """When the service's end of the socket closes, the process ends."""
    worker = await Worker.start(converted, OPTIONS)

    worker._writer.close()

    async with asyncio.timeout(20):
        assert await worker.ended == "ended with status 0"


async def test_signals_of_the_terminal_are_left_to_the_service(worker: Worker) -> None:
    """Ctrl-C, which reaches the whole process group, does not end a worker."""
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGTERM)

    assert len(await embed(worker, ["rain"])) == 1


async def test_cancelled_work_is_dropped(converted: Path) -> None:
    """What nobody waits for any more is not computed: a later request need not wait for it."""
    worker = await Worker.start(converted, RunOptions(threads=1, batch_tokens=128))
    asked = [asyncio.create_task(embed(worker, ["word " * 120] * 20_000)) for _ in range(3)]
    await asyncio.sleep(0.05)

    for one in asked:
        one.cancel()
    async with asyncio.timeout(30):
        assert len(await embed(worker, ["rain"])) == 1

    assert [one.cancelled() for one in await asyncio.wait_for(asyncio.gather(*map(ended, asked)), 10)] == [True] * 3
    await worker.kill()


async def ended(task: "asyncio.Task[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]") -> "asyncio.Task[object]":
    """Wait for the end of a task, however it ends."""
    await asyncio.wait([task])
    return task


async def test_ids_beyond_the_vocabulary_fail_alone(converted: Path, tmp_path: Path) -> None:
    """A tokenizer that makes ids the model has not fails the text that shows it; others, and the worker, live on."""
    shutil.copytree(converted, tmp_path / "model")
    manifest = Manifest.read(converted)
    tokenizer = Tokenizer.from_file(str(converted / "tokenizer.json"))
    known = max(max(tokenizer.encode(text).ids) for text in ("a", "a self-test"))
    replace(manifest, vocab_size=known + 1).write(tmp_path / "model")
    large = next(word for word, number in tokenizer.get_vocab().items() if number > known and word.isalpha())
    worker = await Worker.start(tmp_path / "model", OPTIONS)

    good, bad = await asyncio.gather(embed(worker, ["a"] * 3), embed(worker, ["a", large]), return_exceptions=True)

    assert isinstance(bad, MLCommonsError)
    assert "vocabulary" in bad.reason
    assert not isinstance(good, BaseException)
    assert len(good) == 3
    assert len(await embed(worker, ["a"])) == 1
    await worker.kill()


@pytest.mark.parametrize("damaged", ["model.bin", "tokenizer.json"])
async def test_damaged_model_is_refused(converted: Path, tmp_path: Path, damaged: str) -> None:
    """A model that cannot be loaded is refused with the worker's reason."""
    shutil.copytree(converted, tmp_path / "model")
    (tmp_path / "model" / damaged).write_bytes(b"nonsense")

    with pytest.raises(InvalidModel, match=r"load|read"):
        await Worker.start(tmp_path / "model", OPTIONS)


@given(lengths=st.lists(st.sampled_from([0, 1, 1000, SLICE_CHARACTERS // 2, SLICE_CHARACTERS, SLICE_CHARACTERS * 2])))
def test_slices_are_short(lengths: list[int]) -> None:
    """Slices follow each other to the end; each has few texts and few characters, or is one text that has many."""
    texts = ["a" * length for length in lengths]
    start, sizes = 0, []
    while start < len(texts):
        stop = _slice_end(texts, start)
        sizes.append(stop - start)
        assert sizes[-1] == 1 or sum(lengths[start:stop]) <= SLICE_CHARACTERS
        start = stop

    assert sum(sizes) == len(texts)
    assert all(0 < size <= SLICE for size in sizes)

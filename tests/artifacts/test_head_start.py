"""Conversions that begin while the archive is still being uploaded."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.artifacts.head_start import PATIENCE
from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import InvalidModel
from tests.artifacts.test_sandbox import children_of

HASH = "cd" * 32


class Upload:
    """An archive that comes into a file, and how often it had to be fetched all the same."""

    def __init__(self, directory: Path, archive: Path, patience: float = PATIENCE) -> None:
        self.cache = ConvertedModels(directory / "cache", 4 << 30, 60, patience)
        self.staging = directory / "cache" / "staging"
        self.path = directory / "upload"
        self.content = archive.read_bytes()
        self.fetched = 0

    def add(self, start: int, end: int, content_hash: str = HASH) -> None:
        """Let more come, and tell it."""
        with self.path.open("ab") as file:
            file.write(self.content[start:end])
        whole = end == len(self.content)
        self.cache.advance(content_hash, "TORCH_SCRIPT", "float32", self.path, end, whole=whole)

    async def fetch(self, target: Path) -> None:
        """Copy the archive."""
        self.fetched += 1
        await asyncio.to_thread(target.write_bytes, self.content)

    async def directory(self) -> Path:
        """Ask for the converted model."""
        return await self.cache.directory(HASH, "TORCH_SCRIPT", "float32", self.fetch)

    async def children(self, count: int) -> list[int]:
        """Wait until so many processes convert, and return them."""
        async with asyncio.timeout(20):
            while len(found := await asyncio.to_thread(children_of, os.getpid())) != count:
                await asyncio.sleep(0.01)
        return found

    async def until_over(self) -> None:
        """Wait until nothing is under way."""
        async with asyncio.timeout(20):
            while self.cache._begun:
                await asyncio.sleep(0.01)

    async def is_clean(self) -> bool:
        """Return whether nothing is in staging."""
        return not await asyncio.to_thread(os.listdir, self.staging)


Make = Callable[..., Upload]


@pytest.fixture
async def begun(traced: Path, tmp_path: Path) -> AsyncIterator[Make]:
    """A maker of uploads of a small archive."""
    uploads: list[Upload] = []

    def make(name: str = "bert-mean-normalized", patience: float = PATIENCE) -> Upload:
        uploads.append(Upload(tmp_path, traced / f"{name}.zip", patience))
        return uploads[-1]

    yield make
    for upload in uploads:
        await upload.cache.close()
        assert await upload.is_clean()


async def test_it_is_the_same_model(begun: Make, tmp_path: Path) -> None:
    """What was begun early is what would have been made of the whole archive, and nothing is fetched for it."""
    upload, size = begun(), 0
    for end in (1000, 40_000, 90_000):
        upload.add(size, end)
        size = end
        await asyncio.sleep(0)
    upload.add(size, len(upload.content))

    directory = await upload.directory()

    assert upload.fetched == 0
    assert await upload.is_clean()
    other = ConvertedModels(tmp_path / "other", 4 << 30, 60)
    plain = await other.directory(HASH, "TORCH_SCRIPT", "float32", upload.fetch)
    assert Manifest.read(directory) == Manifest.read(plain)
    assert await upload.directory() == directory
    assert upload.fetched == 1


async def test_a_part_is_waited_for_by_nobody(begun: Make) -> None:
    """A model of the same content that is whole elsewhere does not wait for an upload that is not."""
    upload = begun()
    upload.add(0, 1000)
    await upload.children(1)

    await upload.directory()

    assert upload.fetched == 1


async def test_what_is_added_to_a_whole_archive_counts_for_nothing(begun: Make) -> None:
    """A file that grew after it was hashed is not what has that hash: it is not taken, and the archive is fetched."""
    upload = begun()
    upload.add(0, 1000)
    (child,) = await upload.children(1)
    os.kill(child, signal.SIGSTOP)
    upload.add(1000, len(upload.content))
    with upload.path.open("ab") as file:
        file.write(b"more")
    os.kill(child, signal.SIGCONT)

    await upload.directory()

    assert upload.fetched == 1


async def test_a_model_that_cannot_be_served_is_refused_once(begun: Make) -> None:
    """What the child says of a whole archive is the verdict; the next who asks has it tried again."""
    upload = begun("qa-bert")
    upload.add(0, len(upload.content))

    with pytest.raises(InvalidModel, match="BertForQuestionAnswering"):
        await upload.directory()

    assert upload.fetched == 0
    assert await upload.is_clean()
    with pytest.raises(InvalidModel, match="BertForQuestionAnswering"):
        await upload.directory()
    assert upload.fetched == 1


async def test_a_killed_child_costs_only_its_head_start(begun: Make) -> None:
    """If the child is killed, or its file cannot be linked, the model is converted from a fetched archive."""
    upload = begun()
    upload.add(0, 1000)
    (child,) = await upload.children(1)
    os.kill(child, signal.SIGKILL)
    upload.add(1000, len(upload.content))
    await upload.directory()
    assert upload.fetched == 1

    other = Upload(upload.path.parent / "other", upload.path)
    other.cache.advance(HASH, "TORCH_SCRIPT", "float32", upload.path.with_name("gone"), 9, whole=True)
    await other.directory()
    assert other.fetched == 1
    await other.cache.close()


async def test_what_is_there_is_not_begun(begun: Make) -> None:
    """No process is started for a model that is converted already, nor for a format that cannot be."""
    upload = begun()
    directory = await upload.directory()
    upload.add(0, 1000)
    upload.cache.advance(HASH, "ONNX", "float32", upload.path, 1000, whole=False)
    await upload.until_over()

    assert await asyncio.to_thread(children_of, os.getpid()) == []
    assert await asyncio.to_thread(directory.exists)


async def test_few_at_once(begun: Make) -> None:
    """No more than two archives on their way have a process; an end makes room for another."""
    upload = begun()
    for content_hash in ("1" * 64, "2" * 64, "3" * 64):
        upload.add(0, 1000, content_hash)
    await upload.children(2)

    async def unneeded() -> bool:
        return False

    await upload.cache.forget("1" * 64, unneeded)
    await upload.children(1)
    upload.add(0, 1000, "3" * 64)
    await upload.children(2)


async def test_an_upload_that_stands_still_is_given_up(begun: Make) -> None:
    """A child to which nothing comes ends, and so does a result that nobody takes; the next part begins anew."""
    upload = begun(patience=1.0)
    upload.add(0, 1000)
    await upload.children(1)
    await upload.children(0)
    await upload.until_over()

    upload.add(1000, len(upload.content))
    await upload.children(1)
    await upload.until_over()
    assert await upload.is_clean()
    await upload.directory()
    assert upload.fetched == 1

"""The cache of converted models."""

import asyncio
import errno
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.artifacts.manifest import CONVERTER, NAME, Manifest
from mlcommons_py.errors import CircuitBreaking, InvalidModel

MEMORY = 4 << 30
HASH = "ab" * 32


class Source:
    """Fetches one archive, and counts how often."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.fetched = 0

    async def __call__(self, target: Path) -> None:
        """Copy the archive."""
        self.fetched += 1
        await asyncio.to_thread(shutil.copyfile, self.archive, target)


@pytest.fixture
def source(traced: Path) -> Source:
    """Fetches a small model."""
    return Source(traced / "bert-mean-normalized.zip")


def opened(tmp_path: Path) -> ConvertedModels:
    """Open the cache of a test."""
    return ConvertedModels(tmp_path / "cache", MEMORY, 60)


def is_clean(tmp_path: Path) -> bool:
    """Return whether nothing is left in staging."""
    return not list((tmp_path / "cache" / "staging").iterdir())


async def get(cache: ConvertedModels, fetch: Callable[[Path], Awaitable[None]], compute_type: str = "float32") -> Path:
    """Ask for the model of a test."""
    return await cache.directory(HASH, "TORCH_SCRIPT", compute_type, fetch)


async def test_converts_once(tmp_path: Path, source: Source) -> None:
    """A model is fetched and converted once, for callers at the same time, later, and of the next process."""
    cache = opened(tmp_path)
    first, second = await asyncio.gather(get(cache, source), get(cache, source))
    assert first == second == await get(cache, source)
    assert await get(opened(tmp_path), source) == first
    assert source.fetched == 1
    assert Manifest.read(first).dimension == 32
    assert await cache.size() == sum(file.stat().st_size for file in first.iterdir())
    assert is_clean(tmp_path)


async def unneeded() -> bool:
    """Say that no model needs the content."""
    return False


async def test_one_for_each_type(tmp_path: Path, source: Source) -> None:
    """Each compute type is a conversion of its own; forgetting the content forgets them all."""
    cache = opened(tmp_path)
    paths = await asyncio.gather(get(cache, source), get(cache, source, "int8"))
    assert [Manifest.read(path).compute_type for path in paths] == ["float32", "int8"]
    await cache.forget(HASH, unneeded)
    assert not any(path.exists() for path in paths)
    assert await cache.size() == 0
    await cache.forget(HASH, unneeded)
    await get(cache, source)
    assert source.fetched == 3


def _flip(path: Path) -> None:
    data = bytearray((path / "model.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "model.bin").write_bytes(data)


def _rewrite(path: Path, **fields: object) -> None:
    manifest = orjson.loads((path / NAME).read_bytes())
    (path / NAME).write_bytes(orjson.dumps({**manifest, **fields}))


def _empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        lambda path: _rewrite(path, converter=CONVERTER + 1),
        lambda path: (path / "model.bin").write_bytes(b""),
        lambda path: (path / "tokenizer.json").unlink(),
        lambda path: (path / NAME).unlink(),
        lambda path: (path / NAME).write_bytes(b"{"),
        lambda path: (path / NAME).write_bytes(b"[]"),
        lambda path: (path / NAME).write_bytes(b'{"steps": [1]}'),
        lambda path: _rewrite(path, files=[]),
        lambda path: _rewrite(path, unknown=1),
        lambda path: (path / "stranger").write_bytes(b""),
        _empty,
    ],
)
async def test_rebuilds(tmp_path: Path, source: Source, damage: Callable[[Path], object]) -> None:
    """A directory that is damaged, incomplete or of another version is converted anew."""
    cache = opened(tmp_path)
    path = await get(cache, source)
    whole = {file.name: file.read_bytes() for file in path.iterdir()}
    damage(path)
    assert await get(cache, source) == path
    assert source.fetched == 2
    assert {file.name: file.read_bytes() for file in path.iterdir()} == whole
    assert is_clean(tmp_path)


async def test_verifies_once_a_process(tmp_path: Path, source: Source) -> None:
    """A change that size and time do not show is found by the next process, which reads every file once."""
    path = await get(opened(tmp_path), source)
    before = (path / "model.bin").stat()
    _flip(path)
    os.utime(path / "model.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    await get(opened(tmp_path), source)
    assert source.fetched == 2


async def test_failure_leaves_nothing(tmp_path: Path, traced: Path) -> None:
    """A model that cannot be served leaves nothing, and is tried again when it is asked for again."""
    cache, bad = opened(tmp_path), Source(traced / "qa-bert.zip")
    results = await asyncio.gather(get(cache, bad), get(cache, bad), return_exceptions=True)
    assert [type(result) for result in results] == [InvalidModel, InvalidModel]
    assert bad.fetched == 2
    assert await cache.size() == 0
    assert is_clean(tmp_path)


async def test_next_in_line(tmp_path: Path, source: Source) -> None:
    """Where one caller's archive cannot be fetched, the next one's is."""

    async def fail(_: Path) -> None:
        raise InvalidModel("chunk 3 is missing")

    cache = opened(tmp_path)
    bad, good = await asyncio.gather(get(cache, fail), get(cache, source), return_exceptions=True)
    assert isinstance(bad, InvalidModel)
    assert isinstance(good, Path)


async def test_full_disk(tmp_path: Path, source: Source) -> None:
    """A full disk is an error of its own, which may pass, and leaves nothing."""

    async def fill(target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = opened(tmp_path)
    with pytest.raises(CircuitBreaking, match="is full"):
        await get(cache, fill)
    assert is_clean(tmp_path)
    await get(cache, source)


async def test_cancelled(tmp_path: Path, source: Source) -> None:
    """A caller that gives up leaves nothing, and does not spoil it for the next."""
    cache = opened(tmp_path)
    fetching = asyncio.Event()

    async def hang(_: Path) -> None:
        fetching.set()
        await asyncio.Event().wait()

    first = asyncio.create_task(get(cache, hang))
    await fetching.wait()
    second = asyncio.create_task(get(cache, source))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await second / NAME).exists()
    assert is_clean(tmp_path)


def test_cleans_up(tmp_path: Path) -> None:
    """What an earlier process left half-done is removed when the cache is opened."""
    left = tmp_path / "cache" / "staging" / "x" / "model"
    left.mkdir(parents=True)
    (left / "model.bin").write_bytes(b"half")
    opened(tmp_path)
    assert is_clean(tmp_path)


async def test_no_hash(tmp_path: Path, source: Source) -> None:
    """A content hash that is none does not become a path."""
    path = await opened(tmp_path).directory("../../x", "TORCH_SCRIPT", "float32", source)
    assert path.parent == tmp_path / "cache" / "models"


async def test_unknown_format(tmp_path: Path, source: Source) -> None:
    """A format or a type that is not known is named, beside those that are."""
    with pytest.raises(InvalidModel, match=r"\.\./x is not supported; float32 and int8 are"):
        await get(opened(tmp_path), source, "../x")
    with pytest.raises(InvalidModel, match="ONNX is not supported; SAFETENSORS and TORCH_SCRIPT are"):
        await opened(tmp_path).directory(HASH, "ONNX", "float32", source)

"""Converted models on disk, under the hash of what they were converted from.

``models/KEY`` is a converted model, moved there in one step when it was complete; ``staging/`` holds what is under
way, and is emptied when the cache is opened. Nothing here is precious: what is missing, half-written, of another
version or changed by someone is converted anew.
"""

import asyncio
import errno
import hashlib
import re
import shutil
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from mlcommons_py.artifacts.head_start import PATIENCE, HeadStart
from mlcommons_py.artifacts.manifest import CONVERTER, NAME, Manifest, ModelFormat
from mlcommons_py.artifacts.sandbox import Conversion
from mlcommons_py.errors import CircuitBreaking, InvalidModel

FORMATS: dict[str, ModelFormat] = {"SAFETENSORS": "SAFETENSORS", "TORCH_SCRIPT": "TORCH_SCRIPT"}
"""Formats that can be converted, by the name that the API has for them."""

COMPUTE_TYPES = ("float32", "int8")
"""Types that weights can be stored in."""

_AT_ONCE = 2
"""Conversions that run at the same time; each takes about twice its model's size of memory."""

Fetch = Callable[[Path], Awaitable[None]]


class ConvertedModels:
    """The directory of converted models."""

    def __init__(self, root: Path, memory_bytes: int, cpu_seconds: int, patience: float = PATIENCE) -> None:
        """Open the cache under ``root``; the limits are those of one conversion, ``patience`` that of an early one."""
        self._patience = patience
        self._models = root / "models"
        self._staging = root / "staging"
        self._memory_bytes = memory_bytes
        self._cpu_seconds = cpu_seconds
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._verified: dict[str, tuple[object, ...]] = {}
        self._begun: dict[str, HeadStart] = {}
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)
        self._models.mkdir(exist_ok=True)

    async def directory(
        self, content_hash: str, model_format: str, compute_type: str, fetch: Fetch, *, doubt: bool = False
    ) -> Path:
        """Return the directory of a converted model, converting it first where it is not there.

        Calls for one model wait for each other, so that it is converted once; where that fails, the next in line tries
        with its own ``fetch``, which writes the archive to the path it is given. A model that is there is read and
        compared with its hashes once in a process, and with ``doubt`` again.

        Raises:
            InvalidModel: the model cannot be served.
            CircuitBreaking: the disk is full.
            Unavailable: the conversion was killed from outside; it may work the next time.
        """
        if model_format not in FORMATS:
            raise InvalidModel(f"[model_format] {model_format} is not supported; {' and '.join(FORMATS)} are")
        if compute_type not in COMPUTE_TYPES:
            raise InvalidModel(f"[compute_type] {compute_type} is not supported; {' and '.join(COMPUTE_TYPES)} are")
        key = _key(content_hash, model_format, compute_type)
        path = self._models / key
        async with self._lock(content_hash):
            if doubt:
                self._verified.pop(key, None)
            if not await asyncio.to_thread(self._is_sound, key, path) and not await self._take(key, path):
                async with self._turns:
                    await self._build(key, path, model_format, compute_type, fetch)
        return path

    def advance(
        self, content_hash: str, model_format: str, compute_type: str, source: Path, size: int, *, whole: bool
    ) -> None:
        """Begin to convert what is not there yet, or go on, while its archive is still coming into a file.

        So many bytes of it are there and stay as they are; ``whole`` says that this is all, and of that very hash.
        """
        if model_format not in FORMATS or compute_type not in COMPUTE_TYPES:
            return
        key = _key(content_hash, model_format, compute_type)
        if key not in self._begun:
            if len(self._begun) >= _AT_ONCE:
                return

            def begin(archive: Path, directory: Path) -> Conversion:
                return self._conversion(archive, model_format, directory, compute_type)

            staging = self._staging / uuid.uuid4().hex
            head = self._begun[key] = HeadStart(source, self._models / key, staging, begin, self._turns, self._patience)
            head.ended.add_done_callback(lambda _: self._begun.pop(key))
        self._begun[key].advance(source, size, whole=whole)

    async def _take(self, key: str, path: Path) -> bool:
        """Put in its place what was begun early; return whether there was anything."""
        head = self._begun.get(key)
        if head is None or not head.is_whole:
            return False
        try:
            built = await head.result()
            if built is not None:
                self._install(key, built, path, built.with_name("old"))
            return built is not None
        finally:
            await head.end()

    async def close(self) -> None:
        """End what was begun early."""
        await asyncio.gather(*(head.end() for head in self._begun.values()))

    async def contents(self) -> set[str]:
        """Return the hashes of the contents that converted models are kept of."""
        return {path.name[:64] for path in await asyncio.to_thread(lambda: list(self._models.iterdir()))}

    async def forget(self, content_hash: str, is_needed: Callable[[], Awaitable[bool]]) -> None:
        """Remove what was converted from this content, unless it is needed; nobody converts it meanwhile."""
        async with self._lock(content_hash):
            if await is_needed():
                return
            begun = [head for key, head in self._begun.items() if key.startswith(_stem(content_hash))]
            await asyncio.gather(*(head.end() for head in begun))
            for path in await asyncio.to_thread(lambda: list(self._models.glob(f"{_stem(content_hash)}-*"))):
                self._verified.pop(path.name, None)
                await asyncio.to_thread(self._remove, path)

    async def size(self) -> int:
        """Return the bytes that converted models take on the disk."""
        return await asyncio.to_thread(_size, self._models)

    def _lock(self, content_hash: str) -> asyncio.Lock:
        return self._locks.setdefault(content_hash, asyncio.Lock())

    async def _build(self, key: str, path: Path, model_format: str, compute_type: str, fetch: Fetch) -> None:
        staging = self._staging / uuid.uuid4().hex
        archive, built = staging / "archive.zip", staging / "model"
        try:
            await asyncio.to_thread(staging.mkdir)
            await fetch(archive)
            async with self._conversion(archive, model_format, built, compute_type) as conversion:
                await conversion.result()
            self._install(key, built, path, staging / "old")
        except OSError as fault:
            if fault.errno in (errno.ENOSPC, errno.EDQUOT):
                raise CircuitBreaking(
                    f"the disk of {self._staging} is full: a model needs three times the size of its archive while it"
                    " is converted",
                    retry_after=60,
                ) from fault
            raise
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True))

    def _conversion(self, archive: Path, model_format: str, directory: Path, compute_type: str) -> Conversion:
        limits = {"memory_bytes": self._memory_bytes, "cpu_seconds": self._cpu_seconds}
        return Conversion(archive, FORMATS[model_format], directory, compute_type, **limits)

    def _install(self, key: str, built: Path, path: Path, old: Path) -> None:
        """Put a converted model in its place; a few renames, done at once so that nothing comes between them."""
        with suppress(FileNotFoundError):
            path.rename(old)
        built.rename(path)
        self._verified[key] = _stamp(path)

    def _remove(self, path: Path) -> None:
        """Take a directory away in one step, then delete it."""
        doomed = self._staging / uuid.uuid4().hex
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def _is_sound(self, key: str, path: Path) -> bool:
        """Return whether a converted model is whole; its files are read once in a process, then only looked at."""
        try:
            stamp = _stamp(path)
            if self._verified.get(key) != stamp:
                _verify(path)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._verified.pop(key, None)
            return False
        self._verified[key] = stamp
        return True


def _verify(path: Path) -> None:
    """Compare a converted model with its manifest; any difference is a ValueError."""
    manifest = Manifest.read(path)
    if manifest.converter != CONVERTER:
        raise ValueError("converted by another version")
    found = {file.name for file in path.iterdir()} - {NAME}
    if found != set(manifest.files):
        raise ValueError("files are missing or left over")
    for name, digest in manifest.files.items():
        with (path / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ValueError(f"{name} has changed")


def _stamp(path: Path) -> tuple[object, ...]:
    """Return what changes when a file of a directory does."""
    states = sorted((file.name, file.stat()) for file in path.iterdir())
    return tuple((name, state.st_size, state.st_mtime_ns, state.st_ino) for name, state in states)


def _key(content_hash: str, model_format: str, compute_type: str) -> str:
    return f"{_stem(content_hash)}-{model_format.lower()}-{compute_type}"


def _stem(content_hash: str) -> str:
    """Return a content's part of the keys; what is no hash is hashed, for it becomes the name of a file."""
    if re.fullmatch(r"[0-9a-f]{64}", content_hash):
        return content_hash
    return hashlib.sha256(content_hash.encode()).hexdigest()


def _size(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                total += path.stat().st_size
    return total

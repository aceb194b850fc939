"""Converts models in a child process that can do no harm: bounded, without secrets, and gone when the service is.

What the child may use is limited by the kernel: address space, CPU time, length of a file, open files. Its environment
holds nothing of the service's. A crash in it is an error here.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import orjson

from mlcommons_py.artifacts.child import Job
from mlcommons_py.artifacts.manifest import Manifest, ModelFormat
from mlcommons_py.errors import CircuitBreaking, InvalidModel, MLCommonsError, Unavailable

log = logging.getLogger(__name__)

FILE_BYTES = 16 << 30
_ANSWER_BYTES = 1 << 20
_NOISE_BYTES = 64 << 10
PATIENCE = 4
"""Wall time that a conversion may take, as a multiple of its CPU time."""


async def convert(
    archive: Path,
    model_format: ModelFormat,
    directory: Path,
    *,
    compute_type: str = "float32",
    memory_bytes: int,
    cpu_seconds: int,
    file_bytes: int = FILE_BYTES,
    patience: int = PATIENCE,
) -> Manifest:
    """Convert the model in a zip file into ``directory``, which must not exist yet, and return its manifest.

    It may take ``patience`` times ``cpu_seconds``. Cancelling it ends the child. Where it fails, the directory is gone.

    Raises:
        MLCommonsError: as :meth:`Conversion.result`.
    """
    limits = {"memory_bytes": memory_bytes, "cpu_seconds": cpu_seconds, "file_bytes": file_bytes}
    async with Conversion(archive, model_format, directory, compute_type, **limits, patience=patience) as conversion:
        return await conversion.result()


class Conversion:
    """A child that converts one model, from the beginning of an archive that may still grow.

    When it is left before there is a result, the child is ended and its directory is gone.
    """

    def __init__(
        self,
        archive: Path,
        model_format: ModelFormat,
        directory: Path,
        compute_type: str,
        *,
        memory_bytes: int,
        cpu_seconds: int,
        file_bytes: int = FILE_BYTES,
        patience: int = PATIENCE,
    ) -> None:
        self._seconds = patience * cpu_seconds
        self._job = Job(
            archive=_absolute(archive),
            model_format=model_format,
            directory=_absolute(directory),
            compute_type=compute_type,
            memory_bytes=memory_bytes,
            cpu_seconds=cpu_seconds,
            file_bytes=file_bytes,
            parent=os.getpid(),
        )
        self._done = False

    async def __aenter__(self) -> Self:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "mlcommons_py.artifacts.child",
            self._job.to_json(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # a Ctrl-C at the terminal is for the service alone
        )
        assert process.stdout is not None
        assert process.stderr is not None
        self._answer = asyncio.create_task(_read(process.stdout, _ANSWER_BYTES))
        self._noise = asyncio.create_task(_read(process.stderr, _NOISE_BYTES))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(self._leave())

    async def _leave(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.gather(self._answer, self._noise, self._process.wait(), return_exceptions=True)
        if not self._done:
            await asyncio.to_thread(shutil.rmtree, self._job.directory, ignore_errors=True)

    def announce(self, size: int) -> None:
        """Tell the child how many bytes of the archive are there; they stay as they are."""
        self._say(b"%d\n" % size)

    async def result(self) -> Manifest:
        """Tell the child that all of the archive is there, and return the manifest of what it made.

        Raises:
            InvalidModel: the model cannot be served, or not within the limits; the text names the part or the limit.
            CircuitBreaking: the disk is full.
            Unavailable: the child was killed from outside; it may work the next time.
        """
        self._say(b"\n")
        try:
            async with asyncio.timeout(self._seconds):
                answer, noise = await asyncio.gather(self._answer, self._noise)
                status = await self._process.wait()
        except TimeoutError as fault:
            raise InvalidModel(f"converting the model took more than {self._seconds} s") from fault
        manifest = _manifest(self._job, answer, noise, status)
        self._done = True
        return manifest

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(ConnectionError, RuntimeError):  # a child that has ended says by its status why
            self._process.stdin.write(line)


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    """Return the beginning of a stream, having read all of it."""
    kept = bytearray()
    while data := await stream.read(1 << 16):
        kept += data[: most - len(kept)]
    return bytes(kept)


def _absolute(path: Path) -> str:
    return str(path.absolute())


def _environment() -> dict[str, str]:
    """Return the child's environment; it finds the same packages as this process, and nothing else."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        **dict.fromkeys(threads, "1"),
    }


def _manifest(job: Job, answer: bytes, noise: bytes, status: int) -> Manifest:
    """Return the manifest that the child answered with, or raise what its end means."""
    result = _parse(answer)
    if noise:
        log.debug("converting %s said:\n%s", job.archive, noise.decode(errors="replace"))
    if status == 0 and "manifest" in result:
        return Manifest.from_json(result["manifest"])
    reason = result.get("reason")
    if status == 0 and isinstance(reason, str):
        raise InvalidModel(reason)
    raise _fault(job, str(result.get("fault")), noise.decode(errors="replace"), status)


def _parse(answer: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _fault(job: Job, fault: str, noise: str, status: int) -> MLCommonsError:
    if fault == "disk":
        return CircuitBreaking(
            f"the disk of {job.directory} is full: converting the model needs three times the size of its archive",
            retry_after=60,
        )
    if fault == "installation":
        return MLCommonsError(f"the installation is incomplete, nothing can be converted: {_last_line(noise)}")
    if fault == "file":
        return InvalidModel(f"the model needs a file longer than the limit of {job.file_bytes} bytes")
    if fault == "memory" or (status < 0 and "bad_alloc" in noise):
        return InvalidModel(
            f"converting the model needs more than the limit of {job.memory_bytes >> 20} MiB of address space; raise"
            " conversion_memory_bytes"
        )
    if status == -signal.SIGXCPU:
        return InvalidModel(
            f"converting the model takes more than the limit of {job.cpu_seconds} s of CPU time; raise"
            " conversion_seconds"
        )
    if status in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
        return Unavailable(
            f"the process that converted the model was killed by {signal.Signals(-status).name}, by hand or because"
            " memory ran out; try again"
        )
    if status < 0:
        return InvalidModel(f"the model file is invalid: converting it crashed with {signal.Signals(-status).name}")
    return InvalidModel(f"the model cannot be converted: its process ended with status {status}: {_last_line(noise)}")


def _last_line(noise: str) -> str:
    return noise.strip().rsplit("\n", 1)[-1][:300]

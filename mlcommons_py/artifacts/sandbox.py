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
from typing import Any

import orjson

from mlcommons_py.artifacts.child import Job
from mlcommons_py.artifacts.manifest import Manifest, ModelFormat
from mlcommons_py.errors import CircuitBreaking, InvalidModel, MLCommonsError, Unavailable

log = logging.getLogger(__name__)

FILE_BYTES = 16 << 30
_ANSWER_BYTES = 1 << 20
_NOISE_BYTES = 64 << 10
_WAITING = 4
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
) -> Manifest:
    """Convert the model in a zip file into ``directory``, which must not exist yet, and return its manifest.

    Cancelling it ends the child. Where it fails, the directory is gone.

    Raises:
        InvalidModel: the model cannot be served, or not within the limits; the text names the part or the limit.
        CircuitBreaking: the disk is full.
        Unavailable: the child was killed from outside; it may work the next time.
    """
    job = Job(
        archive=_absolute(archive),
        model_format=model_format,
        directory=_absolute(directory),
        compute_type=compute_type,
        memory_bytes=memory_bytes,
        cpu_seconds=cpu_seconds,
        file_bytes=file_bytes,
        parent=os.getpid(),
    )
    try:
        answer, noise, status = await _run(job)
        return _manifest(job, answer, noise, status)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True))
        raise


async def _run(job: Job) -> tuple[bytes, bytes, int]:
    """Return what the child wrote to its standard output and error, and its exit status."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "mlcommons_py.artifacts.child",
        job.to_json(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
        start_new_session=True,  # a Ctrl-C at the terminal is for the service alone
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_WAITING * job.cpu_seconds):
            answer, noise = await asyncio.gather(
                _read(process.stdout, _ANSWER_BYTES), _read(process.stderr, _NOISE_BYTES)
            )
            return answer, noise, await process.wait()
    except TimeoutError as fault:
        raise InvalidModel(f"converting the model took more than {_WAITING * job.cpu_seconds} s") from fault
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())


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

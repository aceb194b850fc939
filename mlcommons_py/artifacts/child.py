"""The process that converts one model: ``python -m mlcommons_py.artifacts.child JOB``.

It confines itself before it imports anything that reads the model, hears on its standard input how much of the archive
is there, and answers with one line of JSON on what was its standard output. :mod:`.sandbox` starts it.
"""

import ctypes
import errno
import os
import resource
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from mlcommons_py import malloc
from mlcommons_py.errors import InvalidModel

_PR_SET_PDEATHSIG = 1
_OPEN_FILES = 256


@dataclass(frozen=True, slots=True)
class Job:
    """What to convert, and within what limits.

    Attributes:
        archive: absolute path of the zip file.
        model_format: ``SAFETENSORS`` or ``TORCH_SCRIPT``.
        directory: absolute path of the directory to make.
        compute_type: ``float32`` or ``int8``.
        memory_bytes: address space.
        cpu_seconds: CPU time.
        file_bytes: length of any one file that is written.
        parent: process id of the service; the child does not outlive it.
    """

    archive: str
    model_format: Any
    directory: str
    compute_type: str
    memory_bytes: int
    cpu_seconds: int
    file_bytes: int
    parent: int

    def to_json(self) -> str:
        """Return the job as the one argument of the process."""
        return orjson.dumps(asdict(self)).decode()


def main() -> None:
    """Convert the model that the first argument describes."""
    job = Job(**orjson.loads(sys.argv[1]))
    answer = os.dup(1)
    os.dup2(2, 1)
    confine(job)
    # What is read, inflated and written comes and goes in large blocks: mapped each time, they cost page faults.
    malloc.tune(mapped_from=64 << 20)
    try:
        from mlcommons_py.artifacts.convert import convert

        manifest = convert(Path(job.archive), job.model_format, Path(job.directory), job.compute_type, sys.stdin.buffer)
        result: dict[str, Any] = {"manifest": manifest.to_json()}
    except BaseException as fault:  # noqa: BLE001 - tokenizers panics with a BaseException of its own
        traceback.print_exc()
        result = explain(fault)
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(orjson.dumps(result) + b"\n")
    sys.stderr.flush()
    os._exit(0)  # the kernel takes all of it back at once, where the interpreter would piece by piece


def confine(job: Job) -> None:
    """Put the process under its limits, and bind its life to its parent's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != job.parent:
        sys.exit("the parent process is gone")
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, job.file_bytes),
        (resource.RLIMIT_AS, job.memory_bytes),
    ):
        _limit(kind, limit, limit)
    _limit(resource.RLIMIT_CPU, job.cpu_seconds, job.cpu_seconds + 5)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.nice(5)


def _limit(kind: int, soft: int, hard: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, highest = resource.getrlimit(kind)
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(kind, (soft, hard))


def explain(fault: BaseException) -> dict[str, Any]:
    """Return what the parent is told of a fault: which limit it was, or the text of the error."""
    if isinstance(fault, InvalidModel):
        return {"fault": "model", "reason": fault.reason}
    number = fault.errno if isinstance(fault, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return {"fault": "disk"}
    if number == errno.EFBIG:
        return {"fault": "file"}
    if number == errno.ENOMEM or isinstance(fault, MemoryError) or _is_about_memory(str(fault)):
        return {"fault": "memory"}
    if isinstance(fault, ImportError):
        return {"fault": "installation"}
    where = traceback.extract_tb(fault.__traceback__)[-1]
    text = f"{type(fault).__name__}: {str(fault)[:500]} ({Path(where.filename).name}, line {where.lineno})"
    return {"fault": "model", "reason": f"the model cannot be converted: {text}"}


def _is_about_memory(text: str) -> bool:
    """Return whether an error that has no better type says that memory ran out."""
    signs = ("bad_alloc", "allocate memory", "failed to map segment", "can't start new thread")
    return any(sign in text for sign in signs)


if __name__ == "__main__":
    main()

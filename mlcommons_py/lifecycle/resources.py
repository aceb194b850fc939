"""What the machine has left: the two breakers that refuse work before it fails half-way."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlcommons_py.errors import CircuitBreaking
from mlcommons_py.plugin_settings import PluginSettings, size_in_bytes

_NO_LIMIT = 1 << 60
"""Version 1 of control groups says a number like this where there is no limit."""

WORKER_BYTES = 100 << 20
"""Memory of a worker process beside its model's weights, with room for the activations of a batch."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What this machine, and the control groups around this process, leave to new processes, in bytes.

    Attributes:
        available: what the kernel calls available.
        limit, used: of the control group that leaves least, page cache that can be dropped not counted; None where
            there is no limit.
    """

    available: int
    limit: int | None = None
    used: int | None = None

    @property
    def free(self) -> int:
        """The smaller of what the machine and what the control group leaves."""
        if self.limit is None or self.used is None:
            return self.available
        return min(self.available, max(0, self.limit - self.used))


def memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Memory:
    """Return what is left of memory.

    Raises:
        OSError, KeyError, ValueError: the kernel does not tell.
    """
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    available = {words[0]: int(words[1]) for words in lines if len(words) > 1}["MemAvailable:"] << 10
    limits = [found for group in _groups(proc, groups) if (found := _limit(group)) is not None]
    if not limits:
        return Memory(available)
    limit, used = min(limits, key=lambda pair: pair[0] - pair[1])
    return Memory(available, limit, used)


def _groups(proc: Path, root: Path) -> Iterator[Path]:
    """Yield the control group of this process and those around it, of version 2; and that of version 1."""
    try:
        own = next(line[3:] for line in (proc / "self" / "cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        own = "/"
    inner = PurePosixPath(own.lstrip("/"))
    yield from (root / one for one in (inner, *inner.parents))
    yield root / "memory"


def _limit(group: Path) -> tuple[int, int] | None:
    for limit, usage, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            allowed, used = int((group / limit).read_text()), int((group / usage).read_text())
        except (OSError, ValueError):
            continue
        return (allowed, max(0, used - _statistic(group, cache))) if allowed < _NO_LIMIT else None
    return None


def _statistic(group: Path, name: str) -> int:
    try:
        pairs = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        return next((int(value) for key, value in pairs if key == name), 0)
    except (OSError, ValueError):
        return 0


def check_memory(needed: int) -> None:
    """Refuse to load what does not fit.

    Raises:
        CircuitBreaking: fewer than ``needed`` bytes are free; the text has both numbers.
    """
    free = memory().free
    if free < needed:
        raise CircuitBreaking(
            "Memory Circuit Breaker is open, please check your resources!"
            f" The model needs {needed >> 20} MiB, {free >> 20} MiB are free.",
            retry_after=10,
        )


def check_disk(directory: Path, settings: PluginSettings) -> None:
    """Refuse to store more while the disk is as good as full.

    Raises:
        CircuitBreaking: less is free than ``disk_free_space_threshold`` says.
    """
    threshold = size_in_bytes(settings["disk_free_space_threshold"])
    free = shutil.disk_usage(directory).free
    if free < threshold:
        raise CircuitBreaking(
            "Disk Circuit Breaker is open, please check your resources!"
            f" {free >> 20} MiB are free, plugins.ml_commons.disk_free_space_threshold is {threshold >> 20} MiB.",
            retry_after=60,
        )

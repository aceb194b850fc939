"""What the machine has left: the two breakers that refuse work before it fails half-way."""

import shutil
from pathlib import Path

from mlcommons_py.errors import CircuitBreaking
from mlcommons_py.plugin_settings import PluginSettings, size_in_bytes

WORKER_BYTES = 100 << 20
"""Memory of a worker process beside its model's weights, with room for the activations of a batch."""


def free_memory() -> int:
    """Return the bytes that new processes can take: what the kernel calls available, or what the cgroup leaves."""
    available = _meminfo()["MemAvailable"] << 10
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit is not None and used is not None:
        available = min(available, max(0, limit - used))
    return available


def check_memory(needed: int) -> None:
    """Refuse to load what does not fit.

    Raises:
        CircuitBreaking: fewer than ``needed`` bytes are free; the text has both numbers.
    """
    free = free_memory()
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


def _meminfo() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}


def _cgroup(name: str) -> int | None:
    try:
        text = (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None

"""What the process of a worker is started with."""

import os
from pathlib import Path

_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"})


def environment() -> dict[str, str]:
    """Return the environment of a worker: threads are its own business, and the fastest instructions are used.

    CTranslate2 never chooses AVX-512 by itself, and fails on a CPU without it.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    chosen = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
    }
    if cpu_flags() >= _AVX512:
        chosen["CT2_FORCE_CPU_ISA"] = "AVX512"
    return {**kept, **chosen}


def cpu_flags() -> frozenset[str]:
    """Return what the CPU can do, in the kernel's words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))

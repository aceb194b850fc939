"""How glibc's malloc gives memory back."""

import ctypes
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def tune(mapped_from: int, arenas: int = 2) -> None:
    """Map blocks of at least so many bytes by themselves, so that freeing one gives its memory back at once.

    Left alone, glibc raises the threshold with each large block that is freed, and keeps such blocks for later in as
    many arenas as there are threads. Where there is no glibc nothing happens.
    """
    libc: Any = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_THRESHOLD, mapped_from)
    libc.mallopt(_M_TRIM_THRESHOLD, mapped_from)
    libc.mallopt(_M_ARENA_MAX, arenas)

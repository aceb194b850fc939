"""How memory is taken from Linux, and given back."""

import ctypes
import mmap
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT = 4 << 20
_PAGE = mmap.PAGESIZE


def tune(mapped_from: int, arenas: int = 2) -> None:
    """Map blocks of at least so many bytes by themselves, so that freeing one gives its memory back at once.

    Left alone, glibc raises the threshold with each large block that is freed, and keeps such blocks for later in as
    many arenas as there are threads. The end of the heap goes back when 4 MiB of it are free: what comes and goes all
    the time, such as the parts of a body, would be new memory each time. Where there is no glibc nothing happens.
    """
    libc: Any = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_THRESHOLD, mapped_from)
    libc.mallopt(_M_TRIM_THRESHOLD, max(mapped_from, _KEPT))
    libc.mallopt(_M_ARENA_MAX, arenas)


def take_large_pages(block: memoryview) -> None:
    """Have a block that was not touched yet be made of pages of 2 MiB where it can be: one fault each, in place of 512.

    That is a wish: where the system does not know it (``transparent_hugepage/enabled`` is ``never``) nothing happens.
    """
    libc: Any = ctypes.CDLL(None)
    if not hasattr(libc, "madvise") or not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    start = ctypes.addressof(ctypes.c_char.from_buffer(block))
    first = -(-start // _PAGE) * _PAGE
    length = (start + block.nbytes - first) // _PAGE * _PAGE
    if length > 0:
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)

"""Memory is taken in large pages where that is asked for."""

import ctypes
from io import BytesIO
from pathlib import Path

import pytest

from mlcommons_py.malloc import take_large_pages

KNOWN = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def flags(address: int) -> list[str]:
    """Return what Linux notes of the mapping that an address is in."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if "-" in first:
            start, end = (int(one, 16) for one in first.split("-"))
            inside = start <= address < end
        elif inside and first == "VmFlags:":
            return rest.split()
    return []


@pytest.mark.skipif(not KNOWN.exists(), reason="this Linux has no large pages to choose")
def test_large_pages() -> None:
    """A long block is marked for large pages, all but the parts of pages at its ends, and holds what is written."""
    whole = BytesIO(bytes(10_000_000))
    block = whole.getbuffer()
    take_large_pages(block)
    middle = ctypes.addressof(ctypes.c_char.from_buffer(block)) + 5_000_000
    marked = flags(middle)
    block.release()
    whole.write(b"x" * 10_000_000)

    assert "hg" in marked
    assert whole.getvalue() == b"x" * 10_000_000


def test_no_page_in_it() -> None:
    """A block that is shorter than a page stays as it is."""
    take_large_pages(memoryview(bytearray(100)))

"""What a piece of work leaves in memory."""

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def holds_less_than(limit: int) -> Iterator[None]:
    """Fail if a block leaves more bytes of Python's memory behind than so many."""
    tracemalloc.start()
    try:
        yield
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < limit
    finally:
        tracemalloc.stop()

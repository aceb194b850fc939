"""How many connections each process has, in memory that all of them share."""

import mmap
import os

_NOT_SERVING = -1


class Turns:
    """A number for each process; this one's is at ``slot``, and nobody else writes it while it runs."""

    def __init__(self, descriptor: int, slot: int) -> None:
        self._numbers = memoryview(mmap.mmap(descriptor, 0)).cast("i")
        self._slot = slot

    def note(self, count: int | None) -> None:
        """Let the others know how many connections this process has; None when it accepts none any more."""
        self._numbers[self._slot] = _NOT_SERVING if count is None else count

    def others_first(self, count: int) -> bool:
        """Return whether another process that accepts has fewer connections than ``count``."""
        return any(_NOT_SERVING < number < count for number in self._numbers)

    def gone(self, slot: int) -> None:
        """Note that another process has ended."""
        self._numbers[slot] = _NOT_SERVING


def shared(count: int) -> int:
    """Return the descriptor of memory for so many processes, none of which serves yet."""
    descriptor = os.memfd_create("turns")
    os.write(descriptor, b"\xff" * 4 * count)
    return descriptor

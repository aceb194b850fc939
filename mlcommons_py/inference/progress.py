"""How long the threads of a worker have been at what they do."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """Since when each thread has been at the piece of work that it has in hand."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Count what is done in here as one piece of work of this thread."""
        own = threading.get_ident()
        self._since[own] = self._clock()
        try:
            yield
        finally:
            del self._since[own]

    def longest(self) -> float:
        """Return for how many seconds the piece that was begun first has been worked at; 0 if all threads wait."""
        since = self._since.copy()  # other threads may begin and end meanwhile
        return self._clock() - min(since.values()) if since else 0.0

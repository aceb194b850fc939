"""How long the last requests of a model took."""

import time
from collections import deque

from mlcommons_py.observe.numbers import PAST, Use

_KEPT = 100


class Latencies:
    """The durations of the last requests, and how many there were in all."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._elsewhere: dict[int, Use] = {}
        self._count = 0
        self.last = time.monotonic()
        """When the last one began or ended, or this object was made, by the monotonic clock."""

    def add(self, seconds: float) -> None:
        """Take a request down that took so long and ends now."""
        self.last = time.monotonic()
        self._recent.append((self.last, seconds))
        self._count += 1

    def touch(self) -> None:
        """Note that a request begins, or goes on."""
        self.last = time.monotonic()

    @property
    def count(self) -> int:
        """How many requests there were, in all processes."""
        return self._count + sum(use.count for use in self._elsewhere.values())

    def use(self) -> Use:
        """Return what there was of requests in this process."""
        return Use(self._count, self.last, list(self._recent))

    def tell(self, process: int, use: Use | None) -> None:
        """Take down what there was of them in another process, in place of what it told before."""
        if use is None:
            self._elsewhere.pop(process, None)
            return
        self._elsewhere[process] = use
        self.last = max(self.last, use.last)

    def ended(self, process: int) -> None:
        """Keep what a process that ended has told."""
        use, before = self._elsewhere.pop(process, None), self._elsewhere.get(PAST, Use(0, 0.0))
        if use is not None:
            recent = sorted([*before.recent, *use.recent])[-_KEPT:]
            self._elsewhere[PAST] = Use(before.count + use.count, max(before.last, use.last), recent)

    def summary(self) -> dict[str, float]:
        """Return count, max, min, average and percentiles in milliseconds; empty before any request."""
        recent = list(self._recent)
        for use in self._elsewhere.values():
            recent.extend(use.recent)
        if not recent:
            return {}
        ordered = sorted(1e3 * took for _, took in sorted(recent)[-_KEPT:])
        at = {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 90, 99)}
        average = sum(ordered) / len(ordered)
        return {"count": self.count, "max": ordered[-1], "min": ordered[0], "average": average, **at}

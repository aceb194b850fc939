"""How long the last requests of a model took."""

import time
from collections import deque

_KEPT = 100


class Latencies:
    """The durations of the last requests, and how many there were in all."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_KEPT)
        self.count = 0
        self.last = time.monotonic()
        """When the last one began or ended, or this object was made, by the monotonic clock."""

    def add(self, seconds: float) -> None:
        """Take a request down that took so long and ends now."""
        self._recent.append(seconds)
        self.count += 1
        self.last = time.monotonic()

    def touch(self) -> None:
        """Note that a request begins, or goes on."""
        self.last = time.monotonic()

    def summary(self) -> dict[str, float]:
        """Return count, max, min, average and percentiles in milliseconds; empty before any request."""
        if not self._recent:
            return {}
        ordered = sorted(1e3 * took for took in self._recent)
        at = {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 90, 99)}
        average = sum(ordered) / len(ordered)
        return {"count": self.count, "max": ordered[-1], "min": ordered[0], "average": average, **at}

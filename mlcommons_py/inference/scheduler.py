"""The queue of a model: texts of all requests wait in it, and batches of like length are cut from it.

It knows tokens and time, nothing of sockets or of the engine. Work that is due earliest goes first: a search is due
when it comes, ingestion a little later, so that searches overtake and nothing waits for ever.
"""

import heapq
import threading
import time
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

LENIENCE = 0.5
"""Seconds after its arrival at which work that is not urgent is due."""

SMALLEST_SHARE = 64
"""Tokens below which a batch is not split so that an idle thread gets some of it."""


@dataclass(slots=True, eq=False)
class Job:
    """The texts of one request.

    Attributes:
        due: when it is due, on the scheduler's clock.
        expires: when nobody waits for it any more; None for never.
        results: one place a text; filled as batches end.
        left: texts that have no result yet.
        begun: when its first batch began.
    """

    id: int
    count: int
    due: float
    arrived: float
    expires: float | None = None
    results: list[Any] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    left: int = 0
    truncated: int = 0
    begun: float | None = None
    dropped: bool = False

    def __post_init__(self) -> None:
        self.results = [None] * self.count
        self.lengths = [0] * self.count
        self.left = self.count


@dataclass(slots=True, eq=False)
class Item:
    """One text of a job, as token ids."""

    job: Job
    position: int
    ids: Sequence[int]

    @property
    def length(self) -> int:
        """How many tokens it has."""
        return len(self.ids)


class Scheduler:
    """Hands out batches to the threads that compute."""

    def __init__(self, budget: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Hand out batches of at most ``budget`` tokens, padding included."""
        self._budget = budget
        self._clock = clock
        self._waiting: dict[int, list[tuple[float, int, Item]]] = {}
        self._lengths: list[int] = []
        self._tokens = 0
        self._number = 0
        self._idle = 0
        self._open = True
        self._jobs: dict[int, Job] = {}
        self._changed = threading.Condition()

    @property
    def idle(self) -> int:
        """How many threads wait for work."""
        return self._idle

    def job(self, job_id: int, count: int, *, urgent: bool, timeout: float | None) -> Job:
        """Return a new job whose texts will follow."""
        now = self._clock()
        job = Job(
            id=job_id,
            count=count,
            due=now if urgent else now + LENIENCE,
            arrived=now,
            expires=None if timeout is None else now + timeout,
        )
        with self._changed:
            self._jobs[job_id] = job
        return job

    def add(self, items: Sequence[Item]) -> None:
        """Queue texts; none of them may be empty."""
        with self._changed:
            for item in items:
                self._number += 1
                length = item.length
                if length not in self._waiting:
                    self._waiting[length] = []
                    insort(self._lengths, length)
                heapq.heappush(self._waiting[length], (item.job.due, self._number, item))
                self._tokens += length
            self._changed.notify(len(items))

    def drop(self, job_id: int) -> None:
        """Forget a request: what of it has not begun is never computed."""
        with self._changed:
            job = self._jobs.pop(job_id, None)
            if job is not None:
                job.dropped = True

    def finish(self, job: Job) -> bool:
        """Take a job that ended out of the table; return whether somebody still waits for it."""
        with self._changed:
            return self._jobs.pop(job.id, None) is not None

    def close(self) -> None:
        """Let the threads end when the queue is empty."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def next_batch(self) -> list[Item] | None:
        """Wait for work and return a batch of it; None when there will be no more."""
        with self._changed:
            self._idle += 1
            try:
                while True:
                    if batch := self._cut():
                        return batch
                    if not self._open:
                        return None
                    self._changed.wait()
            finally:
                self._idle -= 1

    def _cut(self) -> list[Item]:
        first = None
        while first is None:
            if not (length := self._first_length()):
                return []
            first = self._take(length)
        # When there is less to do than the idle threads could take, each gets its share.
        budget = self._budget
        if self._idle > 1:
            budget = min(budget, max(SMALLEST_SHARE, -(-(self._tokens + first.length) // self._idle)))
        batch, width = [first], first.length
        while width * (len(batch) + 1) <= budget and (length := self._longest_within(width)):
            if (item := self._take(length)) is not None:
                batch.append(item)
        now = self._clock()
        for item in batch:
            if item.job.begun is None:
                item.job.begun = now
        return batch

    def _first_length(self) -> int:
        """Return the length of the text to begin with: the earliest due, and of those the longest; 0 if none waits."""
        best: tuple[float, int] | None = None
        for length in self._lengths:
            due = self._waiting[length][0][0]
            if best is None or (due, -length) < best:
                best = (due, -length)
        return 0 if best is None else -best[1]

    def _longest_within(self, width: int) -> int:
        """Return the longest length that waits and is no longer than a batch is wide; 0 if there is none."""
        place = bisect_right(self._lengths, width)
        return self._lengths[place - 1] if place else 0

    def _take(self, length: int) -> Item | None:
        """Take the earliest text of a length that somebody still waits for; None where the length has none."""
        heap = self._waiting.get(length)
        while heap:
            _, _, item = heapq.heappop(heap)
            self._tokens -= length
            if not heap:
                del self._waiting[length]
                self._lengths.remove(length)
            if not self._is_stale(item.job):
                return item
        return None

    def _is_stale(self, job: Job) -> bool:
        if not job.dropped and job.expires is not None and self._clock() > job.expires:
            job.dropped = True
            self._jobs.pop(job.id, None)
        return job.dropped

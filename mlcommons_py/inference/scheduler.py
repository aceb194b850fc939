"""The queue of a model: texts of all requests wait in it, and batches of like length are cut from it.

It knows tokens and time, nothing of sockets or of the engine. Searches overtake ingestion however much of it waits;
where searches alone could fill the machine, ingestion still gets one batch in so many, so that nothing waits for ever.
"""

import heapq
import threading
import time
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

TURN = 4
"""Batches of urgent work after which one of the other work that waits is cut."""

SMALLEST_SHARE = 64
"""Tokens below which a batch is not split so that an idle thread gets some of it."""


@dataclass(slots=True, eq=False)
class Job:
    """The texts of one request.

    Attributes:
        urgent: whether it goes before work that is not.
        arrived: when it came, on the scheduler's clock.
        expires: when nobody waits for it any more; None for never.
        results: one place a text; filled as batches end.
        left: texts that have no result yet.
        begun: when its first batch began.
    """

    id: int
    count: int
    urgent: bool
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


class Lane:
    """Texts that are equally urgent, by length; those of a length in the order in which their requests came."""

    def __init__(self) -> None:
        self.tokens = 0
        self._heaps: dict[int, list[tuple[float, int, Item]]] = {}
        self._lengths: list[int] = []

    def add(self, number: int, item: Item) -> None:
        """Put a text in; ``number`` is its own, and higher than that of all before it."""
        length = item.length
        if length not in self._heaps:
            self._heaps[length] = []
            insort(self._lengths, length)
        heapq.heappush(self._heaps[length], (item.job.arrived, number, item))
        self.tokens += length

    def take(self, length: int) -> Item:
        """Take the text of a length, one of those that wait, whose request came first."""
        heap = self._heaps[length]
        _, _, item = heapq.heappop(heap)
        self.tokens -= length
        if not heap:
            del self._heaps[length]
            self._lengths.remove(length)
        return item

    def first_length(self) -> int:
        """Return the length of the text to begin with: of the earliest request the longest; 0 if none waits."""
        if not self._lengths:
            return 0
        return min(self._lengths, key=lambda length: (self._heaps[length][0][0], -length))

    def longest_within(self, width: int) -> int:
        """Return the longest length that waits and is no longer than a batch is wide; 0 if there is none."""
        place = bisect_right(self._lengths, width)
        return self._lengths[place - 1] if place else 0


class Scheduler:
    """Hands out batches to the threads that compute."""

    def __init__(self, budget: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Hand out batches of at most ``budget`` tokens, padding included."""
        self._budget = budget
        self._clock = clock
        self._urgent, self._patient = Lane(), Lane()
        self._in_a_row = 0
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
        expires = None if timeout is None else now + timeout
        job = Job(id=job_id, count=count, urgent=urgent, arrived=now, expires=expires)
        with self._changed:
            self._jobs[job_id] = job
        return job

    def add(self, items: Sequence[Item]) -> None:
        """Queue texts; none of them may be empty."""
        with self._changed:
            for item in items:
                self._number += 1
                (self._urgent if item.job.urgent else self._patient).add(self._number, item)
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
        """Wait for work and return a batch of it; None when there will be no more.

        A batch is as wide as its longest text, and width times texts is within the budget; a longer text is alone.
        """
        with self._changed:
            self._idle += 1
            try:
                while True:
                    if batch := self._next():
                        return batch
                    if not self._open:
                        return None
                    self._changed.wait()
            finally:
                self._idle -= 1

    def _next(self) -> list[Item]:
        turn = self._in_a_row >= TURN
        for lane in (self._patient, self._urgent) if turn else (self._urgent, self._patient):
            if batch := self._cut(lane):
                self._in_a_row = self._in_a_row + 1 if lane is self._urgent else 0
                return batch
        return []

    def _cut(self, lane: Lane) -> list[Item]:
        batch: list[Item] = []
        width = budget = 0
        while length := lane.longest_within(width) if batch else lane.first_length():
            if batch and width * (len(batch) + 1) > budget:
                break
            waiting = lane.tokens
            item = lane.take(length)
            if self._is_stale(item.job):
                continue
            if not batch:
                width, budget = length, self._budget
                if self._idle > 1:  # there may be less to do than the threads could take: each gets its share
                    budget = min(budget, max(SMALLEST_SHARE, -(-waiting // self._idle)))
            batch.append(item)
        now = self._clock()
        for item in batch:
            if item.job.begun is None:
                item.job.begun = now
        return batch

    def _is_stale(self, job: Job) -> bool:
        if not job.dropped and job.expires is not None and self._clock() > job.expires:
            job.dropped = True
            self._jobs.pop(job.id, None)
        return job.dropped

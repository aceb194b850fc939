"""The queue before the engine."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from mlcommons_py.inference.scheduler import LENIENCE, SMALLEST_SHARE, Item, Job, Scheduler


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def queue(scheduler: Scheduler, job_id: int, lengths: list[int], *, urgent: bool = False) -> Job:
    """Queue a request with texts of so many tokens."""
    job = scheduler.job(job_id, len(lengths), urgent=urgent, timeout=None)
    scheduler.add([Item(job, place, [7] * length) for place, length in enumerate(lengths)])
    return job


def drain(scheduler: Scheduler) -> list[list[Item]]:
    """Return all batches, one after the other, as a single thread would get them."""
    scheduler.close()
    batches = []
    while (batch := scheduler.next_batch()) is not None:
        batches.append(batch)
    return batches


Requests = st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=20), min_size=1, max_size=12)


@settings(deadline=None, max_examples=200)
@given(requests=Requests, budget=st.integers(1, 600))
def test_each_text_once_and_within_budget(requests: list[list[int]], budget: int) -> None:
    """Every text is handed out exactly once, in batches within the budget; a text that exceeds it runs alone."""
    scheduler = Scheduler(budget)
    for number, lengths in enumerate(requests):
        queue(scheduler, number, lengths)

    batches = drain(scheduler)

    handed = sorted((item.job.id, item.position, item.length) for batch in batches for item in batch)
    assert handed == sorted(
        (number, place, length) for number, lengths in enumerate(requests) for place, length in enumerate(lengths)
    )
    for batch in batches:
        assert len(batch) == 1 or max(item.length for item in batch) * len(batch) <= budget


def test_like_lengths_share_a_batch() -> None:
    """Texts of two requests that are alike in length run together, longest first."""
    scheduler = Scheduler(200)
    queue(scheduler, 1, [100, 10, 50])
    queue(scheduler, 2, [100, 10, 50])

    batches = [[item.length for item in batch] for batch in drain(scheduler)]

    assert batches == [[100, 100], [50, 50, 10, 10]]


def test_urgent_overtakes() -> None:
    """A search that comes after ingestion is handed out before it."""
    scheduler = Scheduler(10)
    queue(scheduler, 1, [10] * 5)
    queue(scheduler, 2, [10], urgent=True)

    assert [batch[0].job.id for batch in drain(scheduler)] == [2, 1, 1, 1, 1, 1]


def test_ingestion_does_not_starve() -> None:
    """Ingestion that has waited past its lenience goes before searches that come later."""
    clock = Clock()
    scheduler = Scheduler(10, clock=clock)
    queue(scheduler, 1, [10])
    clock.now += LENIENCE + 0.01
    queue(scheduler, 2, [10], urgent=True)

    assert [batch[0].job.id for batch in drain(scheduler)] == [1, 2]


def test_dropped_work_is_never_handed_out() -> None:
    """A request that nobody waits for any more leaves the queue, and its neighbours stay."""
    scheduler = Scheduler(100)
    queue(scheduler, 1, [10, 10])
    queue(scheduler, 2, [10])
    scheduler.drop(1)

    assert [item.job.id for batch in drain(scheduler) for item in batch] == [2]


def test_expired_work_is_never_handed_out() -> None:
    """A request whose time is over is dropped before a batch forms."""
    clock = Clock()
    scheduler = Scheduler(100, clock=clock)
    job = scheduler.job(1, 1, urgent=False, timeout=5)
    scheduler.add([Item(job, 0, [1, 2])])
    queue(scheduler, 2, [2])
    clock.now += 6

    assert [item.job.id for batch in drain(scheduler) for item in batch] == [2]
    assert job.dropped
    assert not scheduler.finish(job)


def test_a_little_work_is_shared() -> None:
    """When several threads are idle, each gets a part of what one could take alone."""
    scheduler = Scheduler(512)
    taken: list[int] = []

    def compute() -> None:
        while (batch := scheduler.next_batch()) is not None:
            taken.append(len(batch))

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    while scheduler.idle < 2:
        pass
    queue(scheduler, 1, [16] * 16)
    scheduler.close()
    for thread in threads:
        thread.join()

    assert sum(taken) == 16
    assert max(taken) * 16 <= max(SMALLEST_SHARE, 16 * 16 // 2)


def test_close_ends_waiting_threads() -> None:
    """A thread that waits for work ends when there will be none."""
    scheduler = Scheduler(512)
    ended: list[object] = []
    thread = threading.Thread(target=lambda: ended.append(scheduler.next_batch()))
    thread.start()

    scheduler.close()
    thread.join(10)

    assert ended == [None]

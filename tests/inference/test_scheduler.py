"""The queue before the engine."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from mlcommons_py.inference.scheduler import SMALLEST_SHARE, TURN, Item, Job, Scheduler


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


def batch_of(scheduler: Scheduler) -> list[int]:
    """Return the requests in the next batch."""
    return [item.job.id for item in scheduler.next_batch() or ()]


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


def test_a_search_overtakes_however_long_ingestion_has_waited() -> None:
    """A search goes first also when the queue of ingestion is minutes deep."""
    clock = Clock()
    scheduler = Scheduler(10, clock=clock)
    queue(scheduler, 1, [10] * 50)
    clock.now += 300
    queue(scheduler, 2, [10], urgent=True)

    assert batch_of(scheduler) == [2]


def test_ingestion_gets_its_turn() -> None:
    """Under searches without end, ingestion has one batch in so many, however new it is."""
    scheduler = Scheduler(10)
    queue(scheduler, 1, [10] * 3)
    for number in range(2, 40):
        queue(scheduler, number, [10], urgent=True)

    order = [batch_of(scheduler)[0] for _ in range(3 * (TURN + 1))]

    assert [place for place, job in enumerate(order) if job == 1] == [TURN, 2 * TURN + 1, 3 * TURN + 2]


def test_searches_are_not_held_up_by_their_batch() -> None:
    """A batch of searches is filled with searches, not with ingestion that happens to be longer."""
    scheduler = Scheduler(60)
    queue(scheduler, 1, [10] * 20)
    queue(scheduler, 2, [9], urgent=True)
    queue(scheduler, 3, [10], urgent=True)
    queue(scheduler, 4, [10], urgent=True)

    batches = [sorted(batch_of(scheduler)) for _ in range(2)]

    assert batches == [[2], [3, 4]]


def test_stale_searches_do_not_use_up_turns() -> None:
    """Searches that nobody waits for any more are skipped, and ingestion follows at once."""
    scheduler = Scheduler(10)
    for number in range(1, 20):
        queue(scheduler, number, [10], urgent=True)
        scheduler.drop(number)
    queue(scheduler, 20, [10])

    assert batch_of(scheduler) == [20]


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

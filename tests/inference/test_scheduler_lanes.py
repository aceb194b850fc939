"""Searches and ingestion in one queue."""

from mlcommons_py.inference.scheduler import TURN, Item, Job, Scheduler


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


def batch_of(scheduler: Scheduler) -> list[int]:
    """Return the requests in the next batch."""
    return [item.job.id for item in scheduler.next_batch() or ()]


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

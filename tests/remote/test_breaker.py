"""A provider that fails call after call is left alone for a while."""

import asyncio
import contextlib

import pytest

from mlcommons_py.errors import RemoteFailed, Unavailable
from mlcommons_py.remote.breaker import Breaker, Suspension
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote.conftest import asking, settings_of
from tests.remote.fake import ANY, RESET, SILENT, Answer, Fake

ONCE = ClientConfig()


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def failing(breaker: Breaker, count: int, fault: str | None = "status 500") -> None:
    """End so many calls of model ``m`` with a fault."""
    for _ in range(count):
        with breaker.call("m") as verdict:
            verdict.fault = fault


def test_faults_in_a_row_open_it_and_one_probe_closes_it() -> None:
    """After the third fault calls are refused; when the pause is over one goes through, and its success is enough."""
    clock, changes = Clock(), list[tuple[str, bool]]()
    breaker = Breaker(3, 5.0, clock, lambda model_id, is_open: changes.append((model_id, is_open)))

    failing(breaker, 3)
    with pytest.raises(Unavailable) as refused, breaker.call("m"):
        raise AssertionError("a call went through")
    clock.now = 5.0
    with breaker.call("m") as verdict:
        with pytest.raises(Unavailable, match="it is being tried again") as waiting, breaker.call("m"):
            raise AssertionError("a second probe went through")
        assert waiting.value.headers == {"Retry-After": "1"}
        verdict.fault = ""
    failing(breaker, 2)

    assert refused.value.reason == (
        "Calls of model m are suspended after 3 faults of its provider in a row, the last: status 500;"
        " it is tried again in 5.0 s"
    )
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})
    assert (breaker.open(), changes) == ([], [("m", True), ("m", False)])


def test_what_another_process_found_out_holds_here() -> None:
    """A breaker that opens in one process opens in those that hear of it, and a probe's end is heard, too."""
    clock, heard = Clock(), list[Suspension]()
    told = Breaker(3, 5.0, clock, found=heard.append)
    changes = list[tuple[str, bool]]()
    hearing = [Breaker(3, 5.0, clock, lambda *change: changes.append(change)), Breaker(3, 5.0, clock)]

    failing(told, 3)
    clock.now = 1.0
    hearing[0].hear(heard[0])
    hearing[1].hear(*told.suspensions())
    for one in hearing:
        with pytest.raises(Unavailable, match="after 3 faults of its provider in a row, the last: status 500"):
            failing(one, 1)
    clock.now = 6.0
    failing(hearing[1], 1)
    failing(told, 1)
    assert [one.left for one in (*told.suspensions(), *hearing[1].suspensions())] == [10.0, 10.0]
    hearing[0].hear(heard[1])
    clock.now = 16.0
    failing(told, 1, "")
    hearing[0].hear(heard[2])

    assert [(one.pause, one.left) for one in heard] == [(5.0, 5.0), (10.0, 10.0), (0.0, 0.0)]
    assert changes == [("m", True), ("m", False)]
    assert hearing[0].open() == told.open() == []


def test_a_probe_that_ends_when_another_process_has_closed_the_breaker() -> None:
    """Its fault is the first of a new row: it neither opens the breaker nor is told to anybody."""
    clock, heard = Clock(), list[Suspension]()
    breaker = Breaker(3, 5.0, clock, found=heard.append)
    failing(breaker, 3)
    clock.now = 5.0

    with breaker.call("m") as probe:
        breaker.hear(Suspension("m", "", 3, "status 500", 0.0, 0.0))
        probe.fault = "status 500"

    assert (breaker.open(), len(heard)) == ([], 1)
    failing(breaker, 2)
    assert (breaker.open(), len(heard)) == (["m"], 2)


def test_another_origin_is_not_let_through_again() -> None:
    """That one provider is well says nothing of another that the model has been given since."""
    breaker = Breaker(3, 5.0, Clock())
    breaker.hear(Suspension("m", "https://new", 3, "status 500", 5.0, 5.0))

    breaker.hear(Suspension("m", "https://old", 3, "status 500", 0.0, 0.0))
    assert breaker.open() == ["m"]
    breaker.hear(Suspension("m", "https://new", 3, "status 500", 0.0, 0.0))
    assert breaker.open() == []


def test_a_success_between_faults_begins_the_count_anew() -> None:
    """Only faults in a row count; a call that ended in nothing known (cancelled) changes nothing."""
    breaker = Breaker(3, 5.0, Clock())

    for outcome in ("f", "f", "", "f", "f", None, ""):
        failing(breaker, 1, outcome)
    assert breaker.open() == []
    for outcome in ("f", "f", None, "f"):
        failing(breaker, 1, outcome)

    assert breaker.open() == ["m"]


def test_a_probe_that_fails_doubles_the_pause() -> None:
    """Each probe that fails makes the next one wait twice as long, up to a minute."""
    clock = Clock()
    breaker = Breaker(1, 5.0, clock)
    failing(breaker, 1)
    pauses = []

    for _ in range(6):
        began = clock.now
        while True:
            clock.now += 1.0
            try:
                failing(breaker, 1)
            except Unavailable:
                continue
            break
        pauses.append(clock.now - began)

    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_probe_that_is_cancelled_lets_the_next_one_through() -> None:
    """A probe without an outcome is no outcome; the next call probes."""
    clock = Clock()
    breaker = Breaker(1, 5.0, clock)
    failing(breaker, 1)
    clock.now = 6.0

    failing(breaker, 1, None)
    failing(breaker, 1, "")

    assert breaker.open() == []


def test_calls_under_way_when_it_opens_do_not_close_it() -> None:
    """A late success of a call that began before does not count as a probe, nor does it shorten the pause."""
    breaker = Breaker(1, 5.0, Clock())

    with breaker.call("m") as early:
        failing(breaker, 1)
        early.fault = ""

    assert breaker.open() == ["m"]
    breaker.forget("m")
    assert breaker.open() == []


def test_another_provider_begins_anew() -> None:
    """When a connector leads elsewhere, its model's calls go out at once; a late outcome of the old one is void."""
    changes = list[tuple[str, bool]]()
    breaker = Breaker(1, 5.0, Clock(), lambda model_id, is_open: changes.append((model_id, is_open)))

    with breaker.call("m", "http://wrong") as late:
        with breaker.call("m", "http://wrong") as verdict:
            verdict.fault = "Connection refused"
        with breaker.call("m", "http://right") as verdict:
            verdict.fault = ""
        with breaker.call("m", "http://right") as verdict:
            verdict.fault = None
        late.fault = ""

    assert (breaker.open(), changes) == ([], [("m", True), ("m", False)])


def test_another_provider_begins_anew_in_every_process() -> None:
    """Where one process finds a model called at another origin, no process shows it as suspended any more."""
    told = list[Suspension]()
    one, other = Breaker(1, 5.0, Clock(), found=told.append), Breaker(1, 5.0, Clock())
    with one.call("m", "http://wrong") as verdict:
        verdict.fault = "Connection refused"
    other.hear(told[0])
    assert other.open() == ["m"]

    with one.call("m", "http://right") as verdict:
        verdict.fault = ""
    for suspension in told[1:]:
        other.hear(suspension)

    assert other.open() == []


async def test_only_faults_of_the_provider_count(fake: Fake) -> None:
    """Answers of 5xx and broken connections open a model's breaker; 4xx, cancelled calls and other models do not."""
    settings = settings_of()
    transport = Transport(Trust(settings), settings, breaker=Breaker(4))
    fake.on("/400", Answer(400)).on("/429", Answer(429)).on("/500", Answer(500)).on("/reset", RESET)
    fake.on("/silent", SILENT).on(ANY, Answer(200, {}))

    async def call(path: str, model_id: str = "m") -> int:
        return (await transport.send(asking(f"{fake.url}/{path}"), ONCE, model_id=model_id)).status

    for _ in range(5):
        assert (await call("400"), await call("429")) == (400, 429)
    for path in ("500", "reset", "500"):
        with contextlib.suppress(RemoteFailed):
            await call(path)
    cancelled = asyncio.ensure_future(call("silent"))
    await fake.asked(14)
    cancelled.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cancelled
    assert transport.breaker.open() == []
    async with transport.stream(asking(f"{fake.url}/500"), ONCE, model_id="m") as answer:
        assert answer.status == 500

    with pytest.raises(Unavailable, match=r"^Calls of model m are suspended after 4 faults .* the last: status 500;"):
        await call("fine")
    with pytest.raises(Unavailable):
        async with transport.stream(asking(f"{fake.url}/fine"), ONCE, model_id="m"):
            pass
    assert await call("fine", "other") == 200
    assert len(fake.requests) == 16
    await transport.close()

"""The numbers of several processes, added up."""

from collections.abc import Mapping
from typing import Any

import orjson

from mlcommons_py.observe.counters import Counters
from mlcommons_py.observe.elsewhere import Elsewhere
from mlcommons_py.observe.latencies import Latencies
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.observe.numbers import Numbers, Use, total
from tests.observe.test_metrics import of, samples


def _told(metrics: Metrics, counters: Counters | None = None) -> Numbers:
    """Return what a process tells, after it went over the wire."""
    counts = {} if counters is None else counters.counts()
    executing = 0 if counters is None else counters.executing
    told = Numbers(counts, executing, metrics.series(), {"m": Use(1, 2.0, [(2.0, 0.5)])})
    return Numbers.from_json(orjson.loads(orjson.dumps(told.to_json())))


def _called(model_id: str, seconds: float = 0.5) -> Metrics:
    metrics = Metrics(list)
    metrics.called(model_id, 200, seconds, 3)
    return metrics


def test_numbers_survive_the_way() -> None:
    """What is told arrives as it was."""
    counters = Counters()
    counters.begin("REMOTE", "predict", "m")
    told = Numbers(counters.counts(), 1, _called("m").series(), {"m": Use(1, 2.0, [(2.0, 0.5)])})

    assert Numbers.from_json(orjson.loads(orjson.dumps(told.to_json()))) == told


def test_metrics_are_summed_line_by_line() -> None:
    """A histogram's buckets, sums and counts and a counter add up, also of series that one process alone has."""
    elsewhere = Elsewhere()
    metrics = Metrics(list, elsewhere)
    metrics.called("m", 200, 0.004, 1)
    elsewhere.tell(1, _told(_called("m")))
    elsewhere.tell(2, _told(_called("other")))

    found = samples(metrics)

    labels = {"model": "m", "status": "200"}
    assert found[of("provider_call_seconds_count", **labels)] == 2
    assert found[of("provider_call_seconds_sum", **labels)] == 0.504
    assert found[of("provider_call_seconds_bucket", **labels, le="0.005")] == 1
    assert found[of("provider_call_seconds_bucket", **labels, le="+Inf")] == 2
    assert found[of("provider_call_seconds_count", model="other", status="200")] == 1
    assert found[of("provider_repetitions_total", model="m")] == 2


def test_what_is_told_again_replaces_what_was() -> None:
    """Numbers are sums since a process began: telling them twice counts them once."""
    elsewhere = Elsewhere()
    metrics = Metrics(list, elsewhere)
    for _ in range(2):
        elsewhere.tell(1, _told(_called("m")))

    assert samples(metrics)[of("provider_call_seconds_count", model="m", status="200")] == 1


def test_a_state_is_not_summed() -> None:
    """A provider that two processes suspend is suspended, not twice so; when those end, it is not any more."""
    elsewhere = Elsewhere()
    metrics = Metrics(list, elsewhere)
    for process in (1, 2):
        other = Metrics(list)
        other.suspended("m", True)
        elsewhere.tell(process, _told(other))
    both = samples(metrics)
    for process in (1, 2):
        elsewhere.ended(process)

    assert both[of("provider_suspended", model="m")] == 1
    assert of("provider_suspended", model="m") not in samples(metrics)


def test_the_dead_are_counted_beside_the_living() -> None:
    """What a process had counted stays when it ends, and the next one's is added; nothing of it is under way."""
    elsewhere, busy = Elsewhere(), Counters()
    counters = Counters(elsewhere)
    busy.begin("REMOTE", "predict", "m")
    for process in (1, 2, 3):
        elsewhere.tell(process, _told(_called("m"), busy))
    elsewhere.ended(1)
    elsewhere.ended(2)

    whole = counters.total()

    assert whole.by_model() == {"m": {"predict": {"ml_action_request_count": 3}}}
    assert whole.executing == 1
    assert counters.by_model() == {}
    found = samples(Metrics(list, elsewhere))
    assert found[of("provider_call_seconds_count", model="m", status="200")] == 3


def test_a_model_that_is_gone_leaves_no_series() -> None:
    """Forgetting a model drops its series of other processes, also of those that ended, and tells those that live."""
    elsewhere = Elsewhere()
    metrics = Metrics(list, elsewhere)
    elsewhere.tell(1, _told(_called("m")))
    elsewhere.tell(2, _told(_called("m")))
    elsewhere.tell(3, _told(_called("other")))
    elsewhere.ended(1)
    told = _Told()
    elsewhere.processes = told

    metrics.forget("m")

    assert {labels for _, labels in samples(metrics) if ("model", "m") in labels} == set()
    assert of("provider_call_seconds_count", model="other", status="200") in samples(metrics)
    assert told.gone == ["m"]


class _Told:
    """Processes that keep what they are told."""

    def __init__(self) -> None:
        self.gone: list[str] = []

    async def gather(self) -> None:
        """Tell nothing."""

    def changed(self, model_id: str) -> None:
        """Forget nothing."""

    def removed(self, model_id: str) -> None:
        """Keep the model."""
        self.gone.append(model_id)

    def suspended(self, told: Mapping[str, Any]) -> None:
        """Suspend nothing."""


def test_the_earliest_beginning_counts() -> None:
    """A series that several processes have began when the first of them had it."""
    key = ("mlcommons_tasks", "mlcommons_tasks_created", ())

    assert total([Numbers(series={key: 7.0}), Numbers(series={key: 5.0})]).series == {key: 5.0}


def test_latencies_of_several_processes() -> None:
    """Calls anywhere count, the newest make the percentiles, and the last one is when the model was last used."""
    latencies = Latencies()
    latencies.add(0.5)
    late = latencies.last + 1000.0
    latencies.tell(1, Use(3, late, [(late, 0.1)] * 3))
    latencies.tell(2, Use(1, 0.0, [(0.0, 9.0)]))
    latencies.tell(2, None)
    both = latencies.summary()
    latencies.ended(1)
    latencies.tell(3, Use(1, 1.0, [(late, 0.1)]))

    assert (both["count"], both["max"], both["min"]) == (4, 500.0, 100.0)
    assert latencies.last == late
    assert latencies.summary()["count"] == latencies.count == 5
    latencies.tell(4, Use(200, late, [(late + 1, 0.2)] * 100))
    assert latencies.summary()["min"] == 200.0

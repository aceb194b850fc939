"""What Prometheus scrapes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mlcommons_py.observe.durations import Durations
from mlcommons_py.observe.elsewhere import Elsewhere
from mlcommons_py.observe.numbers import Numbers, Series, total


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a model that runs is at this moment, and has done since it was deployed here.

    Attributes:
        up: whether its worker runs.
        texts, tokens, truncated: embedded; of the texts those that were cut for their length.
        failures, rejected: requests that failed, and that were refused for a full queue.
        restarts: workers that were replaced.
        waiting: texts admitted and not yet answered.
        rss: resident memory of its worker in bytes; 0 while there is none.
    """

    up: bool
    texts: int
    tokens: int
    truncated: int
    failures: int
    rejected: int
    restarts: int
    waiting: int
    rss: int


Deployed = Callable[[], Iterable[tuple[str, Running]]]
"""Returns the models that run, by their ids."""


class Metrics:
    """The service's metrics, in a registry of their own."""

    def __init__(self, deployed: Deployed, elsewhere: Elsewhere | None = None) -> None:
        """Count from zero; ``elsewhere`` has what other processes of the service count."""
        self._elsewhere = elsewhere
        self._registry = CollectorRegistry()
        self._requests = Durations(
            "mlcommons_http_request_seconds",
            "Time from a request's head to its answer",
            ("route", "method", "status"),
            self._registry,
        )
        self._stages = Durations(
            "mlcommons_predict_stage_seconds",
            "Time that a predict spent waiting for its first batch and computing, or at its provider and around it",
            ("model", "stage"),
            self._registry,
        )
        self._calls = Durations(
            "mlcommons_provider_call_seconds",
            "Time from the beginning of a call to a provider to the end of its answer; status 0 is that of no answer",
            ("model", "status"),
            self._registry,
        )
        self._repetitions = Counter(
            "mlcommons_provider_repetitions", "Requests that were sent again", ("model",), registry=self._registry
        )
        self._suspended = Gauge(
            "mlcommons_provider_suspended",
            "Whether calls of the model are refused because its provider fails",
            ("model",),
            registry=self._registry,
        )
        self._tasks = Counter(
            "mlcommons_tasks", "Tasks that ended, by type and state", ("type", "state"), registry=self._registry
        )
        self._registry.register(_Deployed(deployed))

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request; ``route`` is the template, never the path."""
        self._requests.observe((route, method, str(status)), seconds)

    def predicted(self, model_id: str, queued: float, computed: float) -> None:
        """Count a predict's stages, in seconds."""
        self._stages.observe((model_id, "queued"), queued)
        self._stages.observe((model_id, "computed"), computed)

    def stage(self, model_id: str, stage: str, seconds: float) -> None:
        """Count a stage of a remote model's predict: ``prepared``, ``provider`` or ``read``."""
        self._stages.observe((model_id, stage), seconds)

    def called(self, model_id: str, status: int, seconds: float, attempts: int) -> None:
        """Count a call to a provider; status 0 is that of no answer."""
        self._calls.observe((model_id, str(status)), seconds)
        if attempts > 1:
            self._repetitions.labels(model_id).inc(attempts - 1)

    def suspended(self, model_id: str, is_open: bool) -> None:
        """Note that calls of a model are refused from now on, or are not any more."""
        if is_open:
            self._suspended.labels(model_id).set(1)
        else:
            self._suspended.remove(model_id)

    def forget(self, model_id: str) -> None:
        """Drop the series of a model that is not here any more."""
        for durations in (self._stages, self._calls):
            durations.forget(model_id)
        for metric in (self._repetitions, self._suspended):
            metric.remove_by_labels({"model": model_id})
        if self._elsewhere is not None:
            self._elsewhere.removed(model_id)

    def series(self) -> dict[Series, float]:
        """Return what this process counted, line by line."""
        return _series(self._registry.collect())

    def task(self, task_type: str, state: str) -> None:
        """Count a task that ended."""
        self._tasks.labels(task_type, state).inc()

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        if self._elsewhere is None:
            return generate_latest(self._registry)
        return generate_latest(_Whole(self._registry, self._elsewhere))


class _Whole(CollectorRegistry):
    """A registry together with what other processes counted."""

    def __init__(self, own: CollectorRegistry, elsewhere: Elsewhere) -> None:
        super().__init__()
        self._own = own
        self._elsewhere = elsewhere

    def collect(self) -> Iterator[Metric]:
        """Yield the families of the registry, each line the sum over all processes."""
        families = list(self._own.collect())
        whole = total([Numbers(series=_series(families)), self._elsewhere.total()]).series
        found: dict[str, list[tuple[Series, float]]] = {}
        for key, value in whole.items():
            found.setdefault(key[0], []).append((key, value))
        for family in families:
            shown = Metric(family.name, family.documentation, family.type, family.unit)
            for (_, name, labels), value in found.get(family.name, ()):
                shown.add_sample(name, dict(labels), value)
            yield shown


def _series(families: Iterable[Metric]) -> dict[Series, float]:
    return {
        (family.name, sample.name, tuple(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


class _Deployed(Collector):
    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed

    def collect(self) -> Iterator[Metric]:
        """Yield what running models are right now."""
        models = list(self._deployed())
        for name, text in (("texts", "embedded"), ("tokens", "embedded"), ("truncated", "cut for their length"),
                           ("failures", "that failed"), ("rejected", "refused for a full queue")):  # fmt: skip
            what = "Tokens" if name == "tokens" else "Requests" if name in ("failures", "rejected") else "Texts"
            counter = CounterMetricFamily(f"mlcommons_model_{name}", f"{what} {text}", labels=("model",))
            for model_id, one in models:
                counter.add_metric((model_id,), getattr(one, name))
            yield counter
        restarts = CounterMetricFamily("mlcommons_worker_restarts", "Workers that were replaced", labels=("model",))
        up = GaugeMetricFamily("mlcommons_worker_up", "Whether the model's worker runs", labels=("model",))
        waiting = GaugeMetricFamily("mlcommons_queue_texts", "Texts not yet answered", labels=("model",))
        rss = GaugeMetricFamily("mlcommons_worker_resident_bytes", "Memory of the worker", labels=("model",))
        for model_id, one in models:
            restarts.add_metric((model_id,), one.restarts)
            up.add_metric((model_id,), float(one.up))
            waiting.add_metric((model_id,), one.waiting)
            rss.add_metric((model_id,), one.rss)
        yield from (restarts, up, waiting, rss)

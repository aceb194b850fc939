"""What a process of the service has counted since it started, as it tells another process of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

Series = tuple[str, str, tuple[tuple[str, str], ...]]
"""One line of the metrics: its family, its own name, and its labels."""

COUNTS = ("requests", "failures", "model_requests", "model_failures")
"""What :class:`~mlcommons_py.observe.counters.Counters` has."""

PAST = 0
"""The number of a process that never was: under it is kept what all those told that have ended."""


@dataclass(frozen=True, slots=True)
class Use:
    """How a model was used.

    Attributes:
        count: calls that were answered.
        last: when one last began or ended, by the monotonic clock, which all processes of a machine share.
        recent: of the last calls, when each ended and how many seconds it took.
    """

    count: int
    last: float
    recent: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True)
class Numbers:
    """Everything that one process counted.

    Attributes:
        counts: by what is counted (:data:`COUNTS`) and by algorithm or model and action.
        executing: requests under way.
        series: the lines of its metrics.
        uses: remote models that were called there.
    """

    counts: Mapping[str, Mapping[tuple[str, str], int]] = field(default_factory=dict)
    executing: int = 0
    series: Mapping[Series, float] = field(default_factory=dict)
    uses: Mapping[str, Use] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return them as a JSON value."""
        return {
            "counts": {name: [[*key, count] for key, count in counts.items()] for name, counts in self.counts.items()},
            "executing": self.executing,
            "series": [[*key, value] for key, value in self.series.items()],
            "uses": {model_id: [use.count, use.last, use.recent] for model_id, use in self.uses.items()},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Return what a JSON value says."""
        return cls(
            counts={name: {(a, b): count for a, b, count in counts} for name, counts in told["counts"].items()},
            executing=told["executing"],
            series={
                (family, name, tuple((label, text) for label, text in labels)): value
                for family, name, labels, value in told["series"]
            },
            uses={
                model_id: Use(count, last, [(at, took) for at, took in recent])
                for model_id, (count, last, recent) in told["uses"].items()
            },
        )

    def without(self, model_id: str) -> Self:
        """Return them without the lines of a model's metrics."""
        return replace(
            self, series={key: value for key, value in self.series.items() if ("model", model_id) not in key[2]}
        )

    def past(self) -> Self:
        """Return what stays of a process that ended: nothing that only holds while it runs."""
        kept = {key: value for key, value in self.series.items() if not _is_gauge(key)}
        return replace(self, executing=0, series=kept, uses={})


def total(told: Iterable[Numbers]) -> Numbers:
    """Return the sum of numbers, but for how models were used."""
    counts: dict[str, dict[tuple[str, str], int]] = {name: {} for name in COUNTS}
    series: dict[Series, float] = {}
    executing = 0
    for one in told:
        executing += one.executing
        for name, by_key in one.counts.items():
            for pair, count in by_key.items():
                counts[name][pair] = counts[name].get(pair, 0) + count
        for key, value in one.series.items():
            series[key] = value if key not in series else _together(key, series[key], value)
    return Numbers(counts, executing, series)


def _together(key: Series, one: float, other: float) -> float:
    if key[1].endswith("_created"):
        return min(one, other)
    return max(one, other) if _is_gauge(key) else one + other


def _is_gauge(key: Series) -> bool:
    """Return whether a line is a state: that of a counter or of a histogram has a name of its own."""
    return key[0] == key[1]

"""Histograms of durations."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from mlcommons_py.observe.durations import BOUNDS, Durations

SECONDS = st.sampled_from(BOUNDS) | st.floats(0, 100)


@given(st.lists(st.tuples(st.sampled_from(["a", 'b"\n']), SECONDS), max_size=20))
def test_the_page_is_that_of_the_librarys_histogram(observed: list[tuple[str, float]]) -> None:
    """Buckets, sums and counts, and how they are written, are those of a histogram of prometheus_client."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations = Durations("took_seconds", "How long it took", ("route", "status"), ours)
    histogram = Histogram("took_seconds", "How long it took", ("route", "status"), buckets=BOUNDS, registry=theirs)

    for route, seconds in observed:
        durations.observe((route, "200"), seconds)
        histogram.labels(route, "200").observe(seconds)

    expected = [line for line in generate_latest(theirs).splitlines() if b"took_seconds_created" not in line]
    assert generate_latest(ours).splitlines() == expected


def test_forgotten() -> None:
    """What is forgotten leaves no series, and begins anew."""
    registry = CollectorRegistry()
    durations = Durations("took_seconds", "How long it took", ("model", "stage"), registry)
    for model in ("m", "n", "m"):
        durations.observe((model, "read"), 0.5)

    durations.forget("m")
    durations.observe(("m", "read"), 0.25)

    sums = [line for line in generate_latest(registry).splitlines() if b"_sum" in line]
    assert sums == [
        b'took_seconds_sum{model="n",stage="read"} 0.5',
        b'took_seconds_sum{model="m",stage="read"} 0.25',
    ]

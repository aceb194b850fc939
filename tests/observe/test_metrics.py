"""What Prometheus scrapes."""

import dataclasses
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from mlcommons_py.observe.metrics import Metrics, Running

MODEL = Running(
    up=True,
    texts=5,
    tokens=50,
    truncated=1,
    failures=2,
    rejected=3,
    restarts=4,
    waiting=6,
    rss=1 << 20,
)


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return the key of a sample."""
    return f"mlcommons_{name}", frozenset(labels.items())


def test_nothing_yet() -> None:
    """Before anything happened the page is well-formed and has no sample."""
    assert samples(Metrics(list)) == {}


def test_requests() -> None:
    """Requests are counted and timed by route, method and status."""
    metrics = Metrics(list)
    metrics.request("/a/{id}", "GET", 200, 0.004)
    metrics.request("/a/{id}", "GET", 200, 2.0)
    metrics.request("/a/{id}", "GET", 404, 0.001)

    found = samples(metrics)
    labels: Mapping[str, str] = {"route": "/a/{id}", "method": "GET", "status": "200"}
    assert found[of("http_request_seconds_count", **labels)] == 2
    assert found[of("http_request_seconds_sum", **labels)] == 2.004
    assert found[of("http_request_seconds_bucket", **labels, le="0.005")] == 1
    assert found[of("http_request_seconds_count", **{**labels, "status": "404"})] == 1


def test_predicts_and_tasks() -> None:
    """A predict's stages and a task's end are counted."""
    metrics = Metrics(list)
    metrics.predicted("m", 0.1, 0.2)
    metrics.task("DEPLOY_MODEL", "COMPLETED")

    found = samples(metrics)
    assert found[of("predict_stage_seconds_sum", model="m", stage="queued")] == 0.1
    assert found[of("predict_stage_seconds_sum", model="m", stage="computed")] == 0.2
    assert found[of("tasks_total", type="DEPLOY_MODEL", state="COMPLETED")] == 1


def test_deployed_models() -> None:
    """Running models are read at the scrape: what is gone leaves no series."""
    models = [("m", MODEL), ("n", dataclasses.replace(MODEL, up=False))]
    metrics = Metrics(lambda: models)

    found = samples(metrics)
    expected = {
        "model_texts_total": 5,
        "model_tokens_total": 50,
        "model_truncated_total": 1,
        "model_failures_total": 2,
        "model_rejected_total": 3,
        "worker_restarts_total": 4,
        "queue_texts": 6,
        "worker_resident_bytes": 1 << 20,
        "worker_up": 1,
    }
    assert {name: found[of(name, model="m")] for name in expected} == expected
    assert found[of("worker_up", model="n")] == 0

    models.clear()
    assert samples(metrics) == {}

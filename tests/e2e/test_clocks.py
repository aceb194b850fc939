"""Services whose clocks are wrong, by minutes and against each other."""

import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import padded
from tests.e2e.conftest import TINY, Start
from tests.e2e.service import CHUNK, Service, until

SKEW = 300
_SPEC = find_spec("libfaketime")
"""Found, not imported: importing it changes how this process is started again."""


def skewed(seconds: int) -> dict[str, str]:
    """Return the environment of a process whose clock is ahead by so many seconds; what it measures stays right."""
    assert _SPEC is not None
    assert _SPEC.origin is not None
    library = Path(_SPEC.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    assert library.is_file()
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def tasks_of(service: Service, model_id: str | None = None) -> list[dict[str, Any]]:
    """Return the tasks, of a model or of all, as a search finds them."""
    query = {"match_all": {}} if model_id is None else {"term": {"model_id": model_id}}
    hits: list[dict[str, Any]] = service.ml("POST", "/tasks/_search", json={"query": query})["hits"]["hits"]
    return hits


def proven(service: Service, model_id: str) -> bool:
    """Return whether the proof of a model has ended, well or not."""
    return [hit["_source"]["state"] for hit in tasks_of(service, model_id)] in (["COMPLETED"], ["FAILED"])


@pytest.fixture
def ahead(start: Start) -> Service:
    """A service whose clock is five minutes ahead."""
    return start("ahead", environment=skewed(SKEW))


@pytest.fixture
def behind(start: Start) -> Service:
    """A service whose clock is five minutes behind."""
    return start("behind", environment=skewed(-SKEW))


def model_of(service: Service, model_id: str) -> dict[str, Any]:
    """Return a model as a service shows it."""
    model: dict[str, Any] = service.ml("GET", f"/models/{model_id}")
    return model


def is_at(service: Service, model_id: str, nodes: list[str]) -> bool:
    """Return whether a model is deployed on just these nodes."""
    model = model_of(service, model_id)
    planned, count = sorted(model["planning_worker_nodes"]), model["current_worker_node_count"]
    return bool(model["model_state"] == "DEPLOYED" and planned == sorted(nodes) and count == len(nodes))


def test_ten_minutes_apart(start: Start, ahead: Service, behind: Service, tiny: bytes) -> None:
    """Services whose clocks differ by ten minutes deploy, take over, forget, undeploy and mind idleness as any do."""
    created = [model_of(one, one.register(tiny, **TINY, name="a clock"))["created_time"] for one in (ahead, behind)]
    off = [one / 1e3 - time.time() for one in created]
    assert off == [pytest.approx(SKEW, abs=60), pytest.approx(-SKEW, abs=60)]
    both = [ahead.node_id, behind.node_id]
    model_id = ahead.register(tiny, **TINY, name="used")
    task = behind.deploy(model_id)
    assert task["state"] == "COMPLETED", task
    until(partial(is_at, ahead, model_id, both), "the model on both")
    assert ahead.embed(model_id, ["rain"]) == behind.embed(model_id, ["rain"])
    idle = behind.register(tiny, **TINY, name="idle", deploy_setting={"model_ttl_minutes": 1})
    answer = behind.ml("POST", f"/models/{idle}/_deploy", json={"node_ids": [ahead.node_id]})
    called = time.monotonic()
    assert behind.task(answer["task_id"])["state"] == "COMPLETED"

    outlive(behind, ahead, model_id, tiny)
    state, passed = model_of(behind, idle)["model_state"], time.monotonic() - called
    assert state == "DEPLOYED" or passed > 60, (state, passed)
    until(lambda: model_of(behind, idle)["model_state"] == "UNDEPLOYED", "the end of the idle model")
    outlive(ahead, behind, model_id, tiny)

    undeployed = behind.ml("POST", f"/models/{model_id}/_undeploy")
    assert undeployed == {one: {"stats": {model_id: "undeployed"}} for one in both}
    assert model_of(ahead, model_id)["model_state"] == "UNDEPLOYED"
    assert {hit["_source"]["state"] for hit in tasks_of(ahead)} <= {"COMPLETED", "COMPLETED_WITH_ERROR"}


def outlive(owner: Service, survivor: Service, model_id: str, tiny: bytes) -> None:
    """Kill a service amid an upload and a deploy, see the other end both, and start it again."""
    content = padded(tiny, CHUNK)
    half = owner.register_meta(content, **TINY, name=f"half of it through {owner.data.name}")
    owner.upload(half, content, 0)
    task_id = owner.ml("POST", f"/models/{model_id}/_deploy")["task_id"]
    owner.kill()
    assert survivor.task(task_id)["state"] in ("COMPLETED", "COMPLETED_WITH_ERROR")
    until(partial(is_at, survivor, model_id, [survivor.node_id]), "the plan without the dead node")
    assert len(survivor.embed(model_id, ["rain"])) == 1
    survivor.upload(half, content, 1)
    until(partial(proven, survivor, half), "the proof")
    assert model_of(survivor, half)["model_state"] == "REGISTERED"
    owner.start()
    until(partial(is_at, survivor, model_id, sorted([owner.node_id, survivor.node_id])), "the node that is back")

"""What several services tell of each other, and how they come and go."""

import os
import signal
import threading
from functools import partial
from typing import Any

import httpx

from tests.e2e.conftest import TINY, Start
from tests.e2e.service import Service, until


def told(service: Service, path: str) -> dict[str, Any]:
    """Return the nodes that an answer tells of."""
    nodes: dict[str, Any] = service.ml("GET", path).get("nodes", {})
    return nodes


def deployed(start: Start, tiny: bytes) -> tuple[Service, Service, str]:
    """Return two services and a model that both run."""
    first, second = start("first"), start("second")
    model_id = first.register(tiny, **TINY)
    assert first.deploy(model_id)["state"] == "COMPLETED"
    return first, second, model_id


def test_stats_of_all_nodes(start: Start, tiny: bytes) -> None:
    """Whichever service is asked, stats and profile tell of every node, or of those that the request chooses."""
    first, second, model_id = deployed(start, tiny)
    both = {first.node_id, second.node_id}
    assert len(first.embed(model_id, ["rain"])) == 1
    assert len(second.embed(model_id, ["rain"])) == len(second.embed(model_id, ["sun"])) == 1

    for service in (first, second):
        stats = service.ml("GET", "/stats")
        assert stats["ml_model_count"] == 1
        nodes = stats["nodes"]
        assert nodes.keys() == both
        calls = {one: part["models"][model_id]["predict"]["ml_action_request_count"] for one, part in nodes.items()}
        assert calls == {first.node_id: 1, second.node_id: 2}
        assert [part["ml_deployed_model_count"] for part in nodes.values()] == [1, 1]
        assert service.ml("GET", "/stats/ml_model_count") == {"ml_model_count": 1, "ml_connector_count": 0}
    for path, ids in {
        f"/{second.node_id}/stats": {second.node_id},
        f"/{second.node_id}/stats/ml_request_count": {second.node_id},
        "/_local/stats": {first.node_id},
        "/_all/stats": both,
        f"/nobody,{first.node_id}/stats": {first.node_id},
        f"/{os.uname().nodename[:2]}*/stats": both,
        "/stats?filter_path=nodes.*.models": both,
        "/stats?pretty&format=json": both,
        "/nobody/stats": set[str](),
    }.items():
        assert told(first, path).keys() == ids, path
    body = {"target_stat_levels": ["node"], "node_level_stats": ["ml_request_count"], "node_ids": [second.node_id]}
    (chosen,) = first.ml("GET", "/stats", json=body)["nodes"].items()
    assert (chosen[0], chosen[1].keys()) == (second.node_id, {"ml_request_count", "algorithms", "models"})


def test_profile_of_all_nodes(start: Start, tiny: bytes) -> None:
    """A profile has a part of each node, and by model one entry with what each node tells."""
    first, second, model_id = deployed(start, tiny)
    both = [first.node_id, second.node_id]

    def states() -> dict[str, str]:
        by_node = told(first, f"/profile/models/{model_id}")
        return {node: part["models"][model_id]["model_state"] for node, part in by_node.items()}

    until(lambda: states() == dict.fromkeys(both, "DEPLOYED"), "the profiles of both")
    by_model = first.ml("GET", "/profile?view=model&filter_path=models")["models"][model_id]

    assert sorted(by_model["target_worker_nodes"]) == sorted(by_model["worker_nodes"]) == sorted(both)
    assert by_model["nodes"].keys() == set(both)
    predictors = {one["predictor"] for one in by_model["nodes"].values()}
    assert len(predictors) == 2


def test_silent_node_is_left_out(start: Start, tiny: bytes) -> None:
    """A node that does not answer is left out of stats, which come all the same, and so is one that was killed."""
    first, second, _ = deployed(start, tiny)
    assert told(first, "/stats").keys() == {first.node_id, second.node_id}

    os.kill(second.pid, signal.SIGSTOP)
    try:
        assert told(first, "/stats").keys() == {first.node_id}
    finally:
        os.kill(second.pid, signal.SIGCONT)
    until(lambda: told(first, "/stats").keys() == {first.node_id, second.node_id}, "the node that goes on")

    second.kill()
    assert told(first, "/stats").keys() == {first.node_id}


def test_restart_in_turn(start: Start, tiny: bytes) -> None:
    """While services are stopped and started in turn, a model of all nodes stays deployed, and all calls succeed."""
    first, second, model_id = deployed(start, tiny)
    assert len(first.embed(model_id, ["rain"])) == len(second.embed(model_id, ["rain"])) == 1
    both = sorted([first.node_id, second.node_id])

    def planned(service: Service, nodes: list[str]) -> bool:
        model = service.ml("GET", f"/models/{model_id}")
        return bool(
            sorted(model["planning_worker_nodes"]) == nodes and model["current_worker_node_count"] == len(nodes)
        )

    for stopped, other in ((first, second), (second, first)):
        states: set[str] = set()
        over = threading.Event()

        def watch(other: Service = other, states: set[str] = states, over: threading.Event = over) -> None:
            with httpx.Client(base_url=other.http.base_url, timeout=60) as client:
                while not over.wait(0.02):
                    states.add(client.get(f"/_plugins/_ml/models/{model_id}").json()["model_state"])

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            assert stopped.stop() == 0
            until(partial(planned, other, [other.node_id]), "the plan without the stopped node")
            assert len(other.embed(model_id, ["rain"])) == 1
            stopped.start()
            until(partial(planned, other, both), "the plan with the node that is back")
            assert len(stopped.embed(model_id, ["rain"])) == 1
        finally:
            over.set()
            watching.join()
        assert states == {"DEPLOYED"}


def test_chosen_node_is_missed_at_once(start: Start, tiny: bytes) -> None:
    """A model whose nodes were chosen is partially deployed while one of them is stopped, and whole when it is back."""
    first, second = start("first"), start("second")
    model_id = first.register(tiny, **TINY)
    body = {"node_ids": [first.node_id, second.node_id]}
    task = first.task(first.ml("POST", f"/models/{model_id}/_deploy", json=body)["task_id"])
    assert task["state"] == "COMPLETED"

    def shown() -> tuple[str, int, int]:
        model = first.ml("GET", f"/models/{model_id}")
        return model["model_state"], model["current_worker_node_count"], len(model["planning_worker_nodes"])

    until(lambda: shown() == ("DEPLOYED", 2, 2), "both")
    second.stop()
    until(lambda: shown() == ("PARTIALLY_DEPLOYED", 1, 2), "one of two")
    second.start()
    until(lambda: shown() == ("DEPLOYED", 2, 2), "both again")

"""A service and the real ML Commons at work on one cluster, neither told of the other."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py.models.documents import MODELS
from mlcommons_py.nodes import NODES
from mlcommons_py.tasks.board import TASKS
from scripts.opensearch import Node
from tests.compat.peer import Peer, embeddings, state, traced
from tests.e2e.api import until
from tests.e2e.service import Service, running

pytestmark = pytest.mark.compat


@pytest.fixture(scope="module")
def peer(directory: Path) -> Iterator[Peer]:
    """ML Commons, with its settings as they are by default."""
    node = Node(directory, flavour="ml")
    try:
        peer = Peer(node.start())
        with closing(peer.http):
            yield peer
    finally:
        node.stop()


@pytest.fixture(scope="module")
def service(peer: Peer, flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on the cluster that ML Commons runs in."""
    data = tmp_path_factory.mktemp("service") / "data"
    with running(data, flags=(*flags, "--store", str(peer.http.base_url))) as one:
        yield one


@pytest.fixture(scope="module")
def theirs(peer: Peer) -> str:
    """The id of a model that ML Commons runs on all its nodes."""
    archive = traced("bert-max")
    return peer.deployed(archive.content, **archive.fields, name="theirs")


def after_rounds(peer: Peer, service: Service, rounds: int = 20) -> None:
    """Wait until a service has looked at the others so many times: each time it writes its document before."""

    def version() -> int:
        return int(peer.http.get(f"/{NODES}/_doc/{service.node_id}").json()["_version"])

    until_then = version() + rounds
    until(lambda: version() >= until_then, "the rounds")


def document(peer: Peer, index: str, doc_id: str) -> dict[str, Any]:
    """Return a document as it is stored."""
    source: dict[str, Any] = peer.http.get(f"/{index}/_doc/{doc_id}").json()["_source"]
    return source


def test_what_the_plugin_does_goes_on(peer: Peer, theirs: str, service: Service) -> None:
    """A deploy task of ML Commons' stays its own, and its model stays deployed on its node alone."""
    (node_id,) = peer.ml("GET", f"/models/{theirs}")["planning_worker_nodes"]
    task = {
        "model_id": theirs,
        "task_type": "DEPLOY_MODEL",
        "function_name": "TEXT_EMBEDDING",
        "state": "RUNNING",
        "worker_node": [node_id],
        "create_time": 1,
        "last_update_time": 1,
        "is_async": True,
    }
    assert peer.http.put(f"/{TASKS}/_doc/running?refresh=true", json=task).status_code == 201

    after_rounds(peer, service)

    assert document(peer, TASKS, "running") == task
    model = service.ml("GET", f"/models/{theirs}")
    assert (model["model_state"], model["planning_worker_nodes"]) == ("DEPLOYED", [node_id])
    assert model["current_worker_node_count"] == 1
    assert service.ml("GET", "/profile/models") == {}
    assert len(embeddings(peer, theirs)) == 3


def test_what_the_plugin_does_to_ours(peer: Peer, service: Service) -> None:
    """ML Commons says now and then that a model of the service failed, the service that it did not; it answers on."""
    archive = traced("distilbert-mean-dense")
    ours = service.deployed(archive.content, **archive.fields, name="ours")

    def corrected() -> bool:
        assert len(embeddings(service, ours)) == 3
        return state(peer, ours) == "DEPLOY_FAILED"

    until(corrected, "the job of ML Commons")
    until(lambda: state(peer, ours) == "DEPLOYED", "the service's own count")
    model = service.ml("GET", f"/models/{ours}")
    assert (model["planning_worker_nodes"], model["current_worker_node_count"]) == ([service.node_id], 1)
    assert model.get("deploy_to_all_nodes") is None


def test_plan_from_before_the_plugin(peer: Peer, service: Service) -> None:
    """A model that was deployed to all before ML Commons came, and that its job then plans, stays the service's."""
    archive = traced("roberta-mean-normalized")
    ours = service.deployed(archive.content, **archive.fields, name="ours of all")
    workers = service.workers()

    def plan() -> list[str]:
        nodes: list[str] = document(peer, MODELS, ours)["planning_worker_nodes"]
        return nodes

    os.kill(service.pid, signal.SIGSTOP)
    try:
        told = {"doc": {"deploy_to_all_nodes": True}}
        assert peer.http.post(f"/{MODELS}/_update/{ours}?refresh=true", json=told).status_code == 200
        until(lambda: plan() != [service.node_id], "the job of ML Commons")
    finally:
        os.kill(service.pid, signal.SIGCONT)
    until(lambda: plan() == [service.node_id], "the service's own plan")

    assert "deploy_to_all_nodes" not in document(peer, MODELS, ours)  # which the job goes by
    assert service.workers() == workers
    assert len(embeddings(service, ours)) == 3


def test_undeploy_through_the_service(peer: Peer, theirs: str, service: Service) -> None:
    """An undeploy through the service leaves ML Commons' model where it is, and says so."""
    before = document(peer, ".plugins-ml-model", theirs)

    answer = service.ml("POST", f"/models/{theirs}/_undeploy")

    assert answer == {service.node_id: {"stats": {theirs: "not_found"}}}
    assert document(peer, ".plugins-ml-model", theirs) == before


def test_sync_job_switched_off(peer: Peer, service: Service) -> None:
    """With ML Commons' job switched off, a model of the service stays deployed throughout."""
    off = {"persistent": {"plugins.ml_commons.sync_up_job_interval_in_seconds": 0}}
    assert peer.http.put("/_cluster/settings", json=off).status_code == 200
    archive = traced("bert-cls-gelu-new")
    ours = service.deployed(archive.content, **archive.fields, name="ours alone")
    seen: set[str] = set()

    def watched() -> bool:
        seen.add(state(peer, ours))
        return len(seen) > 1

    with pytest.raises(AssertionError, match="not within"):
        until(watched, "another state", 12)
    assert seen == {"DEPLOYED"}

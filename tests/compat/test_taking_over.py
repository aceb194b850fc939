"""What the real ML Commons wrote, served by the service once the plugin is gone."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.opensearch import Node
from tests.compat.peer import OF_MODELS, Peer, chunks, embeddings, least_cosine, search, state, traced
from tests.e2e.api import until
from tests.e2e.service import Service, running

pytestmark = pytest.mark.compat

# What changes when other nodes run a model.
_OF_NODES = {
    "model_state",
    "planning_worker_nodes",
    "planning_worker_node_count",
    "current_worker_node_count",
    "last_deployed_time",
    "last_updated_time",
    "auto_redeploy_retry_times",
}


@dataclass(frozen=True)
class Inherited:
    """A service on what ML Commons left.

    Attributes:
        service: the service.
        group_id: a group of three models.
        undeployed: one of three chunks that was deployed and undeployed.
        deployed: one that was deployed when ML Commons ended.
        doomed: one that was never deployed.
        answers: what ML Commons last answered to GET, by path.
        found: what it found of models, groups and tasks.
        vectors: what the models made of the texts, by id.
    """

    service: Service
    group_id: str
    undeployed: str
    deployed: str
    doomed: str
    answers: dict[str, Any]
    found: dict[str, list[dict[str, Any]]]
    vectors: dict[str, list[list[float]]]


def _left(peer: Peer) -> dict[str, Any]:
    """Have ML Commons register, deploy and undeploy, and return what it left."""
    setting = {"plugins.ml_commons.max_model_on_node": 20}
    assert peer.http.put("/_cluster/settings", json={"persistent": setting}).status_code == 200
    group = {"name": "the old group", "description": "made by ML Commons"}
    group_id = peer.ml("POST", "/model_groups/_register", json=group)["model_group_id"]
    of_group = {"model_group_id": group_id}
    large, small = traced("bert-mean-normalized").padded(), traced("distilbert-mean-dense")
    undeployed = peer.register(large.content, **large.fields, **of_group, name="three chunks")
    deployed = peer.register(small.content, **small.fields, **of_group, name="one chunk")
    doomed = peer.register(small.content, **small.fields, **of_group, name="to be deleted")
    tasks = [peer.deploy(model_id) for model_id in (undeployed, deployed)]
    assert [task["state"] for task in tasks] == ["COMPLETED", "COMPLETED"], tasks
    vectors = {model_id: embeddings(peer, model_id) for model_id in (undeployed, deployed)}
    peer.ml("POST", f"/models/{undeployed}/_undeploy")
    until(lambda: state(peer, undeployed) == "UNDEPLOYED", "the undeploy")
    found = {
        "models": search(peer, "models", OF_MODELS),
        "model_groups": search(peer, "model_groups", {"match_all": {}}),
        "tasks": search(peer, "tasks", {"match_all": {}}),
    }
    paths = [f"/{noun}/{hit['_id']}" for noun, hits in found.items() for hit in hits]
    return {
        "group_id": group_id,
        "undeployed": undeployed,
        "deployed": deployed,
        "doomed": doomed,
        "answers": {path: peer.ml("GET", path) for path in paths},
        "found": found,
        "vectors": vectors,
    }


@pytest.fixture(scope="module")
def inherited(directory: Path, flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inherited]:
    """ML Commons has worked, its node was stopped, and a node without it serves its data directory to a service."""
    node = Node(directory, flavour="ml")
    try:
        node.start()
        peer = Peer(node)
        with closing(peer.http):
            left = _left(peer)
        node.stop()
        node = Node(directory).start()
        with running(tmp_path_factory.mktemp("service") / "data", flags=(*flags, "--store", node.url)) as service:
            yield Inherited(service=service, **left)
    finally:
        node.stop()


def test_documents_are_there(inherited: Inherited) -> None:
    """Groups, tasks and models are answered as ML Commons answered them, but for what the nodes say that run them."""
    assert len(inherited.answers) == 6
    for path, told in inherited.answers.items():
        answer = inherited.service.ml("GET", path)
        left_out = _OF_NODES if path.endswith(inherited.deployed) else set()
        assert {key: one for key, one in answer.items() if key not in left_out} == {
            key: one for key, one in told.items() if key not in left_out
        }


def test_searches_find_the_same(inherited: Inherited) -> None:
    """Searches find the documents that ML Commons found, and no others."""
    for noun, before in inherited.found.items():
        query = OF_MODELS if noun == "models" else {"match_all": {}}
        known = {hit["_id"] for hit in before}
        hits = {hit["_id"]: hit["_source"] for hit in search(inherited.service, noun, query) if hit["_id"] in known}
        changed = inherited.deployed
        assert {one: source for one, source in hits.items() if one != changed} == {
            hit["_id"]: hit["_source"] for hit in before if hit["_id"] != changed
        }
        assert hits.keys() == known


def test_what_was_deployed_is_deployed(inherited: Inherited) -> None:
    """A model that ML Commons ran on all nodes comes up by itself, with its vectors, and forgets the node that went."""
    model_id, service = inherited.deployed, inherited.service
    assert least_cosine(embeddings(service, model_id), inherited.vectors[model_id]) >= 0.99999

    until(lambda: state(service, model_id) == "DEPLOYED", "the old node forgotten")

    model = service.ml("GET", f"/models/{model_id}")
    node_id = (service.data / "node_id").read_text()
    assert model["planning_worker_nodes"] == [node_id]
    assert (model["planning_worker_node_count"], model["current_worker_node_count"]) == (1, 1)
    assert model["deploy_to_all_nodes"] is True


def test_what_was_undeployed_can_be_deployed(inherited: Inherited) -> None:
    """A model of several chunks stays undeployed until asked for, and makes the vectors that ML Commons made."""
    model_id, service = inherited.undeployed, inherited.service
    assert state(service, model_id) == "UNDEPLOYED"

    task = service.deploy(model_id)

    assert task["state"] == "COMPLETED", task
    assert least_cosine(embeddings(service, model_id), inherited.vectors[model_id]) >= 0.99999
    service.ml("POST", f"/models/{model_id}/_undeploy")


def test_versions_go_on(inherited: Inherited) -> None:
    """A new model in the old group gets the version after those that ML Commons gave."""
    service, archive = inherited.service, traced("bert-max")
    before = inherited.answers[f"/model_groups/{inherited.group_id}"]["latest_version"]

    model_id = service.register(archive.content, **archive.fields, model_group_id=inherited.group_id)

    assert service.ml("GET", f"/models/{model_id}")["model_version"] == str(before + 1)
    assert service.ml("GET", f"/model_groups/{inherited.group_id}")["latest_version"] == before + 1
    assert service.deploy(model_id)["state"] == "COMPLETED"
    service.ml("POST", f"/models/{model_id}/_undeploy")
    service.ml("DELETE", f"/models/{model_id}")


def test_names_stay_taken(inherited: Inherited) -> None:
    """No other group gets the name of a group that ML Commons made."""
    name = inherited.answers[f"/model_groups/{inherited.group_id}"]["name"]

    refused = inherited.service.ml("POST", "/model_groups/_register", 400, json={"name": name})

    assert inherited.group_id in refused["error"]["reason"]


def test_old_models_can_be_changed_and_deleted(inherited: Inherited) -> None:
    """A model that ML Commons registered takes an update, and goes with its chunks when deleted."""
    service, model_id = inherited.service, inherited.doomed
    assert chunks(service, model_id) == 1
    service.ml("PUT", f"/models/{model_id}", json={"description": "changed"})
    assert service.ml("GET", f"/models/{model_id}")["description"] == "changed"

    service.ml("DELETE", f"/models/{model_id}")

    service.ml("GET", f"/models/{model_id}", 404)
    until(lambda: chunks(service, model_id) == 0, "the end of the chunks")


def test_settings_of_the_plugin_can_be_cleared(inherited: Inherited) -> None:
    """Settings of the plugin, which the cluster archives, go when the operator removes them through the service."""
    http = inherited.service.http
    assert "archived" in http.get("/_cluster/settings").text
    assert http.put("/_cluster/settings", json={"persistent": {"archived.*": None}}).status_code == 200
    assert "archived" not in http.get("/_cluster/settings").text

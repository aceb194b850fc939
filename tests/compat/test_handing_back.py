"""What the service wrote, served by the real ML Commons; and both at once on one cluster."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.opensearch import Node
from tests.compat.left import Left, check_controller, check_documents, work
from tests.compat.peer import Peer, chunks, embeddings, least_cosine, state, traced
from tests.e2e.api import Api, until
from tests.e2e.service import Service, running

pytestmark = pytest.mark.compat


@dataclass(frozen=True)
class HandedBack:
    """ML Commons on what a service left.

    Attributes:
        node: where it runs.
        peer: ML Commons.
        left: what it found.
    """

    node: Node
    peer: Peer
    left: Left


@pytest.fixture(scope="module")
def handed_back(
    directory: Path, flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HandedBack]:
    """A service has worked on a node, and ML Commons is started on that node's data directory."""
    node = Node(directory)
    try:
        node.start()
        with running(tmp_path_factory.mktemp("service") / "data", flags=(*flags, "--store", node.url)) as service:
            left = work(service, "the new group", traced("mpnet-mean-normalized").padded(), traced("bert-cls-gelu-new"))
            service.stop()
        node.stop()
        node = Node(directory, flavour="ml")
        peer = Peer(node.start())
        with closing(peer.http):
            yield HandedBack(node, peer, left)
    finally:
        node.stop()


def test_documents_are_there(handed_back: HandedBack) -> None:
    """ML Commons answers and finds groups, tasks and models as the service did, but for which nodes run a model."""
    check_documents(handed_back.peer, handed_back.left)


def test_what_was_deployed_is_deployed(handed_back: HandedBack) -> None:
    """A model that the service ran is brought up by ML Commons itself, on its own node, with the same vectors."""
    peer, model_id = handed_back.peer, handed_back.left.deployed

    def is_back() -> bool:
        nodes = peer.ml("GET", "/profile/models").get("nodes", {})
        return any(node["models"].get(model_id, {}).get("model_state") == "DEPLOYED" for node in nodes.values())

    until(is_back, "the model on the node of ML Commons")
    assert least_cosine(embeddings(peer, model_id), handed_back.left.vectors[model_id]) >= 0.99999


def test_what_was_undeployed_can_be_deployed(handed_back: HandedBack) -> None:
    """ML Commons puts together the chunks that the service stored, and makes the same vectors."""
    peer, model_id = handed_back.peer, handed_back.left.undeployed
    assert state(peer, model_id) == "UNDEPLOYED"
    assert chunks(peer, model_id) == 3

    task = peer.deploy(model_id)

    assert task["state"] == "COMPLETED", task
    assert least_cosine(embeddings(peer, model_id), handed_back.left.vectors[model_id]) >= 0.99999


def test_controllers_are_there(handed_back: HandedBack) -> None:
    """ML Commons merges new limits into those of users that the service stored, and takes them away."""
    check_controller(handed_back.peer, handed_back.left)


def test_versions_go_on(handed_back: HandedBack) -> None:
    """A model that ML Commons registers in the service's group gets the next version."""
    peer, archive, group_id = handed_back.peer, traced("bert-max"), handed_back.left.group_id
    before = peer.ml("GET", f"/model_groups/{group_id}")["latest_version"]
    assert before >= 3

    model_id = peer.register(archive.content, **archive.fields, model_group_id=group_id)

    assert peer.ml("GET", f"/models/{model_id}")["model_version"] == str(before + 1)
    assert peer.ml("GET", f"/model_groups/{group_id}")["latest_version"] == before + 1


def test_names_stay_taken(handed_back: HandedBack) -> None:
    """ML Commons gives no other group the name of a group that the service made."""
    left = handed_back.left

    refused = handed_back.peer.ml("POST", "/model_groups/_register", 400, json={"name": left.group})

    assert left.group_id in refused["error"]["reason"]


def test_documents_can_be_changed_and_deleted(handed_back: HandedBack) -> None:
    """What the service registered takes updates by ML Commons, and a model goes with its chunks when deleted."""
    peer, model_id, group_id = handed_back.peer, handed_back.left.doomed, handed_back.left.group_id
    assert chunks(peer, model_id) == 1
    for path in (f"/models/{model_id}", f"/model_groups/{group_id}"):
        peer.ml("PUT", path, json={"description": "changed"})
        assert peer.ml("GET", path)["description"] == "changed"

    peer.ml("DELETE", f"/models/{model_id}")

    peer.ml("GET", f"/models/{model_id}", 404)
    until(lambda: chunks(peer, model_id) == 0, "the end of the chunks")


@pytest.fixture(scope="module")
def beside(handed_back: HandedBack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on the cluster that ML Commons runs in.

    ML Commons has been told not to correct the plans of models again and again: it takes the service's nodes out.
    """
    off = {"persistent": {"plugins.ml_commons.sync_up_job_interval_in_seconds": 0}}
    assert handed_back.peer.http.put("/_cluster/settings", json=off).status_code == 200
    data = tmp_path_factory.mktemp("service") / "data"
    with running(data, flags=("--store", handed_back.node.url)) as service:
        yield service


def test_each_sees_what_the_other_wrote(handed_back: HandedBack, beside: Service) -> None:
    """Groups, models, changes and deletions of one are there for the other at once, and versions count through both."""
    archive = traced("bert-max")
    pairs: list[tuple[Api, Api]] = [(handed_back.peer, beside), (beside, handed_back.peer)]
    for number, (one, other) in enumerate(pairs):
        name = f"the group of {number}"
        group_id = one.ml("POST", "/model_groups/_register", json={"name": name})["model_group_id"]
        assert other.ml("GET", f"/model_groups/{group_id}")["name"] == name
        assert group_id in other.ml("POST", "/model_groups/_register", 400, json={"name": name})["error"]["reason"]

        models = [
            api.register(archive.content, **archive.fields, model_group_id=group_id) for api in (one, other, one, other)
        ]
        for api in (one, other):
            answers = [api.ml("GET", f"/models/{model_id}") for model_id in models]
            assert [answer["model_version"] for answer in answers] == ["1", "2", "3", "4"]
        one.ml("PUT", f"/models/{models[1]}", json={"description": "changed"})
        assert other.ml("GET", f"/models/{models[1]}")["description"] == "changed"
        one.ml("DELETE", f"/models/{models[1]}")
        other.ml("GET", f"/models/{models[1]}", 404)


def test_each_runs_models(handed_back: HandedBack, beside: Service) -> None:
    """Beside ML Commons, which goes on answering for its model, the service runs what ML Commons registered."""
    archive, left = traced("distilbert-mean-dense"), handed_back.left
    model_id = handed_back.peer.register(archive.content, **archive.fields)
    # ML Commons answers the last chunk before its document says that the model is whole.
    until(lambda: beside.ml("GET", f"/models/{model_id}")["model_state"] == "REGISTERED", "the registration")

    assert beside.deploy(model_id)["state"] == "COMPLETED"

    assert len(embeddings(beside, model_id)) == 3
    assert least_cosine(embeddings(handed_back.peer, left.deployed), left.vectors[left.deployed]) >= 0.99999
    assert handed_back.peer.ml("GET", f"/models/{model_id}")["model_state"] == "DEPLOYED"

"""What the real ML Commons wrote, served by the service once the plugin is gone."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py.store.indices import mapping_of
from scripts.opensearch import Node
from tests.compat.left import Left, check_controller, check_documents, work
from tests.compat.peer import Peer, chunks, embeddings, least_cosine, state, traced
from tests.e2e.api import until
from tests.e2e.service import Service, running

pytestmark = pytest.mark.compat

# Our fields, and one that ML Commons has since 3.7.
_MORE = {
    ".plugins-ml-model": {"provisioned_by", "state_reason", "register_task_id", "deploy_to_all_services"},
    ".plugins-ml-model-group": set[str](),
    ".plugins-ml-controller": set[str](),
    ".plugins-ml-task": {"deploy_model", "outcomes"},
}


@dataclass(frozen=True)
class TakenOver:
    """A service on what ML Commons left.

    Attributes:
        service: the service.
        left: what it found.
        mappings: those of ML Commons' indices before the service used them.
    """

    service: Service
    left: Left
    mappings: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def taken_over(
    directory: Path, flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TakenOver]:
    """ML Commons has worked, its node was stopped, and a node without it serves its data directory to a service."""
    node = Node(directory, flavour="ml")
    try:
        peer = Peer(node.start())
        with closing(peer.http):
            # Shortly after its start it may deploy again what was just undeployed.
            setting = {"plugins.ml_commons.model_auto_redeploy.enable": False}
            assert peer.http.put("/_cluster/settings", json={"persistent": setting}).status_code == 200
            left = work(peer, "the old group", traced("bert-mean-normalized").padded(), traced("distilbert-mean-dense"))
            indices = peer.http.get("/.plugins-ml-*/_mapping").json()
            mappings = {index: answer["mappings"] for index, answer in indices.items()}
        node.stop()
        node = Node(directory).start()
        with running(tmp_path_factory.mktemp("service") / "data", flags=(*flags, "--store", node.url)) as service:
            yield TakenOver(service, left, mappings)
    finally:
        node.stop()


def test_documents_are_there(taken_over: TakenOver) -> None:
    """Groups, tasks and models are answered and found as ML Commons did, but for which nodes run a model."""
    check_documents(taken_over.service, taken_over.left)


def test_what_was_deployed_is_deployed(taken_over: TakenOver) -> None:
    """A model that ML Commons ran on all nodes comes up by itself, with its vectors, and forgets the node that went."""
    model_id, service = taken_over.left.deployed, taken_over.service
    assert least_cosine(embeddings(service, model_id), taken_over.left.vectors[model_id]) >= 0.99999

    until(lambda: state(service, model_id) == "DEPLOYED", "the old node forgotten")

    model = service.ml("GET", f"/models/{model_id}")
    assert model["planning_worker_nodes"] == [(service.data / "node_id").read_text()]
    assert (model["planning_worker_node_count"], model["current_worker_node_count"]) == (1, 1)
    assert model["deploy_to_all_nodes"] is True


def test_what_was_undeployed_can_be_deployed(taken_over: TakenOver) -> None:
    """A model of several chunks stays undeployed until asked for, and makes the vectors that ML Commons made."""
    model_id, service = taken_over.left.undeployed, taken_over.service
    assert state(service, model_id) == "UNDEPLOYED"
    assert chunks(service, model_id) == 3

    task = service.deploy(model_id)

    assert (task["state"], state(service, model_id)) == ("COMPLETED", "DEPLOYED")
    assert least_cosine(embeddings(service, model_id), taken_over.left.vectors[model_id]) >= 0.99999


def test_controllers_are_there(taken_over: TakenOver) -> None:
    """Limits of users that ML Commons stored are merged with new ones, and go."""
    check_controller(taken_over.service, taken_over.left)


def test_versions_go_on(taken_over: TakenOver) -> None:
    """A new model in the old group gets the version after those that ML Commons gave."""
    service, archive, group_id = taken_over.service, traced("bert-max"), taken_over.left.group_id
    before = service.ml("GET", f"/model_groups/{group_id}")["latest_version"]
    assert before >= 3

    model_id = service.deployed(archive.content, **archive.fields, model_group_id=group_id)

    assert service.ml("GET", f"/models/{model_id}")["model_version"] == str(before + 1)
    assert service.ml("GET", f"/model_groups/{group_id}")["latest_version"] == before + 1


def test_names_stay_taken(taken_over: TakenOver) -> None:
    """No other group gets the name of a group that ML Commons made, and a model without a group joins it."""
    service, left, archive = taken_over.service, taken_over.left, traced("bert-max")

    refused = service.ml("POST", "/model_groups/_register", 400, json={"name": left.group})

    assert left.group_id in refused["error"]["reason"]
    model_id = service.register_meta(archive.content, **archive.fields, name=left.group)
    assert service.ml("GET", f"/models/{model_id}")["model_group_id"] == left.group_id


def test_old_documents_can_be_changed_and_deleted(taken_over: TakenOver) -> None:
    """What ML Commons registered takes updates, and a model goes with its chunks when deleted."""
    service, model_id, group_id = taken_over.service, taken_over.left.doomed, taken_over.left.group_id
    assert chunks(service, model_id) == 1
    for path in (f"/models/{model_id}", f"/model_groups/{group_id}"):
        service.ml("PUT", path, json={"description": "changed"})
        assert service.ml("GET", path)["description"] == "changed"

    service.ml("DELETE", f"/models/{model_id}")

    service.ml("GET", f"/models/{model_id}", 404)
    assert chunks(service, model_id) == 0


def test_settings_of_the_plugin_can_be_cleared(taken_over: TakenOver) -> None:
    """Settings of the plugin, which the cluster archives, go when the operator removes them through the service."""
    http = taken_over.service.http
    assert "archived" in http.get("/_cluster/settings").text
    assert http.put("/_cluster/settings", json={"persistent": {"archived.*": None}}).status_code == 200
    assert "archived" not in http.get("/_cluster/settings").text


def _fields(properties: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the fields of a mapping by their whole names, each without those inside of it."""
    found: dict[str, Any] = {}
    for name, field in properties.items():
        found[prefix + name] = {key: value for key, value in field.items() if key != "properties"}
        found |= _fields(field.get("properties", {}), f"{prefix}{name}.")
    return found


def test_mappings_are_alike(taken_over: TakenOver) -> None:
    """What the service creates an index with has each field of ML Commons' own, as it is there, and few more."""
    for (
        index,
        more,
    ) in _MORE.items():  # there may be another: that of the plugin's own keys comes some time after its start
        mapping, ours = taken_over.mappings[index], mapping_of(index)
        assert ours is not None
        theirs, mine = _fields(mapping["properties"]), _fields(ours["properties"])
        if index == ".plugins-ml-controller":
            del theirs["model_id"]  # no field of ML Commons' own mapping: the index took it from a document
        assert {name: mine.get(name) for name in theirs} == theirs
        assert mine.keys() - theirs.keys() == more
        assert ours["_meta"]["schema_version"] >= mapping["_meta"]["schema_version"]


def test_indices_of_ml_commons_get_our_fields(taken_over: TakenOver) -> None:
    """The service adds its fields to the indices that ML Commons made, and changes none."""
    now = taken_over.service.http.get("/.plugins-ml-*/_mapping").json()
    for index in (".plugins-ml-model", ".plugins-ml-task"):
        theirs, after = _fields(taken_over.mappings[index]["properties"]), _fields(now[index]["mappings"]["properties"])
        assert {name: after.get(name) for name in theirs} == theirs
        assert after.keys() - theirs.keys() == _MORE[index]

"""Several services on one real OpenSearch, each a process of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.opensearch import Node
from tests.e2e.service import Service, until
from tests.opensearch import empty

TINY = {
    "model_format": "TORCH_SCRIPT",
    "model_config": {"model_type": "bert", "embedding_dimension": 32, "framework_type": "sentence_transformers"},
}
Start = Callable[..., Service]


@pytest.fixture
def start(opensearch: Node, tmp_path: Path) -> Iterator[Start]:
    """Starts services, by name, on the cluster."""
    services: dict[str, Service] = {}

    def make(name: str, *settings: str, url: str | None = None, wait_ready: bool = True) -> Service:
        custom = "plugins.ml_commons.allow_custom_deployment_plan=true"
        flags = ("--store", url or opensearch.url)
        service = services[name] = Service(tmp_path / name, custom, *settings, flags=flags)
        return service.start(wait_ready=wait_ready)

    yield make
    for service in services.values():
        service.close()
    empty(opensearch)


def node_id(service: Service) -> str:
    """Return the id of a service's node."""
    return (service.data / "node_id").read_text()


def answers(service: Service, model_id: str) -> bool:
    """Return whether a service answers for a model, whoever runs it."""
    url = f"/_plugins/_ml/models/{model_id}/_predict"
    return service.http.post(url, json={"text_docs": ["rain"]}).status_code == 200


def test_one_model_everywhere(start: Start, tiny: bytes) -> None:
    """What is registered and deployed through one service is answered by all."""
    first, second = start("first"), start("second")
    model_id = first.register(tiny, **TINY)

    task = second.deploy(model_id)

    assert task["state"] == "COMPLETED"
    assert sorted(task["worker_node"]) == sorted(node_id(one) for one in (first, second))
    for service in (first, second):
        assert len(service.embed(model_id, ["rain"])) == 1
        profile = service.ml("GET", "/profile/models")
        assert model_id in profile["nodes"][node_id(service)]["models"]


def test_predict_goes_where_the_model_is(start: Start, tiny: bytes) -> None:
    """A service that does not run a model hands the request to one that does, errors and all."""
    first, second = start("first"), start("second")
    model_id = first.register(tiny, **TINY)
    answer = first.ml("POST", f"/models/{model_id}/_deploy", json={"node_ids": [node_id(second)]})
    task = first.task(answer["task_id"])
    assert (task["state"], task["worker_node"]) == ("COMPLETED", [node_id(second)])

    until(lambda: answers(first, model_id), "the first service knows where the model is")

    assert first.embed(model_id, ["rain"]) == second.embed(model_id, ["rain"])
    refused = first.ml("POST", f"/models/{model_id}/_predict?pretty", 400, json={"text_docs": []})
    assert refused["error"]["reason"] == "Empty text docs"

"""Searches of the cluster's own find in the service's indices what a client of the service was told."""

from typing import Any

import pytest
from opensearchpy import OpenSearch

from scripts.opensearch import Node
from tests.e2e.conftest import TINY
from tests.e2e.service import Service, until

pytestmark = pytest.mark.only("opensearch", reason="the embedded store has nothing else that could search it")

INDICES = ".plugins-ml-*"


def test_what_clients_were_told_is_found(service: Service, tiny: bytes, own_cluster: Node) -> None:
    """What was registered, deployed, changed or deleted is found so, in a cluster that never refreshes by itself."""
    service.deployed(tiny, **TINY)
    service.ml("POST", "/model_groups/_register", json={"name": "makes the index"})
    client = OpenSearch(own_cluster.url)
    client.indices.put_settings(index=INDICES, body={"index.refresh_interval": "-1"})

    def found(kind: str, field: str, value: str) -> list[dict[str, Any]]:
        query = {"query": {"term": {field: value}}, "_source": {"excludes": ["model_content"]}}
        hits = client.search(index=f".plugins-ml-{kind}", body=query)["hits"]["hits"]
        return [hit["_source"] for hit in hits]

    group_id = service.ml("POST", "/model_groups/_register", json={"name": "books"})["model_group_id"]
    assert [one["name"] for one in found("model-group", "_id", group_id)] == ["books"]

    model_id = service.register(tiny, **TINY, name="a title", model_group_id=group_id)
    assert [one["model_state"] for one in found("model", "_id", model_id)] == ["REGISTERED"]

    task_id = service.ml("POST", f"/models/{model_id}/_deploy")["task_id"]
    assert len(found("task", "_id", task_id)) == 1
    assert service.task(task_id)["state"] == "COMPLETED"
    assert [one["model_state"] for one in found("model", "_id", model_id)] == ["DEPLOYED"]
    until(lambda: found("task", "_id", task_id)[0]["state"] == "COMPLETED", "the end of the task among those found")

    service.ml("PUT", f"/models/{model_id}", json={"description": "changed"})
    assert [one["description"] for one in found("model", "_id", model_id)] == ["changed"]
    service.ml("POST", f"/models/{model_id}/_undeploy")
    assert [one["model_state"] for one in found("model", "_id", model_id)] == ["UNDEPLOYED"]
    service.ml("DELETE", f"/models/{model_id}")
    assert found("model", "model_id", model_id) + found("model", "_id", model_id) == []
    client.close()

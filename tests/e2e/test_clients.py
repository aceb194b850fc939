"""The clients that people use, unchanged, against the real program."""

import json
import subprocess
from pathlib import Path

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import NotFoundError, RequestError

from tests.e2e.service import ROOT, Service, until
from tests.e2e.test_whole_path import TINY

CLIENTS = ROOT / ".venv-clients" / "bin" / "python"


@pytest.fixture(scope="module")
def client(shared: Service) -> OpenSearch:
    """A plain opensearch-py client of the shared program."""
    url = shared.http.base_url
    return OpenSearch(hosts=[{"host": url.host, "port": url.port}], http_compress=True, timeout=60)


def test_opensearch_py_connects(client: OpenSearch) -> None:
    """The client takes the service for an OpenSearch."""
    assert client.ping()
    assert client.info()["version"]["distribution"] == "opensearch"
    assert client.cluster.health()["status"] == "green"


def test_opensearch_py_settings(client: OpenSearch) -> None:
    """The client's settings calls read and change plugins.ml_commons.* keys."""
    key = "plugins.ml_commons.max_model_on_node"
    answer = client.cluster.put_settings(body={"transient": {key: 7}})
    assert answer["transient"]["plugins"]["ml_commons"]["max_model_on_node"] == "7"
    flat = client.cluster.get_settings(params={"flat_settings": "true"})
    assert flat["transient"][key] == "7"
    client.cluster.put_settings(body={"transient": {key: None}})

    with pytest.raises(RequestError) as caught:
        client.cluster.put_settings(body={"persistent": {"plugins.ml_commons.dance": True}})
    assert "plugins.ml_commons.dance" in str(caught.value)


def test_opensearch_py_whole_path(client: OpenSearch, tiny: bytes, shared: Service) -> None:
    """client.plugins.ml finds, deploys, calls, undeploys and deletes a model."""
    group_id = client.plugins.ml.register_model_group(body={"name": "by opensearch-py"})["model_group_id"]
    model_id = shared.register(tiny, **{**TINY, "name": "by opensearch-py", "model_group_id": group_id})

    task_id = client.plugins.ml.deploy_model(model_id=model_id)["task_id"]
    task = until(
        lambda: (task := client.plugins.ml.get_task(task_id=task_id))["state"] == "COMPLETED" and task, "the deploy"
    )
    assert task["model_id"] == model_id
    hits = client.plugins.ml.search_models(body={"query": {"term": {"name.keyword": "by opensearch-py"}}})["hits"]
    assert [hit["_id"] for hit in hits["hits"]] == [model_id]
    answer = client.transport.perform_request(
        "POST", f"/_plugins/_ml/models/{model_id}/_predict", body={"text_docs": ["a cat"]}
    )
    assert answer["inference_results"][0]["output"][0]["shape"] == [32]
    client.plugins.ml.undeploy_model(model_id=model_id)
    client.plugins.ml.delete_model(model_id=model_id)
    assert client.plugins.ml.delete_model_group(model_group_id=group_id)["result"] == "deleted"
    with pytest.raises(NotFoundError):
        client.transport.perform_request("GET", f"/_plugins/_ml/models/{model_id}")


SCRIPT = """
import json, sys
from opensearchpy import OpenSearch
from opensearch_py_ml.ml_commons import MLCommonClient

port, archive, config = int(sys.argv[1]), sys.argv[2], sys.argv[3]
ml = MLCommonClient(OpenSearch(hosts=[{"host": "127.0.0.1", "port": port}], timeout=60))
model_id = ml.register_model(archive, config, isVerbose=True, deploy_model=True)
vectors = ml.generate_embedding(model_id, ["a cat is an animal", "rain"])
state = ml.get_model_info(model_id)["model_state"]
ml.undeploy_model(model_id)
deleted = ml.delete_model(model_id)["result"]
shape = vectors["inference_results"][1]["output"][0]["shape"]
print("RESULT " + json.dumps({"state": state, "shape": shape, "deleted": deleted}))
"""


def test_opensearch_py_ml(shared: Service, tmp_path: Path) -> None:
    """MLCommonClient of opensearch-py-ml registers, deploys and calls a model, in an environment of its own."""
    assert CLIENTS.exists(), "scripts/test makes the environment .venv-clients; run that"
    data = ROOT / "tests" / "data" / "traced"
    described = json.loads((data / "bert-mean-normalized.json").read_text())
    config = tmp_path / "config.json"
    fields = {key: described[key] for key in ("model_format", "model_config")}
    config.write_text(json.dumps({"name": "traced", "version": "1.0.0", "description": "a test", **fields}))
    archive = data / "bert-mean-normalized.zip"

    done = subprocess.run(
        [str(CLIENTS), "-c", SCRIPT, str(shared.http.base_url.port), str(archive), str(config)],
        capture_output=True,
        text=True,
        timeout=180,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.split("RESULT ")[1])
    assert result == {"state": "DEPLOYED", "shape": [32], "deleted": "deleted"}

"""Several services on one real OpenSearch, each a process of its own."""

import threading
import time
from functools import partial

import httpx
import pytest

from mlcommons_py.store.recent import FRESH
from scripts.opensearch import Node, placed
from tests.e2e.conftest import TINY, Start
from tests.e2e.proxy import faulty
from tests.e2e.service import CHUNK, Service, until


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
    assert sorted(task["worker_node"]) == sorted(one.node_id for one in (first, second))
    for service in (first, second):
        assert len(service.embed(model_id, ["rain"])) == 1
        profile = service.ml("GET", "/profile/models")
        assert model_id in profile["nodes"][service.node_id]["models"]


def test_predict_goes_where_the_model_is(start: Start, tiny: bytes) -> None:
    """A service that does not run a model hands the request to one that does, errors and all."""
    first, second = start("first"), start("second")
    model_id = first.register(tiny, **TINY)
    answer = first.ml("POST", f"/models/{model_id}/_deploy", json={"node_ids": [second.node_id]})
    task = first.task(answer["task_id"])
    assert (task["state"], task["worker_node"]) == ("COMPLETED", [second.node_id])

    until(lambda: answers(first, model_id), "the first service knows where the model is")

    assert first.embed(model_id, ["rain"]) == second.embed(model_id, ["rain"])
    refused = first.ml("POST", f"/models/{model_id}/_predict?pretty", 400, json={"text_docs": []})
    assert refused["error"]["reason"] == "Empty text docs"


def write(node: Node, path: str, body: object) -> None:
    """Tell the cluster something directly."""
    answer = httpx.put(f"{node.url}{path}", json=body, timeout=30)
    assert answer.status_code == 200, answer.text


def is_ready(service: Service) -> bool:
    """Return whether a service says that it is ready."""
    return service.http.get("/_health/ready").status_code == 200


def says(service: Service, text: str) -> bool:
    """Return whether a service gives a text as the reason why it is not ready."""
    return text in service.http.get("/_health/ready").text


def is_planned(service: Service, model_id: str, nodes: list[str]) -> bool:
    """Return whether a model shall run on just these nodes."""
    return bool(service.ml("GET", f"/models/{model_id}")["planning_worker_nodes"] == nodes)


def states(service: Service) -> set[str]:
    """Return the states that tasks are in."""
    answer = service.ml("POST", "/tasks/_search", json={"query": {"match_all": {}}, "size": 1000})
    return {hit["_source"]["state"] for hit in answer["hits"]["hits"]}


def test_started_before_the_cluster(start: Start, tiny: bytes) -> None:
    """Services that start while the cluster is down say so, and come up with it, with no hand work."""
    with placed() as node:
        services = [start(name, url=node.url, wait_ready=False) for name in ("first", "second")]
        for service in services:
            assert not is_ready(service)
            until(partial(says, service, f"the store: the cluster at {node.url} cannot be reached"), "the reason")
            assert service.http.get("/_health/live").status_code == 200
            refused = service.ml("GET", "/models/x", 503)
            assert refused["status"] == 503
            assert "cannot be reached" in refused["error"]["reason"]
        node.start()
        for service in services:
            until(partial(is_ready, service), "readiness")
        model_id = services[0].register(tiny, **TINY)
        assert services[1].deploy(model_id)["state"] == "COMPLETED"
        assert len(services[0].embed(model_id, ["a cat"])) == 1


def test_cluster_restarts_under_load(start: Start, tiny: bytes, opensearch: Node) -> None:
    """While the cluster is killed and started again every predict is answered; afterwards all goes on."""
    first, second = start("first"), start("second")
    model_id = first.register(tiny, **TINY)
    assert first.deploy(model_id)["state"] == "COMPLETED"
    for service in (first, second):  # the cluster has vouched for the client
        assert len(service.embed(model_id, ["rain"])) == 1
    outcomes: list[int] = []
    over = threading.Event()

    def load(service: Service) -> None:
        path = f"/_plugins/_ml/models/{model_id}/_predict"
        with httpx.Client(base_url=service.http.base_url, timeout=60) as client:
            while not over.wait(0.02):
                outcomes.append(client.post(path, json={"text_docs": ["rain"]}).status_code)

    threads = [threading.Thread(target=load, args=(one,)) for one in (first, second)]
    for thread in threads:
        thread.start()
    try:
        opensearch.kill()
        during = len(outcomes)
        until(lambda: len(outcomes) > during + 50, "predicts without a cluster")
        opensearch.start()
    finally:
        over.set()
        for thread in threads:
            thread.join()

    assert set(outcomes) == {200}
    other = second.register(tiny, **TINY)
    assert first.deploy(other)["state"] == "COMPLETED"
    until(lambda: second.ml("GET", f"/models/{model_id}")["current_worker_node_count"] == 2, "both counted")
    assert second.ml("GET", f"/models/{model_id}")["model_state"] == "DEPLOYED"


def test_cluster_hangs(start: Start, tiny: bytes, opensearch: Node) -> None:
    """While the cluster takes connections and answers nothing, deployed models answer, each time within seconds."""
    service = start("first")
    model_id = service.register(tiny, **TINY)
    assert service.deploy(model_id)["state"] == "COMPLETED"
    assert len(service.embed(model_id, ["rain"])) == 1

    opensearch.pause()
    try:
        began = time.monotonic()
        answered = 0
        while time.monotonic() < began + 12:
            assert len(service.embed(model_id, ["rain"])) == 1
            answered += 1
            threading.Event().wait(0.05)
    finally:
        opensearch.resume()

    assert answered > 20
    service.ml("PUT", f"/models/{model_id}", json={"description": "new"})


def test_data_directory_is_one_service_s(start: Start) -> None:
    """A second service on the data directory of another refuses to start."""
    start("first")

    with pytest.raises(AssertionError, match="is in use by another service"):
        start("second", data="first")


def test_index_is_read_only(start: Start, tiny: bytes, opensearch: Node) -> None:
    """On a full disk of the cluster writes are refused with the cure in the text, models answer, and it passes."""
    service = start("first")
    model_id = service.register(tiny, **TINY)
    assert service.deploy(model_id)["state"] == "COMPLETED"
    block = {"index.blocks.read_only_allow_delete": True}
    write(opensearch, "/.plugins-ml-model/_settings", block)

    refused = service.http.put(f"/_plugins/_ml/models/{model_id}", json={"description": "new"})

    assert refused.status_code in (403, 429, 503), refused.text
    assert ".plugins-ml-model" in refused.text
    assert len(service.embed(model_id, ["rain"])) == 1
    write(opensearch, "/.plugins-ml-model/_settings", {"index.blocks.read_only_allow_delete": None})
    service.ml("PUT", f"/models/{model_id}", json={"description": "new"})
    assert service.ml("GET", f"/models/{model_id}")["description"] == "new"


def test_faulty_link(start: Start, tiny: bytes, opensearch: Node) -> None:
    """With a cluster that refuses, forgets to answer and dawdles, everything ends as without."""
    with faulty(opensearch.url) as (url, faults):
        service, other = start("first", url=url), start("second")
        faults.busy, faults.lost, faults.slow = 0.2, 0.1, 0.02
        models = [service.register(tiny, **TINY, name=f"model {number}") for number in range(3)]
        for model_id in models:
            assert service.deploy(model_id)["state"] == "COMPLETED"
            assert len(service.embed(model_id, ["rain"])) == 1
        service.ml("POST", f"/models/{models[0]}/_undeploy")
        service.ml("DELETE", f"/models/{models[0]}")
        faults.busy, end = 1.0, time.monotonic() + 2 * FRESH
        while time.monotonic() < end:  # what was read counts as fresh no more
            assert len(service.embed(models[1], ["rain"])) == 1
        faults.busy = faults.lost = faults.slow = 0.0
        assert min(faults.done.values()) > 10

    documents = [other.ml("GET", f"/models/{model_id}") for model_id in models[1:]]
    assert [one["model_state"] for one in documents] == ["DEPLOYED", "DEPLOYED"]
    assert [one["model_version"] for one in documents] == ["1", "1"]
    other.ml("GET", f"/models/{models[0]}", 404)
    assert states(other) == {"COMPLETED"}


def test_owner_is_killed_while_it_registers(start: Start, tiny: bytes) -> None:
    """Whenever the service that registers a model is killed, the model can be finished through another."""
    survivor = start("survivor")
    content = tiny + b"\0" * (2 * CHUNK - len(tiny) + 10)  # three chunks
    for moment in range(4):
        service = start("owner")
        model_id = service.register_meta(content, **TINY, name=f"killed at {moment}")
        for number in range(min(moment, 3)):
            service.upload(model_id, content, number)
        service.kill()

        for number in range(min(moment, 3), 3):
            survivor.upload(model_id, content, number)

        def proven(model_id: str = model_id) -> bool:
            query = {"query": {"bool": {"filter": [{"term": {"model_id": model_id}}]}}}
            hits = survivor.ml("POST", "/tasks/_search", json=query)["hits"]["hits"]
            return [hit["_source"]["state"] for hit in hits] in (["COMPLETED"], ["FAILED"])

        until(proven, f"the end of the proof of the model whose owner was killed at {moment}")
        assert survivor.ml("GET", f"/models/{model_id}")["model_state"] == "REGISTERED"


def test_owner_is_killed_while_it_deploys(start: Start, tiny: bytes) -> None:
    """Whenever the service that deploys is killed, the other has the model, and no task stays unfinished."""
    survivor = start("survivor")
    for pause in (0.0, 0.05, 0.2, 0.5, 1.0):
        service = start("owner")
        model_id = service.register(tiny, **TINY)
        task_id = service.ml("POST", f"/models/{model_id}/_deploy")["task_id"]
        threading.Event().wait(pause)
        service.kill()

        task = survivor.task(task_id)

        assert task["state"] in ("COMPLETED", "COMPLETED_WITH_ERROR"), task
        assert len(survivor.embed(model_id, ["rain"])) == 1
        until(partial(is_planned, survivor, model_id, [survivor.node_id]), "the plan without the dead node")
        assert survivor.ml("GET", f"/models/{model_id}")["model_state"] == "DEPLOYED"
        survivor.ml("POST", f"/models/{model_id}/_undeploy")

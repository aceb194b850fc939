"""Whichever process answers, the answer is the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api_servers.conftest import Rig
from tests.api_servers.several import all_of, connected, paused, until
from tests.e2e.test_remote import HELLO
from tests.e2e.test_whole_path import TINY
from tests.remote.fake import Answer, events

ML = "/_plugins/_ml"
ASKED = {"parameters": HELLO}


@pytest.fixture(scope="module", params=["embedded", pytest.param("opensearch", marks=pytest.mark.opensearch)])
def store(request: pytest.FixtureRequest) -> str:
    """The kind of store: each test runs on both."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def tiny() -> bytes:
    """A small TorchScript archive: a BERT of two layers, 32 dimensions, mean pooling, normalised."""
    return (Path(__file__).parents[1] / "data" / "traced" / "bert-mean-normalized.zip").read_bytes()


def test_a_predict_needs_nothing_but_the_provider(rig: Rig) -> None:
    """An API server that was told of a model calls it while the core does nothing."""
    rig.provider.fake.on("/alone", Answer(200, {"ok": True}))
    model_id = rig.model(rig.connector("/alone"))
    core, *others = all_of(rig.service)

    for pid in others:
        with connected(rig.service, pid) as direct:
            first = direct.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
            with paused([core]):
                second = direct.ml("POST", f"/_predict/remote/{model_id}", body=ASKED)
        assert first == second
        assert first["inference_results"][0]["output"][0]["dataAsMap"] == {"ok": True}
        assert rig.provider.fake.requests[-1].header("Authorization") == "Bearer s3cret"


def test_streams_come_from_each_process(rig: Rig) -> None:
    """A stream's events are the same from each process."""
    pieces = [json.dumps({"choices": [{"delta": {"content": text}}]}) for text in ("one", "two")]
    rig.provider.fake.on("/stream", events(*pieces, "[DONE]"))
    model_id = rig.model(rig.connector("/stream"))

    texts = []
    for pid in all_of(rig.service):
        with connected(rig.service, pid) as direct:
            status, text = direct.request("POST", f"{ML}/models/{model_id}/_predict/stream", ASKED)
            assert status == 200, text
            texts.append(text)

    assert texts[0].count("data: ") == 3
    assert len(set(texts)) == 1


def test_local_models_through_each_process(rig: Rig, tiny: bytes) -> None:
    """A local model is registered, deployed, called and undeployed through any process."""
    vectors = []
    for pid in all_of(rig.service):
        with connected(rig.service, pid) as direct:
            model_id = rig.service.register_meta(tiny, **TINY)
            direct.ml("POST", f"/models/{model_id}/upload_chunk/0", body=tiny)
            task = direct.ml("POST", f"/models/{model_id}/_deploy")
            until(lambda: _state(direct.ml("GET", f"/tasks/{task['task_id']}")) == "COMPLETED", "the deploy")  # noqa: B023
            answer = direct.ml("POST", f"/models/{model_id}/_predict", body={"text_docs": ["a cat"]})
            vectors.append(answer["inference_results"][0]["output"][0]["data"])
            direct.ml("POST", f"/models/{model_id}/_undeploy")
            direct.ml("POST", f"/models/{model_id}/_predict", 400, {"text_docs": ["a cat"]})
            direct.ml("DELETE", f"/models/{model_id}")

    assert vectors[0] == vectors[1] == vectors[2]


def _state(task: dict[str, Any]) -> str:
    return str(task["state"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"{ML}/models/none", None),
        ("POST", f"{ML}/models/none/_predict", ASKED),
        ("POST", f"{ML}/models/none/_predict", b"{"),
        ("GET", f"{ML}/nothing/at/all", None),
        ("PATCH", f"{ML}/models/none/_predict", None),
        ("GET", f"{ML}/models/none/_predict?pretty=maybe", None),
        ("POST", f"{ML}/_predict/kmeans/none", ASKED),
        ("HEAD", "/_health/ready", None),
        ("GET", "/_health/ready?pretty", None),
        ("GET", "/_cluster/settings?flat_settings=true", None),
        ("GET", "/", None),
        ("GET", "/an-index/_doc/1", None),
    ],
)
def test_answers_are_alike(rig: Rig, method: str, path: str, body: object) -> None:
    """Status, header and body of an answer are the same from each process."""
    seen = []
    for pid in all_of(rig.service):
        with connected(rig.service, pid) as direct:
            sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            direct.made.request(method, path, sent, {"Content-Type": "application/json", "X-Opaque-Id": "me"})
            answer = direct.made.getresponse()
            fields = sorted((name, value) for name, value in answer.getheaders() if name.lower() != "date")
            seen.append((answer.status, fields, answer.read()))

    assert seen[0] == seen[1] == seen[2]


def test_wrong_bodies_are_refused_alike(rig: Rig) -> None:
    """What is wrong with a call of a model that API servers answer is said in the same words by each process."""
    rig.provider.fake.on("/wrong", Answer(418, {"error": "a teapot"}))
    model_id = rig.model(rig.connector("/wrong"))
    path = f"{ML}/models/{model_id}/_predict"

    seen = []
    for pid in all_of(rig.service):
        with connected(rig.service, pid) as direct:
            seen.append(
                [
                    direct.request("POST", path),
                    direct.request("POST", path, b"{"),
                    direct.request("POST", path, {"parameters": 1}),
                    direct.request("POST", path + "?nonsense=1", ASKED),
                    direct.request("POST", f"{ML}/_predict/kmeans/{model_id}", ASKED),
                    direct.request("POST", path, ASKED),
                ]
            )

    assert seen[0] == seen[1] == seen[2]
    assert [status for status, _ in seen[0]] == [400, 400, 400, 400, 400, 418]


def test_what_is_the_clusters(rig: Rig) -> None:
    """Documents are stored and found in the cluster through each process; without one each refuses them alike."""
    clustered = "--store" in rig.service.flags
    for number, pid in enumerate(all_of(rig.service)):
        index = f"books-{number}"
        lines = ({"index": {"_index": index}}, {"title": "one"}, {"index": {"_index": index}}, {"title": "two"})
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        with connected(rig.service, pid) as direct:
            stored, answer = direct.request("POST", "/_bulk?refresh=true", body)
            found, hits = direct.request("POST", f"/{index}/_search", {"query": {"match": {"title": "two"}}})
            plugins, listed = direct.request("GET", "/_cat/plugins?format=json")

        assert stored == plugins == (200 if clustered else 501)
        if clustered:
            assert answer["errors"] is False
            assert (found, hits["hits"]["total"]["value"]) == (200, 1)
            assert "opensearch-ml" in str(listed)

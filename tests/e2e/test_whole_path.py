"""From an archive to vectors and back again, against the real program."""

import base64
import random
from pathlib import Path
from typing import Any

import numpy as np

from tests.e2e.service import CHUNK, Run, Service

TINY: dict[str, Any] = {
    "name": "tiny",
    "model_format": "TORCH_SCRIPT",
    "model_config": {"model_type": "bert", "embedding_dimension": 32, "framework_type": "sentence_transformers"},
}


def test_chunks_in_any_order_and_twice(shared: Service, minilm_zip: Path) -> None:
    """A model is registered when its last missing chunk arrives, in whatever order they come."""
    archive = minilm_zip.read_bytes()
    model_id = shared.register_meta(archive, name="shuffled")
    numbers = list(range(-(-len(archive) // CHUNK)))
    random.Random(1).shuffle(numbers)
    for number in (*numbers[:-1], numbers[0]):
        shared.upload(model_id, archive, number)
        assert shared.ml("GET", f"/models/{model_id}")["model_state"] == "REGISTERING"

    shared.upload(model_id, archive, numbers[-1])

    model = shared.ml("GET", f"/models/{model_id}")
    assert model["model_state"] == "REGISTERED"
    assert model["total_chunks"] == len(numbers)
    shared.ml("DELETE", f"/models/{model_id}")


def test_missing_chunks_are_named(shared: Service, tiny: bytes) -> None:
    """A deploy or a predict of an incomplete model says which chunks are missing."""
    model_id = shared.register_meta(tiny, **{**TINY, "total_chunks": 3})
    shared.ml("POST", f"/models/{model_id}/upload_chunk/1", content=tiny[:100])

    for path, body in (("_deploy", {}), ("_predict", {"text_docs": ["a"]})):
        error = shared.ml("POST", f"/models/{model_id}/{path}", 400, json=body)["error"]
        assert "[0, 2]" in error["reason"], error


def test_stored_documents(shared: Service, tiny: bytes) -> None:
    """The documents of a model and of its chunks have ML Commons' fields."""
    model_id = shared.register(tiny, **{**TINY, "name": "documents", "description": "kept"})

    body = {"query": {"term": {"model_id": model_id}}, "_source": ["*"]}
    hits = shared.ml("POST", "/models/_search", json=body)["hits"]["hits"]
    (chunk,) = (hit for hit in hits if "chunk_number" in hit["_source"])
    model = shared.ml("GET", f"/models/{model_id}")

    assert chunk["_id"] == f"{model_id}_0"
    assert {key: chunk["_source"][key] for key in ("algorithm", "model_id", "chunk_number", "total_chunks")} == {
        "algorithm": "TEXT_EMBEDDING",
        "model_id": model_id,
        "chunk_number": 0,
        "total_chunks": 1,
    }
    assert (model["algorithm"], model["model_version"], model["description"]) == ("TEXT_EMBEDDING", "1", "kept")
    assert model["model_config"]["framework_type"] == "SENTENCE_TRANSFORMERS"
    assert "function_name" not in model


def test_chunk_content_is_base64_for_who_asks(shared: Service, tiny: bytes) -> None:
    """A search that names model_content gets the chunk's bytes in base64."""
    model_id = shared.register(tiny, **{**TINY, "name": "content"})

    body = {"query": {"ids": {"values": [f"{model_id}_0"]}}, "_source": ["model_content"]}
    (hit,) = shared.ml("POST", "/models/_search", json=body)["hits"]["hits"]

    assert base64.b64decode(hit["_source"]["model_content"]) == tiny


def test_deploy_predict_undeploy_delete(service: Service, tiny: bytes) -> None:
    """A model goes the whole way, its worker ends with the undeploy, and nothing of it is left after the delete."""
    model_id = service.deployed(tiny, **TINY)
    assert service.ml("GET", f"/models/{model_id}")["model_state"] == "DEPLOYED"
    assert len(service.workers()) == 1
    (vector,) = service.embed(model_id, ["a cat is an animal"])
    assert len(vector) == 32
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5

    refusal = service.ml("DELETE", f"/models/{model_id}", 400)
    assert "Try undeploy model first" in refusal["error"]["reason"]
    answer = service.ml("POST", f"/models/{model_id}/_undeploy")
    assert [stats["stats"] for stats in answer.values()] == [{model_id: "undeployed"}]
    assert service.workers() == []
    refusal = service.ml("POST", f"/models/{model_id}/_predict", 400, json={"text_docs": ["a"]})
    assert refusal["error"]["reason"] == "Model not ready yet. Please deploy the model first."
    again = service.ml("POST", f"/models/{model_id}/_undeploy")
    assert [stats["stats"] for stats in again.values()] == [{model_id: "not_found"}]

    assert service.ml("DELETE", f"/models/{model_id}")["result"] == "deleted"
    assert service.ml("POST", "/models/_search", json={"query": {"match_all": {}}})["hits"]["total"]["value"] == 0
    service.ml("GET", f"/models/{model_id}", 404)


def test_deploying_again_succeeds(service: Service, tiny: bytes) -> None:
    """A deployed model that is deployed again stays deployed, with a task that completes."""
    model_id = service.deployed(tiny, **TINY)
    before = service.workers()

    assert service.deploy(model_id)["state"] == "COMPLETED"

    assert service.workers() == before
    assert service.ml("GET", f"/models/{model_id}")["model_state"] == "DEPLOYED"


def test_answer_has_what_was_asked_for(shared: Service, minilm: str) -> None:
    """Numbers, bytes, names and positions are in the answer as the filter wants them, and null keeps its place."""
    path = f"/models/{minilm}/_predict"
    docs = {"text_docs": ["a cat", None, "a dog"]}

    full = shared.ml("POST", path, json={**docs, "return_bytes": True})["inference_results"]
    bare = shared.ml("POST", path, json={**docs, "return_number": False})["inference_results"]
    nested = shared.ml("POST", path, json={**docs, "result_filter": {"return_bytes": True, "return_number": False}})[
        "inference_results"
    ]
    other = shared.ml("POST", path, json={**docs, "target_response": ["token_embeddings"]})["inference_results"]
    placed = shared.ml("POST", path, json={**docs, "target_response_positions": [0]})["inference_results"]

    tensor = full[0]["output"][0]
    assert list(tensor) == ["name", "data_type", "shape", "data", "byte_buffer"]
    assert (tensor["name"], tensor["data_type"], tensor["shape"]) == ("sentence_embedding", "FLOAT32", [384])
    packed = np.frombuffer(base64.b64decode(tensor["byte_buffer"]["array"]), "<f4")
    np.testing.assert_array_equal(packed, np.array(tensor["data"], "<f4"))
    assert tensor["byte_buffer"]["order"] == "LITTLE_ENDIAN"
    assert full[1] == {}
    assert [sorted(entry["output"][0]) for entry in (bare[0], bare[2])] == [["data_type", "name", "shape"]] * 2
    assert sorted(nested[0]["output"][0]) == ["byte_buffer", "data_type", "name", "shape"]
    assert other == [{}, {}, {}]
    assert placed[2]["output"][0]["data"] == full[2]["output"][0]["data"]


def test_prefixes(shared: Service, minilm: str, minilm_zip: Path) -> None:
    """Queries and passages get the prefixes that the model was registered with, verbatim."""
    config = {"query_prefix": "query: ", "passage_prefix": "passage: "}
    asymmetric = shared.deployed(minilm_zip.read_bytes(), name="asymmetric", model_config=config)

    asked = shared.embed(asymmetric, ["a cat"], parameters={"content_type": "query"})
    told = shared.embed(asymmetric, ["a cat"], parameters={"content_type": "PASSAGE"})
    expected = shared.embed(minilm, ["query: a cat", "passage: a cat"])

    np.testing.assert_allclose([*asked, *told], expected, atol=1e-6)
    refusal = shared.ml("POST", f"/models/{asymmetric}/_predict", 400, json={"text_docs": ["a cat"]})
    assert "asymmetric" in refusal["error"]["caused_by"]["reason"]
    refusal = shared.ml(
        "POST",
        f"/models/{minilm}/_predict",
        400,
        json={"text_docs": ["a"], "parameters": {"content_type": "query"}},
    )
    assert "query_prefix" in refusal["error"]["caused_by"]["reason"]
    shared.ml("POST", f"/models/{asymmetric}/_undeploy")


def test_stop_and_start(tmp_path: Path, run: Run, tiny: bytes) -> None:
    """What was deployed when the service stopped is served again after it starts; what was not is not."""
    with run(tmp_path) as service:
        up = service.deployed(tiny, **TINY)
        down = service.deployed(tiny, **{**TINY, "name": "down"})
        service.ml("POST", f"/models/{down}/_undeploy")
        before = service.embed(up, ["a cat"])

        assert service.stop() == 0
        service.start()

        assert service.embed(up, ["a cat"]) == before
        assert service.ml("GET", f"/models/{up}")["model_state"] == "DEPLOYED"
        assert service.ml("GET", f"/models/{down}")["model_state"] == "UNDEPLOYED"
        assert len(service.workers()) == 1


def test_int8_is_chosen_by_the_config(shared: Service, minilm: str, minilm_zip: Path) -> None:
    """compute_type int8 runs the model in int8: near the float32 vectors, and not equal to them."""
    small = shared.deployed(minilm_zip.read_bytes(), name="int8", model_config={"compute_type": "int8"})
    texts: list[str | None] = ["the quick brown fox jumps over the lazy dog", "rain is expected over the weekend"]

    one, other = np.array(shared.embed(minilm, texts)), np.array(shared.embed(small, texts))

    cosines = (one * other).sum(1)
    assert (cosines > 0.98).all()
    assert (cosines < 0.999999).any()
    shared.ml("POST", f"/models/{small}/_undeploy")

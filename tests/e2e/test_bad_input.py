"""Wrong input gets an answer that names the fault, and leaves nothing half-written."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service import CHUNK, Service
from tests.e2e.test_whole_path import TINY


def rezip(archive: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Return an archive whose files were changed."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    change(files)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("number", "content", "status", "reason"),
    [
        ("0", b"", 400, "Chunk size either 0 or null"),
        ("0", b"x" * (CHUNK + 1), 413, "Chunk size exceeds 10MB"),
        ("1", b"x", 400, "Chunk number exceeds total chunks"),
        ("99999999999999999999", b"x", 400, "99999999999999999999"),
        ("-1", b"x", 400, "Chunk number exceeds total chunks"),
        ("zero", b"x", 400, 'For input string: "zero"'),
    ],
)
def test_chunk_refused(shared: Service, tiny: bytes, number: str, content: bytes, status: int, reason: str) -> None:
    """A chunk that is empty, too long or out of range is refused, and is not stored."""
    model_id = shared.register_meta(tiny, **TINY)

    answer = shared.ml("POST", f"/models/{model_id}/upload_chunk/{number}", status, content=content)

    assert reason in answer["error"]["reason"]
    body = {"query": {"term": {"model_id": model_id}}}
    assert shared.ml("POST", "/models/_search", json=body)["hits"]["total"]["value"] == 0
    assert shared.ml("GET", f"/models/{model_id}")["model_state"] == "REGISTERING"
    shared.ml("DELETE", f"/models/{model_id}")


def test_chunk_of_unknown_model(shared: Service) -> None:
    """A chunk for a model that does not exist is 404 and stores nothing."""
    answer = shared.ml("POST", "/models/nobody/upload_chunk/0", 404, content=b"x")

    assert answer["error"]["reason"] == "Failed to find model"


def test_wrong_hash_names_both(shared: Service, tiny: bytes) -> None:
    """Content with another hash than announced is refused with both; the right content can still be sent."""
    model_id = shared.register_meta(tiny, **TINY)
    wrong = bytes([tiny[0] ^ 1]) + tiny[1:]

    answer = shared.ml("POST", f"/models/{model_id}/upload_chunk/0", 400, content=wrong)

    model = shared.ml("GET", f"/models/{model_id}")
    assert model["model_content_hash_value"] in answer["error"]["reason"]
    assert answer["error"]["reason"].count("SHA-256") == 1
    assert model["model_state"] == "REGISTERING"
    shared.ml("POST", f"/models/{model_id}/_deploy", 400)
    shared.upload(model_id, tiny, 0)
    assert shared.deploy(model_id)["state"] == "COMPLETED"
    shared.ml("POST", f"/models/{model_id}/_undeploy")


def test_wrong_size_names_both(shared: Service, tiny: bytes) -> None:
    """Content of another size than announced is refused with both sizes."""
    model_id = shared.register_meta(tiny, **{**TINY, "model_content_size_in_bytes": len(tiny) - 1})

    reason = shared.ml("POST", f"/models/{model_id}/upload_chunk/0", 400, content=tiny)["error"]["reason"]

    assert str(len(tiny)) in reason
    assert str(len(tiny) - 1) in reason


def _traverse(files: dict[str, bytes]) -> None:
    files["../escaped.txt"] = b"x"


def _two(files: dict[str, bytes]) -> None:
    files["second.pt"] = b"x"


def _no_tokenizer(files: dict[str, bytes]) -> None:
    del files["tokenizer.json"]


def _bomb(files: dict[str, bytes]) -> None:
    files["zeros.json"] = b"\0" * (300 << 20)


def _executable(files: dict[str, bytes]) -> None:
    files["lib/native.so"] = b"x"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_traverse, "../escaped.txt"),
        (_two, "multiple model"),
        (_no_tokenizer, "tokenizer"),
        (_bomb, "zeros.json"),
        (_executable, "lib/native.so"),
    ],
)
def test_archive_refused(shared: Service, tiny: bytes, change: Callable[[dict[str, bytes]], None], reason: str) -> None:
    """An archive that cannot be served fails its deploy task, which says why; nothing of it stays on disk."""
    archive = rezip(tiny, change)
    unfinished = set(shared.data.rglob("staging/*"))  # uploads of other tests, which may still go on
    model_id = shared.register(archive, **TINY)

    task = shared.deploy(model_id)

    assert task["state"] == "FAILED"
    (said,) = json.loads(task["error"]).values()
    assert reason in said
    model = shared.ml("GET", f"/models/{model_id}")
    assert (model["model_state"], model["state_reason"]) == ("DEPLOY_FAILED", said)
    assert not list(shared.data.rglob("escaped.txt"))
    assert set(shared.data.rglob("staging/*")) <= unfinished
    shared.ml("DELETE", f"/models/{model_id}")


def test_symlink_refused(shared: Service, tiny: bytes) -> None:
    """A symbolic link in an archive is refused."""
    packed = io.BytesIO(tiny)
    with zipfile.ZipFile(packed, "a") as target:
        link = zipfile.ZipInfo("passwd.json")
        link.external_attr = 0o120777 << 16
        target.writestr(link, "/etc/passwd")

    task = shared.deploy(shared.register(packed.getvalue(), **TINY))

    assert task["state"] == "FAILED"
    assert "passwd.json" in task["error"]


def test_registration_is_proven(shared: Service, tiny: bytes) -> None:
    """A registration whose dimension is not the model's fails its task, with both numbers, before any deploy."""
    config = {**TINY["model_config"], "embedding_dimension": 33}
    model_id = shared.register(tiny, **{**TINY, "model_config": config})

    body = {
        "query": {"bool": {"filter": [{"term": {"model_id": model_id}}, {"term": {"task_type": "REGISTER_MODEL"}}]}}
    }
    (hit,) = shared.ml("POST", "/tasks/_search", json=body)["hits"]["hits"]
    task = shared.task(hit["_id"])

    assert task["state"] == "FAILED"
    assert "33" in task["error"]
    assert "32" in task["error"]
    assert "33" in shared.deploy(model_id)["error"]


def test_truncated_safetensors(shared: Service, minilm_zip: Path) -> None:
    """A safetensors file that ends too early is refused, and the file is named."""

    def cut(files: dict[str, bytes]) -> None:
        (name,) = (name for name in files if name.endswith("model.safetensors"))
        files[name] = files[name][:1_000_000]

    task = shared.deploy(shared.register(rezip(minilm_zip.read_bytes(), cut), name="truncated"))

    assert task["state"] == "FAILED"
    assert "model.safetensors" in task["error"]


def test_unknown_architecture(shared: Service, minilm_zip: Path) -> None:
    """An architecture that cannot be run is named, beside those that can."""

    def rename(files: dict[str, bytes]) -> None:
        name = min((name for name in files if name.endswith("config.json")), key=len)
        config = json.loads(files[name])
        files[name] = json.dumps({**config, "model_type": "deberta-v2", "architectures": ["DebertaV2Model"]}).encode()
        (weights,) = (name for name in files if name.endswith(".safetensors"))
        files[weights] = files[weights][:1000]  # which of them there are does not matter

    task = shared.deploy(shared.register(rezip(minilm_zip.read_bytes(), rename), name="deberta"))

    assert task["state"] == "FAILED"
    for name in ("deberta-v2", "bert", "distilbert", "roberta"):
        assert name in task["error"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "request body is required"),
        (b"{}", 400, "Empty text docs"),
        (b'{"text_docs":[]}', 400, "Empty text docs"),
        (b'{"other":1}', 400, "Empty text docs"),
        (b'{"text_docs":"x"}', 400, "text_docs"),
        (b'{"text_docs":[["x"]]}', 400, "text_docs[0]"),
        (b'{"text_docs":["x",{"a":1}]}', 400, "text_docs[1]"),
        (b'{"text_docs":["x"],"return_number":"maybe"}', 400, "return_number"),
        (b'{"text_docs":["x"],"target_response":"a"}', 400, "target_response"),
        (b'{"text_docs":["x"],"target_response_positions":["a"]}', 400, "target_response_positions"),
        (b'{"text_docs":["x"],"parameters":[]}', 400, "parameters"),
        (b'{"text_docs":["x"],"parameters":{"content_type":"dance"}}', 400, "EmbeddingContentType.DANCE"),
        (b'{"text_docs":["a\\u0000b"]}', 400, "NUL"),
        (b'{"text_docs":["a\0b"]}', 400, ""),
        (b'{"text_docs":["\xff"]}', 400, ""),
        (b'{"text_docs":["\\ud800"]}', 400, ""),
        (b'{"text_docs":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}", 400, ""),
        (b'{"text_docs":["x"', 400, ""),
        (b"[1]", 400, "expecting token of type [START_OBJECT]"),
        (b'{"text_docs":["' + b"x" * 10_000_000 + b'"]}', 400, "text_docs[0]"),
        (b'{"text_docs":["' + b"x" * 100_000_000 + b'"]}', 413, ""),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_predict_refused(shared: Service, minilm: str, body: bytes, status: int, reason: str) -> None:
    """A predict body of the wrong form is refused by the client's fault, and the model goes on answering."""
    headers = {"content-type": "application/json"}

    answer = shared.ml("POST", f"/models/{minilm}/_predict", status, content=body, headers=headers)

    assert answer["status"] == status
    assert reason in answer["error"]["reason"]
    assert len(shared.embed(minilm, ["still there"])[0]) == 384


def test_unknown_model(shared: Service) -> None:
    """Whatever is asked of a model that does not exist is answered with 404."""
    for method, path, body in [
        ("GET", "/models/nobody", None),
        ("PUT", "/models/nobody", {"name": "x"}),
        ("DELETE", "/models/nobody", None),
        ("POST", "/models/nobody/_deploy", None),
        ("POST", "/models/nobody/_undeploy", None),
        ("POST", "/models/nobody/_predict", {"text_docs": ["x"]}),
        ("POST", "/_predict/text_embedding/nobody", {"text_docs": ["x"]}),
        ("GET", "/tasks/nobody", None),
        ("DELETE", "/tasks/nobody", None),
        ("GET", "/model_groups/nobody", None),
    ]:
        error = shared.ml(method, path, 404, json=body)["error"]
        assert error["reason"], (method, path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": None}, "model name is null"),
        ({"model_format": None}, "model format is null"),
        ({"model_format": "torch_script"}, "Wrong model format"),
        ({"model_content_hash_value": None}, "model content hash value is null"),
        ({"total_chunks": None}, "total chunks field is null"),
        ({"total_chunks": 0}, "total_chunks"),
        ({"total_chunks": "many"}, "total_chunks"),
        ({"total_chunks": 1 << 40}, "total_chunks"),
        ({"model_config": None}, "model config is null"),
        ({"model_config": {}}, "model type is null"),
        ({"model_config": {"model_type": "bert"}}, "embedding dimension is null"),
        ({"model_config": {"model_type": "bert", "embedding_dimension": 32}}, "framework type is null"),
        ({"model_config": {**TINY["model_config"], "framework_type": "x"}}, "Wrong framework type"),
        ({"model_config": {**TINY["model_config"], "pooling_mode": "x"}}, "Wrong pooling method"),
        ({"model_config": {**TINY["model_config"], "compute_type": "int4"}}, "compute_type"),
        ({"model_config": {**TINY["model_config"], "embedding_dimension": "x"}}, "embedding_dimension"),
        ({"function_name": "DANCE"}, "Wrong function name"),
        ({"access_mode": "public"}, "access control"),
        ({"model_id": "_x"}, "model id must not start with '_'"),
    ],
)
def test_meta_refused(shared: Service, tiny: bytes, changes: dict[str, Any], reason: str) -> None:
    """A registration with a missing or wrong field is refused, and founds no group."""
    fields = {**TINY, "name": "never", **changes}
    body = {
        "model_content_hash_value": "0" * 64,
        "model_content_size_in_bytes": len(tiny),
        "total_chunks": 1,
        **fields,
    }

    answer = shared.ml("POST", "/models/_register_meta", 400, json={k: v for k, v in body.items() if v is not None})

    assert reason in answer["error"]["reason"]
    found = shared.ml("POST", "/model_groups/_search", json={"query": {"term": {"name.keyword": "never"}}})
    assert found["hits"]["total"]["value"] == 0


def test_uploads_are_off_by_default(own: str, tmp_path: Path) -> None:
    """Without the setting no model can be uploaded; with it, set while the service runs, it can."""
    service = Service(tmp_path, flags=("--store", own))
    service.settings = ()
    try:
        service.start()
        meta = {"name": "x", "model_format": "SAFETENSORS", "model_content_hash_value": "0" * 64, "total_chunks": 1}
        refusal = service.ml("POST", "/models/_register_meta", 400, json=meta)
        assert "allow_registering_model_via_local_file" in refusal["error"]["reason"]

        change = {"persistent": {"plugins.ml_commons.allow_registering_model_via_local_file": True}}
        assert service.http.put("/_cluster/settings", json=change).status_code == 200
        assert service.ml("POST", "/models/_register_meta", json=meta)["status"] == "CREATED"
    finally:
        service.close()

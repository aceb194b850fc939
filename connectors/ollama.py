"""Ollama's own API; it also speaks OpenAI's."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.provider import Delta, PostProcess, PreProcess, Provider, Streaming, Texts


def _input(texts: Texts) -> Mapping[str, Any]:
    return {"input": list(texts.docs)}


def _piece(data: str, *way: str) -> Delta | None:
    chunk = deltas.parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    if (error := deltas.pick(chunk, "error")) is not None:
        return deltas.failure({"message": error})
    return Delta(deltas.pick(chunk, *way) or "", is_last=deltas.pick(chunk, "done") is True)


def _chat(_event: str, data: str) -> Delta | None:
    return _piece(data, "message", "content")


def _generate(_event: str, data: str) -> Delta | None:
    return _piece(data, "response")


PROVIDER = Provider(
    name="ollama",
    pre_process=(PreProcess("connector.pre_process.ollama.embedding", _input),),
    post_process=(
        PostProcess("connector.post_process.ollama.embedding", "$.embeddings", tensors.vectors),
        PostProcess("connector.post_process.ollama.chat", "$.message.content", tensors.text),
        PostProcess("connector.post_process.ollama.generate", "$.response", tensors.text),
    ),
    streaming=(
        Streaming("ollama/api/chat", _chat, framing="lines"),
        Streaming("ollama/api/generate", _generate, framing="lines"),
    ),
)

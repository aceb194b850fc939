"""OpenAI, and the many servers that speak its API."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.jobs import below
from mlcommons_py.remote.provider import Delta, PostProcess, PreProcess, Provider, Streaming, Texts


def _input(texts: Texts) -> Mapping[str, Any]:
    return {"input": list(texts.docs)}


def _response_event(event: str, data: str) -> Delta | None:
    chunk = deltas.parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    match deltas.pick(chunk, "type") or event:
        case "response.output_text.delta":
            return Delta(deltas.pick(chunk, "delta") or "")
        case "response.completed" | "response.incomplete":
            return Delta(is_last=True)
        case "response.failed":
            return deltas.failure(deltas.pick(chunk, "response", "error"))
        case "error":
            return deltas.failure(chunk)
    return None


PROVIDER = Provider(
    name="openai",
    pre_process=(PreProcess("connector.pre_process.openai.embedding", _input),),
    post_process=(
        PostProcess("connector.post_process.openai.embedding", "$.data[*].embedding", tensors.vectors),
        PostProcess("connector.post_process.openai.chat", "$.choices[0].message.content", tensors.text),
    ),
    painless={
        # Judging of search results by a language model, for OpenAI, Azure OpenAI, DeepSeek and Ollama.
        (
            "def text = params.choices[0].message.content; return "
            '\'{"name":"response","dataAsMap":{"response":"\' + escape(text) + \'"}}\''
        ): "connector.post_process.openai.chat",
    },
    streaming=(
        Streaming("openai/v1/chat/completions", deltas.of_chat),
        Streaming("openai/v1/completions", deltas.of_completion),
        Streaming("openai/v1/responses", _response_event),
    ),
    batch_jobs=below("openai", "id", "cancel"),
)

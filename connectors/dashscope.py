"""Alibaba's DashScope (Model Studio), of its own API; it also speaks OpenAI's."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.provider import Delta, PostProcess, PreProcess, Provider, Streaming, Tensor, Texts


def _texts(texts: Texts) -> Mapping[str, Any]:
    return {"texts": list(texts.docs)}


def _rerank(texts: Texts) -> Mapping[str, Any]:
    return {"query": texts.query, "documents": list(texts.docs), "top_n": len(texts.docs)}


def _ordered(found: Any, field: str) -> list[Any]:
    """Return what the embeddings have in a field, in the order of the texts."""
    rows = tensors.a_list(found)
    if not all(isinstance(row, dict) and isinstance(row.get("text_index"), int) for row in rows):
        raise IllegalArgument(f"The embeddings should contain text_index and {field}.")
    return [row.get(field) for row in sorted(rows, key=lambda row: int(row["text_index"]))]


def _embeddings(found: Any) -> Sequence[Tensor]:
    return tensors.vectors(_ordered(found, "embedding"))


def _sparse(found: Any) -> Sequence[Tensor]:
    return tensors.weights(_ordered(found, "sparse_embedding"))


def _incremental(body: Any) -> Any:
    """Return the request with the parameter that has each event carry only what is new."""
    return {**body, "parameters": {**(body.get("parameters") or {}), "incremental_output": True}}


def _generated(event: str, data: str) -> Delta | None:
    chunk = deltas.parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    if event == "error" or deltas.pick(chunk, "code"):
        return deltas.failure(chunk)
    output = deltas.pick(chunk, "output")
    choice = deltas.pick(output, "choices", 0)
    content = deltas.joined(deltas.pick(choice, "message", "content")) or deltas.pick(output, "text") or ""
    reason = deltas.pick(choice, "finish_reason") or deltas.pick(output, "finish_reason")
    return Delta(content, is_last=reason not in (None, "null", ""))


PROVIDER = Provider(
    name="dashscope",
    pre_process=(
        PreProcess("connector.pre_process.dashscope.embedding", _texts),
        PreProcess("connector.pre_process.dashscope.rerank", _rerank, takes="text_similarity"),
    ),
    post_process=(
        PostProcess("connector.post_process.dashscope.embedding", "$.output.embeddings", _embeddings),
        PostProcess("connector.post_process.dashscope.sparse", "$.output.embeddings", _sparse),
        PostProcess("connector.post_process.dashscope.rerank", "$.output.results", tensors.scores),
        PostProcess("connector.post_process.dashscope.chat", "$.output.choices[0].message.content", tensors.text),
    ),
    streaming=(Streaming("dashscope/generation", _generated, _incremental, headers={"X-DashScope-SSE": "enable"}),),
)

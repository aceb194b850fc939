"""Baidu Qianfan, of the first version of its API; the second is OpenAI's.

It answers an error with the status 200.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.provider import Delta, PostProcess, PreProcess, Provider, Streaming, Tensor, Texts


def _input(texts: Texts) -> Mapping[str, Any]:
    return {"input": list(texts.docs)}


def _rerank(texts: Texts) -> Mapping[str, Any]:
    return {"query": texts.query, "documents": list(texts.docs), "top_n": len(texts.docs)}


def _sound(found: Any) -> Any:
    """Return an answer that is no error.

    Raises:
        IllegalArgument: it is one.
    """
    if deltas.pick(found, "error_code"):
        raise IllegalArgument(f"Error from remote service: {found['error_code']}: {found.get('error_msg')}")
    return found


def _embeddings(found: Any) -> Sequence[Tensor]:
    rows = deltas.pick(_sound(found), "data") or []
    return tensors.vectors(tensors.in_order([deltas.pick(row, "embedding") for row in rows], rows))


def _relevance(found: Any) -> Sequence[Tensor]:
    return tensors.scores(deltas.pick(_sound(found), "results"))


def _chat(found: Any) -> Sequence[Tensor]:
    return tensors.text(deltas.pick(_sound(found), "result"))


def _chat_event(_event: str, data: str) -> Delta | None:
    chunk = deltas.parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    if code := deltas.pick(chunk, "error_code"):
        return Delta(is_last=True, error=f"{code}: {deltas.pick(chunk, 'error_msg')}")
    return Delta(deltas.pick(chunk, "result") or "", is_last=deltas.pick(chunk, "is_end") is True)


PROVIDER = Provider(
    name="qianfan",
    pre_process=(
        PreProcess("connector.pre_process.qianfan.embedding", _input),
        PreProcess("connector.pre_process.qianfan.rerank", _rerank, takes="text_similarity"),
    ),
    post_process=(
        PostProcess("connector.post_process.qianfan.embedding", "$", _embeddings, whole=True),
        PostProcess("connector.post_process.qianfan.rerank", "$", _relevance, whole=True),
        PostProcess("connector.post_process.qianfan.chat", "$", _chat, whole=True),
    ),
    streaming=(Streaming("qianfan/chat", _chat_event),),
)

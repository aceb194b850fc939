"""Google: Gemini, Vertex AI's embeddings, and its ranking."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.provider import Delta, PostProcess, PreProcess, Provider, Streaming, Tensor, Texts


def _content(texts: Texts) -> Mapping[str, Any]:
    return {"content": {"parts": [{"text": texts.docs[0]}]}}


def _instances(texts: Texts) -> Mapping[str, Any]:
    return {"instances": [{"content": doc} for doc in texts.docs]}


def _records(texts: Texts) -> Mapping[str, Any]:
    return {
        "query": texts.query,
        "records": [{"id": str(number), "content": doc} for number, doc in enumerate(texts.docs)],
        "topN": len(texts.docs),
    }


def _ranked(found: Any) -> Sequence[Tensor]:
    return tensors.scores(found, "score", "id")


def _generated(_event: str, data: str) -> Delta | None:
    chunk = deltas.parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    if (error := deltas.pick(chunk, "error")) is not None:
        return deltas.failure(error)
    parts = deltas.pick(chunk, "candidates", 0, "content", "parts") or []
    content = deltas.joined([part for part in parts if not deltas.pick(part, "thought")])
    if blocked := deltas.pick(chunk, "promptFeedback", "blockReason"):
        return Delta(is_last=True, error=f"the prompt was blocked: {blocked}")
    is_last = deltas.pick(chunk, "candidates", 0, "finishReason") is not None
    return Delta(content, is_last=is_last) if content or is_last else None


def _same(body: Any) -> Any:
    return body


def _streamed(url: str) -> str:
    place, _, query = url.replace(":generateContent", ":streamGenerateContent").partition("?")
    return f"{place}?{query}&alt=sse" if query else f"{place}?alt=sse"


PROVIDER = Provider(
    name="vertex",
    pre_process=(
        PreProcess("connector.pre_process.gemini.embedding", _content, one_by_one=True),
        PreProcess("connector.pre_process.vertex.embedding", _instances),
        PreProcess("connector.pre_process.vertex.rerank", _records, takes="text_similarity"),
    ),
    post_process=(
        PostProcess("connector.post_process.gemini.embedding", "$.embedding.values", tensors.vector),
        PostProcess("connector.post_process.gemini.chat", "$.candidates[0].content.parts[0].text", tensors.text),
        PostProcess("connector.post_process.vertex.embedding", "$.predictions[*].embeddings.values", tensors.vectors),
        PostProcess("connector.post_process.vertex.rerank", "$.records", _ranked),
    ),
    painless={
        # Judging of search results by a language model.
        (
            "def text = params.candidates[0].content.parts[0].text; return "
            '\'{"name":"response","dataAsMap":{"response":"\' + escape(text) + \'"}}\''
        ): "connector.post_process.gemini.chat",
    },
    streaming=tuple(
        Streaming(name, _generated, _same, url=_streamed)
        for name in ("gemini/generate_content", "gemini/v1beta/generatecontent")
    ),
)

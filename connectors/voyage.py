"""Voyage AI: embeddings in OpenAI's form, and rerank in its own."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.remote import tensors
from mlcommons_py.remote.provider import PostProcess, PreProcess, Provider, Texts


def _input(texts: Texts) -> Mapping[str, Any]:
    return {"input": list(texts.docs)}


def _rerank(texts: Texts) -> Mapping[str, Any]:
    return {"query": texts.query, "documents": list(texts.docs), "top_k": len(texts.docs)}


PROVIDER = Provider(
    name="voyage",
    pre_process=(
        PreProcess("connector.pre_process.voyage.embedding", _input),
        PreProcess("connector.pre_process.voyage.rerank", _rerank, takes="text_similarity"),
    ),
    post_process=(
        PostProcess("connector.post_process.voyage.embedding", "$.data[*].embedding", tensors.vectors),
        PostProcess("connector.post_process.voyage.rerank", "$.data", tensors.scores),
    ),
)

"""Jina AI: embeddings of texts and images, and rerank."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import tensors
from mlcommons_py.remote.provider import PostProcess, PreProcess, Provider, Texts


def _input(texts: Texts) -> Mapping[str, Any]:
    return {"input": list(texts.docs)}


def _text_and_image(texts: Texts) -> Mapping[str, Any]:
    """Return a text and an image, the two docs of a field of both (neural-search's ``text_image_embedding``)."""
    given = [{kind: doc} for kind, doc in zip(("text", "image"), texts.docs, strict=False) if doc is not None]
    if not given:
        raise IllegalArgument("No input text or image provided")
    return {"input": given}


def _rerank(texts: Texts) -> Mapping[str, Any]:
    return {"query": texts.query, "documents": list(texts.docs), "top_n": len(texts.docs)}


PROVIDER = Provider(
    name="jina",
    pre_process=(
        PreProcess("connector.pre_process.jina.embedding", _input),
        PreProcess("connector.pre_process.jina.multimodal_embedding", _text_and_image),
        PreProcess("connector.pre_process.jina.rerank", _rerank, takes="text_similarity"),
    ),
    post_process=(
        PostProcess("connector.post_process.jina.embedding", "$.data[*].embedding", tensors.vectors),
        PostProcess("connector.post_process.jina.rerank", "$.results", tensors.scores),
    ),
)

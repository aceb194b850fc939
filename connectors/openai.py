"""OpenAI's embeddings, and the many servers that speak its API."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.provider import PostProcess, PreProcess, Provider, Tensor, Texts


def _input(texts: Texts) -> Mapping[str, Any]:
    return {"input": list(texts.docs)}


def _embeddings(found: Any) -> Sequence[Tensor]:
    if not isinstance(found, list) or not all(isinstance(vector, list) for vector in found):
        raise IllegalArgument("Model result is NOT an array of embeddings")
    return [
        {"name": "sentence_embedding", "data_type": "FLOAT32", "shape": [len(vector)], "data": vector}
        for vector in found
    ]


PROVIDER = Provider(
    name="openai",
    pre_process=(PreProcess("connector.pre_process.openai.embedding", _input),),
    post_process=(PostProcess("connector.post_process.openai.embedding", "$.data[*].embedding", _embeddings),),
)

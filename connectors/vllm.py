"""vLLM, which speaks OpenAI's API; its score API is its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.remote import tensors
from mlcommons_py.remote.provider import PostProcess, PreProcess, Provider, Tensor, Texts


def _score(texts: Texts) -> Mapping[str, Any]:
    return {"text_1": texts.query, "text_2": list(texts.docs)}


def _scores(found: Any) -> Sequence[Tensor]:
    return tensors.scores(found, "score")


PROVIDER = Provider(
    name="vllm",
    pre_process=(PreProcess("connector.pre_process.vllm.score", _score, takes="text_similarity"),),
    post_process=(PostProcess("connector.post_process.vllm.score", "$.data", _scores),),
)

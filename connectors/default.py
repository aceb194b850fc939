"""Functions for providers without any of their own: plain lists, plain scores, and another ML Commons."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import tensors
from mlcommons_py.remote.provider import PostProcess, PreProcess, Provider, Tensor, Texts

_FIELDS = ("name", "data_type", "shape", "data", "byte_buffer", "result", "dataAsMap")


def _input(texts: Texts) -> Mapping[str, Any]:
    return {"input": list(texts.docs)}


def _rerank(texts: Texts) -> Mapping[str, Any]:
    return {"query": texts.query, "documents": list(texts.docs), "top_n": len(texts.docs)}


def _unwrap(found: Any) -> Sequence[Tensor]:
    """Return the tensors of another ML Commons' answer, which may have been wrapped by a connector of its own."""
    if not isinstance(found, dict | list):
        raise IllegalArgument("Post process function input must be a Map or List")
    results = found.get("inference_results") if isinstance(found, dict) else None
    if not isinstance(results, list):
        return [tensors.mapped(found if isinstance(found, dict) else {"response": found})]
    outputs = [output for result in results if isinstance(result, dict) for output in result.get("output") or ()]
    return [_tensor(output) for output in outputs if isinstance(output, dict) and output]


def _tensor(output: Mapping[str, Any]) -> Tensor:
    name = output.get("name")
    tensor = {field: output[field] for field in _FIELDS if output.get(field) is not None}
    return {**tensor, "name": name if isinstance(name, str) else "output"}


PROVIDER = Provider(
    name="default",
    pre_process=(
        PreProcess("connector.pre_process.default.embedding", _input),
        PreProcess("connector.pre_process.default.rerank", _rerank, takes="text_similarity"),
    ),
    post_process=(
        PostProcess("connector.post_process.default.embedding", "$[*]", tensors.vectors),
        PostProcess("connector.post_process.default.rerank", "$[*]", tensors.scores),
        PostProcess("connector.post_process.mlcommons.passthrough", "$", _unwrap),
    ),
)

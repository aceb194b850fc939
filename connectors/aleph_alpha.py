"""Aleph Alpha's semantic embeddings and completions."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.provider import Delta, PostProcess, PreProcess, Provider, Streaming, Tensor, Texts


def _input(texts: Texts) -> Mapping[str, Any]:
    return {"input": texts.docs[0]}


def _prompts(texts: Texts) -> Mapping[str, Any]:
    return {"prompts": list(texts.docs)}


def _plain(found: Any) -> Sequence[Tensor]:
    (vector,) = tensors.vector(found)
    return [{**vector, "name": "embedding"}]


def _completion(_event: str, data: str) -> Delta | None:
    if data == "[DONE]":
        return Delta(is_last=True)
    chunk = deltas.parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    if (error := deltas.pick(chunk, "error")) is not None:
        return deltas.failure({"message": error})
    match deltas.pick(chunk, "type"):
        case "stream_chunk":
            return Delta(deltas.pick(chunk, "completion") or "")
        case "completion_summary":
            return Delta(is_last=True)
    return None


PROVIDER = Provider(
    name="aleph_alpha",
    pre_process=(
        PreProcess("connector.pre_process.aleph_alpha.embedding", _input, one_by_one=True),
        PreProcess("connector.pre_process.aleph_alpha.batch_embedding", _prompts),
    ),
    post_process=(
        PostProcess("connector.post_process.aleph_alpha.embedding", "$.embedding", tensors.vector),
        PostProcess("connector.post_process.aleph_alpha.plain_embedding", "$.embedding", _plain),
        PostProcess("connector.post_process.aleph_alpha.batch_embedding", "$.embeddings", tensors.vectors),
        PostProcess("connector.post_process.aleph_alpha.complete", "$.completions[0].completion", tensors.text),
    ),
    painless={
        # luminous-base; its post-process script is that of Titan.
        (
            'StringBuilder builder = new StringBuilder(); builder.append("\\""); String first = '
            'params.text_docs[0]; builder.append(first); builder.append("\\""); def parameters = "{" '
            '+"\\"input\\":" + builder + "}"; return "{" +"\\"parameters\\":" + parameters + "}";'
        ): "connector.pre_process.aleph_alpha.embedding",
        # What was published of it before.
        (
            'def name = "embedding"; def dataType = "FLOAT32"; if (params.embedding == null || '
            "params.embedding.length == 0) { return params.message; } def shape = "
            '[params.embedding.length]; def json = "{" + "\\"name\\":\\"" + name + "\\"," + "\\"data_type\\":\\"" '
            '+ dataType + "\\"," + "\\"shape\\":" + shape + "," + "\\"data\\":" + params.embedding + "}"; '
            "return json;"
        ): "connector.post_process.aleph_alpha.plain_embedding",
    },
    streaming=(Streaming("aleph_alpha/complete", _completion),),
)

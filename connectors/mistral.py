"""Mistral, which speaks OpenAI's API; the answers of its reasoning models have several parts."""

from collections.abc import Sequence
from typing import Any

from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.jobs import below
from mlcommons_py.remote.provider import PostProcess, Provider, Streaming, Tensor


def _content(found: Any) -> Sequence[Tensor]:
    return tensors.text(deltas.joined(found) if isinstance(found, list) else found)


PROVIDER = Provider(
    name="mistral",
    post_process=(PostProcess("connector.post_process.mistral.chat", "$.choices[0].message.content", _content),),
    streaming=(Streaming("mistral/v1/chat/completions", deltas.of_chat),),
    batch_jobs=below("mistral", "id", "cancel"),
)

"""Anthropic's own API."""

from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.provider import PostProcess, Provider, Streaming

PROVIDER = Provider(
    name="anthropic",
    post_process=(PostProcess("connector.post_process.anthropic.messages", "$.content[0].text", tensors.text),),
    streaming=(Streaming("anthropic/v1/messages", deltas.of_messages),),
)

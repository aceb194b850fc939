"""DeepSeek, which speaks OpenAI's chat API, and tells its reasoning apart from its answer."""

from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.provider import PostProcess, Provider, Streaming

PROVIDER = Provider(
    name="deepseek",
    post_process=(PostProcess("connector.post_process.deepseek.chat", "$.choices[0].message.content", tensors.text),),
    streaming=(Streaming("deepseek/chat/completions", deltas.of_chat),),
)

"""The pieces that the providers' events stand for."""

import base64
from collections.abc import Mapping

import orjson
import pytest

from mlcommons_py import content
from mlcommons_py.remote.provider import Delta, Streaming

STREAMS: Mapping[str, Streaming] = {
    stream.name: stream for provider in content.providers().values() for stream in provider.streaming
}


def invoked(event: object) -> str:
    """Return an event of Bedrock's invoke-with-response-stream that has another."""
    return orjson.dumps({"bytes": base64.b64encode(orjson.dumps(event)).decode()}).decode()


CHAT = [
    ("", '{"choices":[],"prompt_filter_results":[]}'),
    ("", '{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}'),
    ("", '{"choices":[{"index":0,"delta":{"content":"Grü"},"finish_reason":null}]}'),
    ("", '{"choices":[{"index":0,"delta":{"content":"ße"},"finish_reason":null}]}'),
    ("", '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'),
]
MESSAGES = [
    '{"type":"message_start","message":{"id":"msg_1","content":[]}}',
    '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    '{"type":"ping"}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Grüße"}}',
    '{"type":"content_block_stop","index":0}',
    '{"type":"message_delta","delta":{"stop_reason":"end_turn"}}',
    '{"type":"message_stop"}',
]
CONVERSE = [
    ("messageStart", '{"role":"assistant"}'),
    ("contentBlockDelta", '{"contentBlockIndex":0,"delta":{"text":"Grüße"},"p":"ab"}'),
    ("contentBlockStop", '{"contentBlockIndex":0}'),
    ("messageStop", '{"stopReason":"end_turn"}'),
]
GEMINI = [
    ("", '{"candidates":[{"content":{"parts":[{"text":"hmm","thought":true}]}}]}'),
    ("", '{"candidates":[{"content":{"parts":[{"text":"Grü"},{"text":"ße"}]},"finishReason":"STOP"}]}'),
]
WAYS: dict[str, list[tuple[str, str]]] = {
    "openai/v1/chat/completions": CHAT,
    "deepseek/chat/completions": [("", '{"choices":[{"delta":{"content":null,"reasoning_content":"x"}}]}'), *CHAT],
    "mistral/v1/chat/completions": [
        ("", '{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[]}]}}]}'),
        ("", '{"choices":[{"delta":{"content":[{"type":"text","text":"Grüße"}]},"finish_reason":"length"}]}'),
    ],
    "openai/v1/completions": [("", '{"choices":[{"text":"Grüße","finish_reason":null}]}'), ("", "[DONE]")],
    "openai/v1/responses": [
        ("response.created", '{"type":"response.created"}'),
        ("response.output_text.delta", '{"type":"response.output_text.delta","delta":"Grüße"}'),
        ("response.completed", '{"type":"response.completed"}'),
    ],
    "anthropic/v1/messages": [("", event) for event in MESSAGES],
    "bedrock/converse": CONVERSE,
    "bedrock/converse/claude": CONVERSE,
    "bedrock/converse/deepseek_r1": CONVERSE,
    "bedrock/invoke/claude": [("chunk", invoked(orjson.loads(event))) for event in MESSAGES],
    "bedrock/invoke/openai": [("chunk", invoked(orjson.loads(data))) for _, data in CHAT],
    "cohere/v2/chat": [
        ("message-start", '{"type":"message-start","delta":{"message":{"role":"assistant"}}}'),
        ("content-delta", '{"type":"content-delta","delta":{"message":{"content":{"text":"Grüße"}}}}'),
        ("message-end", '{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}'),
    ],
    "cohere/v1/chat": [
        ("", '{"is_finished":false,"event_type":"stream-start"}'),
        ("", '{"is_finished":false,"event_type":"text-generation","text":"Grüße"}'),
        ("", '{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE"}'),
    ],
    "gemini/generate_content": GEMINI,
    "gemini/v1beta/generatecontent": GEMINI,
    "huggingface/generate": [
        ("", '{"index":1,"token":{"text":"Grüße","special":false},"generated_text":null}'),
        ("", '{"index":2,"token":{"text":"</s>","special":true},"generated_text":"Grüße"}'),
    ],
    "sagemaker/openai/v1/chat/completions": CHAT,
    "sagemaker/huggingface/generate": [
        ("", '{"token":{"id":1,"text":"Grü","log_prob":-0.1}}'),
        ("", '{"token":{"id":2,"text":"ße","log_prob":-0.2},"details":{"finish_reason":"length"}}'),
    ],
    "ollama/api/chat": [
        ("", '{"message":{"role":"assistant","content":"Grüße"},"done":false}'),
        ("", '{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}'),
    ],
    "ollama/api/generate": [("", '{"response":"Grüße","done":false}'), ("", '{"response":"","done":true}')],
    "aleph_alpha/complete": [
        ("", '{"type":"stream_chunk","index":0,"completion":"Grüße"}'),
        ("", '{"type":"stream_summary","finish_reason":"maximum_tokens"}'),
        ("", '{"type":"completion_summary","num_tokens_generated":2}'),
    ],
    "qianfan/chat": [("", '{"result":"Grü","is_end":false}'), ("", '{"result":"ße","is_end":true}')],
    "dashscope/generation": [
        ("result", '{"output":{"choices":[{"message":{"content":"Grü"},"finish_reason":"null"}]}}'),
        ("result", '{"output":{"text":"ße","finish_reason":"stop"}}'),
    ],
}

FAILURES = [
    ("openai/v1/chat/completions", "", '{"error":{"message":"Overloaded","type":"server_error"}}', "Overloaded"),
    ("openai/v1/completions", "", '{"error":{"message":"Overloaded"}}', "Overloaded"),
    ("openai/v1/responses", "error", '{"type":"error","message":"Overloaded"}', "Overloaded"),
    (
        "openai/v1/responses",
        "",
        '{"type":"response.failed","response":{"error":{"message":"Overloaded"}}}',
        "Overloaded",
    ),
    ("anthropic/v1/messages", "error", '{"type":"error","error":{"message":"Overloaded"}}', "Overloaded"),
    ("bedrock/converse", "throttlingException", '{"message":"Overloaded"}', "Overloaded"),
    ("bedrock/invoke/claude", "modelStreamErrorException", '{"message":"Overloaded"}', "Overloaded"),
    ("bedrock/invoke/openai", "chunk", invoked({"error": {"message": "Overloaded"}}), "Overloaded"),
    ("cohere/v1/chat", "", '{"event_type":"stream-end","finish_reason":"ERROR","error":{"message":"X"}}', "X"),
    ("cohere/v2/chat", "", '{"type":"message-end","delta":{"error":{"message":"X"}}}', "X"),
    ("gemini/generate_content", "", '{"error":{"code":503,"message":"Overloaded"}}', "Overloaded"),
    (
        "gemini/generate_content",
        "",
        '{"promptFeedback":{"blockReason":"SAFETY"}}',
        "the prompt was blocked: SAFETY",
    ),
    ("huggingface/generate", "", '{"error":"Overloaded","error_type":"overloaded"}', "Overloaded"),
    ("sagemaker/huggingface/generate", "", '{"error":"Overloaded"}', "Overloaded"),
    (
        "sagemaker/openai/v1/chat/completions",
        "ModelStreamError",
        '{"Message":"too slow","ErrorCode":"ModelInvocationTimeExceeded"}',
        "ModelInvocationTimeExceeded: too slow",
    ),
    ("sagemaker/huggingface/generate", "InternalStreamFailure", '{"Message":"try again"}', "try again"),
    ("ollama/api/chat", "", '{"error":"Overloaded"}', "Overloaded"),
    ("aleph_alpha/complete", "", '{"error":"Overloaded"}', "Overloaded"),
    ("qianfan/chat", "", '{"error_code":336100,"error_msg":"try later"}', "336100: try later"),
    ("dashscope/generation", "error", '{"code":"Throttling","message":"Overloaded"}', "Overloaded"),
]


def test_every_interface_is_tried() -> None:
    """The table above has every interface that streams."""
    assert WAYS.keys() == STREAMS.keys()


@pytest.mark.parametrize("name", WAYS)
def test_pieces_make_the_text(name: str) -> None:
    """The events of a stream give the whole text, and the last piece says so, once and at the end."""
    pieces = [piece for event, data in WAYS[name] if (piece := STREAMS[name].read(event, data)) is not None]

    assert "".join(piece.content for piece in pieces) == "Grüße"
    assert [piece.is_last for piece in pieces] == [*([False] * (len(pieces) - 1)), True]
    assert all(piece.error is None for piece in pieces)


@pytest.mark.parametrize(("name", "event", "data", "error"), FAILURES)
def test_an_error_in_a_stream_ends_it(name: str, event: str, data: str, error: str) -> None:
    """What a provider says went wrong in the midst of a stream is told, and nothing follows."""
    assert STREAMS[name].read(event, data) == Delta(is_last=True, error=error)


@pytest.mark.parametrize("name", WAYS)
def test_a_broken_event_is_not_passed_over(name: str) -> None:
    """An event that is no JSON ends the stream with an error: a text that lacks a piece is not a text."""
    piece = STREAMS[name].read("", "{broken")

    assert piece is not None
    assert piece.error is not None
    assert piece.is_last


@pytest.mark.parametrize("name", WAYS)
def test_requests_ask_for_a_stream(name: str) -> None:
    """A provider is asked to stream by its body or by its URL, and what the body had stays."""
    stream = STREAMS[name]
    url = f"https://p.example/{'v1beta/models/m:generateContent' if 'gemini' in name else 'generate'}"
    body = stream.request({"model": "m", "parameters": {"seed": 1}})

    assert body["model"] == "m"
    assert body["parameters"]["seed"] == 1
    assert body.get("stream") is True or stream.url(url) != url or stream.headers


def test_calls_of_tools_come_as_json() -> None:
    """A tool call is content too, as upstream has it."""
    piece = STREAMS["openai/v1/chat/completions"].read(
        "", '{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}'
    )

    assert piece == Delta('[{"index":0,"function":{"arguments":"{}"}}]')


@pytest.mark.parametrize(
    ("name", "url", "streamed"),
    [
        (
            "bedrock/converse",
            "https://b.example/model/m/converse",
            "https://b.example/model/m/converse-stream",
        ),
        (
            "bedrock/converse",
            "https://b.example/model/m/converse-stream",
            "https://b.example/model/m/converse-stream",
        ),
        (
            "bedrock/invoke/claude",
            "https://b.example/model/m/invoke",
            "https://b.example/model/m/invoke-with-response-stream",
        ),
        (
            "gemini/generate_content",
            "https://g.example/v1beta/models/m:generateContent?key=1",
            "https://g.example/v1beta/models/m:streamGenerateContent?key=1&alt=sse",
        ),
        (
            "sagemaker/huggingface/generate",
            "https://s.example/endpoints/mine/invocations",
            "https://s.example/endpoints/mine/invocations-response-stream",
        ),
        (
            "sagemaker/openai/v1/chat/completions",
            "https://s.example/endpoints/mine/invocations-response-stream",
            "https://s.example/endpoints/mine/invocations-response-stream",
        ),
        ("huggingface/generate", "https://t.example/generate", "https://t.example/generate_stream"),
        ("huggingface/generate", "https://t.example/generate_stream", "https://t.example/generate_stream"),
    ],
)
def test_streams_have_a_url_of_their_own(name: str, url: str, streamed: str) -> None:
    """Where a provider streams from another URL, that is made of the connector's, whichever of the two it has."""
    assert STREAMS[name].url(url) == streamed

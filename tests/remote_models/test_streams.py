"""Streamed answers, from the provider's first event to the client's last."""

import asyncio
import json
from typing import Any

from tests.remote.fake import Answer, events
from tests.remote_models.conftest import Client

OPENAI = {"_llm_interface": "openai/v1/chat/completions"}
HELLO = {"messages": [{"role": "user", "content": "hello"}], **OPENAI}


def _delta(text: str) -> str:
    return json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": None}]}, ensure_ascii=False)


async def _streamed(client: Client, model_id: str, parameters: dict[str, Any] = HELLO) -> list[Any]:
    """Return the data of the events that a call gets."""
    path = f"/_plugins/_ml/models/{model_id}/_predict/stream"
    async with client.http.stream("POST", path, json={"parameters": parameters}) as answer:
        text = (await answer.aread()).decode()
        assert answer.status_code == 200, text
        assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(frame.removeprefix("data: ")) for frame in text.split("\n\n") if frame]


def _contents(frames: list[Any]) -> list[tuple[str, bool]]:
    shown = [frame["inference_results"][0]["output"][0]["dataAsMap"] for frame in frames]
    return [(one["content"], one["is_last"]) for one in shown]


async def test_a_stream_comes_through(client: Client) -> None:
    """Each piece is an event of its own, in order, and the last one says that it is."""
    client.fake.on("/chat", events(_delta("Grüß"), _delta(" dich 🚀"), "[DONE]"))
    model_id = await client.deployed()

    frames = await _streamed(client, model_id)

    assert _contents(frames) == [("Grüß", False), (" dich 🚀", False), ("", True)]
    assert client.fake.requests[0].json()["stream"] is True


async def test_characters_whose_halves_come_apart(client: Client) -> None:
    """A surrogate pair that is cut in two arrives as its character, half of one as U+FFFD, in errors, too."""
    rocket = [r'{"choices":[{"delta":{"content":"a\ud83d"}}]}', r'{"choices":[{"delta":{"content":"\ude80b"}}]}']
    half = r'{"choices":[{"delta":{"content":"\ude80\ud83d","tool_calls":[{"id":"\ud83d"}]}}]}'
    ending = r'{"choices":[{"delta":{"content":"\ud83d"},"finish_reason":"stop"}]}'
    client.fake.on(
        "/chat",
        events(*rocket, half, ending),
        events(*rocket, r'{"error":{"message":"no \ud83d"}}'),
        events(*rocket, r'{"error":{"code":"\ud83d"}}'),
    )
    model_id = await client.deployed()

    whole, told, coded = [await _streamed(client, model_id) for _ in range(3)]

    assert "".join(content for content, _ in _contents(whole)) == 'a🚀b\ufffd\ufffd[{"id":"\ufffd"}]\ufffd'
    assert told[-1] == {"error": "Error from remote service: no \ufffd"}
    assert coded[-1] == {"error": 'Error from remote service: {"code":"\ufffd"}'}


async def test_a_refusal_before_the_stream_is_an_ordinary_error(client: Client) -> None:
    """What goes wrong before the provider begins to answer comes with its status."""
    client.fake.on("/chat", Answer(401, {"error": "who are you"}))
    model_id = await client.deployed()
    path = f"/models/{model_id}/_predict/stream"

    refused = await client.ml("POST", path, 401, json={"parameters": HELLO})
    unnamed = await client.ml("POST", path, 400, json={"parameters": {"messages": []}})
    await client.set(stream_enabled=False)
    off = await client.ml("POST", path, 400, json={"parameters": HELLO})

    assert refused["error"]["reason"] == 'Error from remote service: {"error": "who are you"}'
    assert "openai/v1/chat/completions" in unnamed["error"]["reason"]
    assert "plugins.ml_commons.stream_enabled" in off["error"]["reason"]


async def test_a_stream_that_breaks_off_says_so(client: Client) -> None:
    """The last event is the error: a client never takes a part for the whole."""
    whole = events(_delta("one"), _delta("two"), "[DONE]")
    assert whole.parts is not None
    client.fake.on("/chat", events(_delta("one"), cut=len(whole.parts[0]), reset=True))
    cut_id = await client.deployed()
    client.fake.on("/short", events(_delta("one")))
    short_id = await client.deployed("/short", model={"name": "short"})

    for model_id in (cut_id, short_id):
        *pieces, last = await _streamed(client, model_id)

        assert _contents(pieces) == [("one", False)]
        assert list(last) == ["error"]


async def test_what_is_no_stream(client: Client) -> None:
    """A page in place of a stream is an ordinary error, which says what came."""
    page = Answer(200, "<html>Bearer s3cret</html>", {"Content-Type": "text/html"})
    client.fake.on("/chat", page)
    model_id = await client.deployed()

    refused = await client.ml("POST", f"/models/{model_id}/_predict/stream", 502, json={"parameters": HELLO})

    assert refused["error"]["reason"] == (
        "The answer of the remote service is no event stream: its content type is [text/html],"
        " and it begins with [<html>Bearer ***</html>]"
    )


async def test_a_piece_that_is_no_text(client: Client) -> None:
    """A provider that sends a number where its text should be is told of as a fault of its own."""
    client.fake.on("/chat", events('{"choices":[{"text":"a"}]}', '{"choices":[{"text":5}]}', "[DONE]"))
    model_id = await client.deployed()

    frames = await _streamed(client, model_id, {"messages": [], "_llm_interface": "openai/v1/completions"})

    assert _contents(frames[:1]) == [("a", False)]
    assert frames[1:] == [{"error": "Error from remote service: a piece of its answer is no text but int"}]


async def test_a_guarded_stream_has_an_end(client: Client) -> None:
    """A text that is kept to be judged as a whole is as long as an answer may be; any other goes on."""
    guardrails = {"type": "local_regex", "output_guardrail": {"regex": [".*bomb.*"]}}
    client.fake.on("/chat", *[events(*[_delta("x" * 400)] * 3, "[DONE]")] * 2)
    guarded = await client.deployed(model={"guardrails": guardrails})
    free = await client.deployed()
    await client.set(max_json_size=1000)

    frames = await _streamed(client, guarded)
    others = await _streamed(client, free)

    assert "longer than 1000 bytes; raise [plugins.ml_commons.max_json_size]" in frames[-1]["error"]
    assert sum(len(content) for content, _ in _contents(others)) == 1200


async def test_a_guardrail_reads_across_pieces(client: Client) -> None:
    """What is forbidden is stopped wherever the provider cuts it, and nothing of it reaches the client."""
    guardrails = {"type": "local_regex", "output_guardrail": {"regex": [".*how to build a bomb.*"]}}
    client.fake.on("/chat", events(*(_delta(one) for one in ("Well, how ", "to bui", "ld a b", "omb is")), "[DONE]"))
    model_id = await client.deployed(model={"guardrails": guardrails})

    answer = await client.http.post(f"/_plugins/_ml/models/{model_id}/_predict/stream", json={"parameters": HELLO})

    assert "guardrails triggered for LLM output" in answer.text
    assert "bomb" not in answer.text


async def test_a_credential_in_a_stream(client: Client) -> None:
    """A credential that the provider sends back in pieces does not show, and all else comes as it is."""
    secret = "sk-12345-canary"
    text = f"your key sk-{secret} is good"
    client.fake.on("/chat", events(*map(_delta, text), "[DONE]"))
    model_id = await client.deployed(credential={"key": secret})

    pieces = [content for content, _ in _contents(await _streamed(client, model_id))]

    assert "".join(pieces) == "your key sk-*** is good"
    assert pieces[:4] == ["y", "o", "u", "r"]


async def test_who_goes_away_ends_the_call(client: Client) -> None:
    """When the client of a stream hangs up, the provider is hung up on."""
    never = asyncio.Event()
    client.fake.on("/chat", events(_delta("one"), _delta("two"), after=never))
    model_id = await client.deployed()
    model = await client.app.services.models.recent(model_id)

    stream = await client.app.services.streamer.stream(model_id, model, {"parameters": HELLO})
    first = await anext(stream)
    await stream.aclose()
    await client.fake.idle()

    assert first.content == "one"


async def test_a_stream_is_use(client: Client) -> None:
    """A stream counts as a request and keeps its model from being idle; its body keeps its digits."""
    client.fake.on("/chat", events(_delta("one"), "[DONE]"))
    body = '{ "messages": ${parameters.messages}, "seed": ${parameters.seed} }'
    model_id = await client.deployed(request_body=body)
    latencies = client.app.services.remotes.latencies(model_id)
    assert latencies is not None
    latencies.last -= 100.0
    before = latencies.last
    await _streamed(client, model_id, {**HELLO, "seed": "12345678901234567890.10"})
    stats = await client.ml("GET", "/stats")

    assert latencies.last > before
    assert latencies.count == 1
    counts = stats["nodes"][client.app.services.node.id]["models"][model_id]["predict"]
    assert counts == {"ml_action_request_count": 1}
    assert b'"seed":12345678901234567890.10' in client.fake.requests[0].body


async def test_a_body_that_cannot_be_streamed(client: Client) -> None:
    """A request that is no JSON object cannot ask for a stream, and says so."""
    model_id = await client.deployed(request_body="[ ${parameters.messages} ]")

    path = f"/models/{model_id}/_predict/stream"
    refused = await client.ml("POST", path, 400, json={"parameters": HELLO})

    assert refused["error"]["reason"] == "the request cannot be streamed: its body is no JSON object"

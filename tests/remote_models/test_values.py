"""Values on their whole way: from a client's bytes to the provider's, and back."""

import json
from typing import Any

import pytest

from tests.guard.means import longest_pause
from tests.remote.fake import Answer, events
from tests.remote_models.conftest import Client

JSON = {"Content-Type": "application/json"}
DIGITS = '{"a":9007199254740993,"b":1.10,"c":1e400,"d":123456789012345678901234567890,"e":-0.0}'
ODD = [
    "\"quotes\" and \\backslashes\\ and\nlines\t\r\b\f",
    "ë ∙ 🚀 \u2028 \u0085 \x7f \ufeff",
    "${parameters.model} ${credential.key} ${parameters.x:-y}",
    '{"looks":["like","JSON"]}',
    '"quoted"',
    "</script>\u0000",
]  # fmt: skip


@pytest.mark.parametrize("answer", ["", "?pretty", "?filter_path=**.dataAsMap"])
async def test_digits(client: Client, answer: str) -> None:
    """Numbers keep their digits on their way to the provider and back, however the answer is asked for."""
    client.fake.on("/chat", Answer(200, f'{{"got":{DIGITS}}}'))
    model_id = await client.deployed(request_body='{"v":${parameters.v},"t":"${parameters.v}"}')

    sent = f'{{"parameters":{{"v":{DIGITS}}}}}'
    path = f"/_plugins/_ml/models/{model_id}/_predict{answer}"
    came = await client.http.post(path, content=sent, headers=JSON)

    assert came.status_code == 200
    assert f'"got":{DIGITS}' in "".join(came.text.split())
    assert client.fake.requests[-1].body.decode() == f'{{"v":{DIGITS},"t":{json.dumps(DIGITS)}}}'


async def test_digits_of_what_is_stored(client: Client) -> None:
    """Numbers that are stored as texts keep their digits: parameters and version of a connector, and limits."""
    client.fake.on("/chat", Answer(200, {}))
    connector = json.dumps(
        client.connector(parameters={"d": {}, "t": 0}, version=0, request_body='{"d":${parameters.d}}')
    )
    connector = connector.replace('"d": {}', f'"d": {DIGITS}').replace('"t": 0', '"t": 1.10')
    connector = connector.replace('"version": 0', '"version": 1.10')
    body = (
        f'{{"name":"m","function_name":"remote","connector":{connector},"rate_limiter":{{"limit":4.50,"unit":"DAYS"}}}}'
    )

    made = await client.ml("POST", "/connectors/_create", content=connector, headers=JSON)
    alone = await client.ml("GET", f"/connectors/{made['connector_id']}")
    model_id = (await client.ml("POST", "/models/_register", content=body, headers=JSON))["model_id"]
    within = await client.ml("GET", f"/models/{model_id}")
    await client.predict(model_id, {})

    for stored in (alone, within["connector"]):
        assert (stored["version"], stored["parameters"]) == ("1.10", {"d": DIGITS, "t": "1.10"})
    assert within["rate_limiter"] == {"limit": "4.50", "unit": "DAYS"}
    assert client.fake.requests[-1].body.decode() == f'{{"d":{DIGITS}}}'


async def test_digits_under_an_interface(client: Client) -> None:
    """Numbers that no float can hold do not keep an interface from being checked."""
    client.fake.on("/chat", Answer(200, '{"got":[1.10,1e400]}'))
    anything = {"input": '{"type":"object"}', "output": '{"type":"object"}'}
    model_id = await client.deployed(request_body='{"v":${parameters.v}}', model={"interface": anything})

    path = f"/_plugins/_ml/models/{model_id}/_predict"
    came = await client.http.post(path, content='{"parameters":{"v":[1.10,1e400]}}', headers=JSON)

    assert '"dataAsMap":{"got":[1.10,1e400]}' in came.text


async def test_texts(client: Client) -> None:
    """Any text arrives exactly, as a parameter and as a text to embed, and comes back exactly."""
    client.fake.on("/chat", lambda asked: Answer(200, {"echo": asked.json()["t"]}))
    model_id = await client.deployed(request_body='{"t":"${parameters.t}","model":"${parameters.model}"}')

    for text in ODD:
        answer = await client.predict(model_id, {"t": text})
        assert client.fake.requests[-1].json() == {"t": text, "model": "gpt"}
        assert answer["inference_results"][0]["output"][0]["dataAsMap"] == {"echo": text}


async def test_texts_to_embed(client: Client) -> None:
    """``text_docs`` reach a remote model on its own predict and on that of its function, in their order."""
    client.fake.on("/embed", lambda asked: Answer(200, {"data": [{"embedding": [0.5]} for _ in asked.json()["input"]]}))
    model_id = await client.deployed(
        "/embed",
        request_body='{"input":${parameters.input}}',
        post_process_function="connector.post_process.openai.embedding",
    )
    texts = [text for text in ODD if "\0" not in text]

    for path in (f"/models/{model_id}/_predict", f"/_predict/text_embedding/{model_id}"):
        answer = await client.ml("POST", path, json={"text_docs": texts})
        assert client.fake.requests[-1].json() == {"input": texts}
        assert len(answer["inference_results"][0]["output"]) == len(texts)


@pytest.mark.parametrize(
    ("algorithm", "body", "said"),
    [
        ("text_embedding", {"parameters": {"t": "a"}}, "Empty text docs"),
        ("sparse_encoding", {"text_docs": []}, "Empty text docs"),
        ("text_similarity", {"query_text": "q"}, "No text documents were provided"),
        ("text_similarity", {"query_text": "q", "text_docs": []}, "No text documents were provided"),
        ("text_similarity", {"text_docs": ["a"]}, "No query text was provided"),
        ("question_answering", {"context": "c"}, "Question is not provided"),
        ("question_answering", {"question": "q"}, "Context is not provided"),
    ],
)
async def test_what_an_algorithm_works_on_is_missing(client: Client, algorithm: str, body: Any, said: str) -> None:
    """A path's algorithm wants its own input, of a remote model as of any other; nothing goes out without it."""
    model_id = await client.deployed(request_body='{"t":"${parameters.t:-}"}')

    refused = await client.ml("POST", f"/_predict/{algorithm}/{model_id}", 400, json=body)

    assert refused["error"]["reason"] == said
    assert client.fake.requests == []


async def test_what_is_no_character(client: Client) -> None:
    """Half a surrogate pair is refused before anything is sent."""
    model_id = await client.deployed(request_body='{"t":"${parameters.t}"}')

    for text in ('"a\\ud800"', '["\\udc00", 1.10]', '{"\\ud83d": 1e400}'):
        path = f"/_plugins/_ml/models/{model_id}/_predict"
        refused = await client.http.post(path, content=f'{{"parameters":{{"t":{text}}}}}', headers=JSON)
        assert refused.status_code == 400, refused.text
        assert "surrogate" in refused.text

    assert client.fake.requests == []


@pytest.mark.parametrize("depth", [150, 300, 1000, 50_000])
async def test_values_that_nest_deep(client: Client, depth: int) -> None:
    """A request that nests deep is refused as the client's fault."""
    model_id = await client.deployed(request_body='{"v":${parameters.v}}')

    path = f"/_plugins/_ml/models/{model_id}/_predict"
    deep = "[" * depth + "1.10" + "]" * depth
    refused = await client.http.post(path, content=f'{{"parameters":{{"v":{deep}}}}}', headers=JSON)

    assert refused.status_code == 400, refused.text
    assert "deep" in refused.text or "depth" in refused.text


@pytest.mark.parametrize(
    "parameters",
    [
        {"host": "evil.example"},
        {"id": ".."},
        {"user": "a\r\nX-Evil: 1"},
    ],
)
async def test_what_a_request_may_not_say(client: Client, parameters: dict[str, Any]) -> None:
    """A request changes neither the host nor the structure of the path, and begins no header field."""
    model_id = await client.deployed(
        url=client.fake.url.replace("127.0.0.1", "${parameters.host}") + "/v1/${parameters.id}/run",
        parameters={"host": "127.0.0.1", "id": "1", "user": "me"},
        headers={"Authorization": "Bearer ${credential.key}", "X-User": "${parameters.user}"},
        request_body='{"a":1}',
    )

    await client.predict(model_id, parameters, 400)

    assert client.fake.requests == []


async def test_what_a_request_says_stays_in_its_place(client: Client) -> None:
    """What a request sends is text in the URL and in a header field; the credential stays the connector's."""
    client.fake.on("*", Answer(200, {}))
    model_id = await client.deployed(
        url=client.fake.url + "/v1/${parameters.id}/run?q=${parameters.q}",
        headers={"Authorization": "Bearer ${credential.key}", "X-User": "${parameters.user}"},
        request_body='{"a":1}',
    )

    await client.predict(
        model_id, {"id": "../a?b#c", "q": "1&r=2", "user": "é", "key": "mine", "Authorization": "mine"}
    )

    asked = client.fake.requests[-1]
    assert asked.target == "/v1/..%2Fa%3Fb%23c/run?q=1%26r%3D2"
    assert asked.header("Authorization") == "Bearer s3cret"


async def test_digits_of_a_stream(client: Client) -> None:
    """A request for a stream keeps its digits, too."""
    client.fake.on("/chat", events('{"choices":[{"delta":{"content":"a"}}]}', "[DONE]"))
    model_id = await client.deployed(request_body='{"messages":[],"t":${parameters.t}}')

    path = f"/_plugins/_ml/models/{model_id}/_predict/stream"
    sent = '{"parameters":{"t":[1.10,1e400],"_llm_interface":"openai/v1/chat/completions"}}'
    answer = await client.http.post(path, content=sent, headers=JSON)

    assert answer.status_code == 200, answer.text
    assert client.fake.requests[-1].body == b'{"messages":[],"t":[1.10,1e400],"stream":true}'


async def test_vectors_that_do_not_match(client: Client) -> None:
    """A provider that leaves a text's vector out does not give its neighbour's in its place."""
    client.fake.on("/embed", Answer(200, {"data": [{"embedding": [0.5]}]}))
    model_id = await client.deployed(
        "/embed",
        request_body='{"input":${parameters.input}}',
        post_process_function="connector.post_process.openai.embedding",
    )

    answer = await client.ml("POST", f"/models/{model_id}/_predict", 502, json={"text_docs": ["a", "b"]})

    assert answer["error"]["reason"].endswith("has 1 vectors for 2 texts")
    assert answer["error"]["remote"] == {"status": 200, "attempts": 1}


_SLOW = "$..[?count(@..*)>100000]"


@pytest.mark.parametrize(
    ("own", "given"),
    [
        ({}, {"response_filter": _SLOW}),
        ({"response_filter": _SLOW}, {}),
        ({"input_processors": json.dumps({"type": "remove_jsonpath", "paths": [_SLOW] * 1000})}, {}),
    ],
)
async def test_costly_paths_hold_up_nobody(client: Client, own: dict[str, str], given: dict[str, Any]) -> None:
    """A path that takes long for what is short is followed beside the event loop, and not for ever."""
    sent: Any = [[index] for index in range(100)]
    answered: Any = [[index] for index in range(5000)]
    for _ in range(60):
        sent, answered = [sent], [answered]
    client.fake.on("/chat", Answer(200, {"a": answered}))
    model_id = await client.deployed(request_body='{"v":${parameters.v}}', parameters=own)
    assert await longest_pause(client.predict(model_id, {"v": sent, **given}, 400)) < 1

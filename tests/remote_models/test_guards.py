"""Guardrails around real calls: what they see, and that they fail closed."""

import asyncio
import json
from typing import Any

import pytest

from tests.remote.fake import Answer, events
from tests.remote_models.conftest import Client

PROMPT = '{ "prompt": "${parameters.prompt}" }'
QUESTION = '{ "prompt": "${parameters.question}" }'
MAPPING = {"mappings": {"properties": {"query": {"type": "percolator"}, "title": {"type": "text"}}}}
STOP = [{"index_name": "stop_words", "source_fields": ["title"]}]
IN, OUT = "guardrails triggered for user input", "guardrails triggered for LLM output"


async def refusal(client: Client, model_id: str, **parameters: Any) -> str:
    """Return why a call is refused."""
    return str((await client.predict(model_id, parameters, 400))["error"]["reason"])


def local(**guardrail: Any) -> dict[str, Any]:
    """Return a model with the same guardrail on both sides."""
    return {"guardrails": {"type": "local_regex", "input_guardrail": guardrail, "output_guardrail": guardrail}}


async def test_stop_words_and_patterns(client: Client) -> None:
    """A harmless prompt passes, a stop word and a pattern refuse, and so does the index when it is gone."""
    client.fake.on("/chat", lambda asked: Answer(200, {"answer": asked.json()["prompt"]}))
    assert (await client.http.put("/stop_words", json=MAPPING)).status_code == 200
    await client.http.post("/stop_words/_doc", json={"query": {"match_phrase": {"title": "tomato soup"}}})
    model_id = await client.deployed(model=local(stop_words=STOP, regex=[".*abort.*"]), request_body=PROMPT)

    await client.predict(model_id, {"prompt": "a tomato, or soup"})
    assert len(client.fake.requests) == 1
    for prompt in ("Tomato\nsoup", "to abort it", "tomato s\u200boup"):
        assert await refusal(client, model_id, prompt=prompt) == IN
    await client.http.delete("/stop_words")
    assert await refusal(client, model_id, prompt="a tomato, or soup") == IN
    assert len(client.fake.requests) == 1


@pytest.mark.parametrize("answer", ['{"answer": "это"}', '{"answer": "\\u044d\\u0442\\u043e"}'])
async def test_letters_of_every_script(client: Client, answer: str) -> None:
    """An expression sees a parameter's letters, and those of an answer, as they are read, however they are escaped."""
    client.fake.on("/chat", Answer(200, answer))
    model_id = await client.deployed(model=local(regex=[".*это.*"]), request_body=PROMPT)
    assert await refusal(client, model_id, prompt="что это") == IN
    assert await refusal(client, model_id, prompt="что") == OUT


async def test_texts_to_embed(client: Client) -> None:
    """Texts to embed are guarded in the request that the connector makes of them, and no other text is sent."""
    client.fake.on("/chat", Answer(200, {"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]}))
    model_id = await client.deployed(
        model=local(packs=["pii"]),
        request_body='{ "input": ${parameters.input} }',
        pre_process_function="connector.pre_process.openai.embedding",
        post_process_function="connector.post_process.openai.embedding",
    )
    path = f"/_predict/text_embedding/{model_id}"
    await client.ml("POST", path, json={"text_docs": ["a", "b"]})
    refused = await client.ml("POST", path, 400, json={"text_docs": ["a", "4111 1111 1111 1111"]})
    assert refused["error"]["reason"] == IN
    assert len(client.fake.requests) == 1


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "koi8-r"])
async def test_no_character_set_hides_an_answer(client: Client, charset: str) -> None:
    """What is shown of an answer is judged as it is shown, whatever the request or the provider call its letters."""
    client.fake.on(
        "/chat",
        Answer(200, '{"answer": "это"}', {"Content-Type": f"application/json; charset={charset}"}),
        Answer(200, '{"answer": "это"}', {"Content-Type": "application/json"}),
        Answer(200, "это", {"Content-Type": f"text/plain; charset={charset}"}),
    )
    model_id = await client.deployed(model=local(regex=[".*это.*"]), request_body=PROMPT)
    assert await refusal(client, model_id, prompt="a") == OUT
    assert await refusal(client, model_id, prompt="a", charset=charset) == OUT
    assert await refusal(client, model_id, prompt="a") == OUT
    assert b'"prompt": "a"' in client.fake.requests[1].body


@pytest.mark.parametrize(
    "action",
    [
        {"method": "GET", "path": "/chat?q=${parameters.q}", "request_body": None},
        {"method": "GET", "path": "/chat/x?q=a&b=${parameters.q}", "request_body": None},
        {"headers": {"X-Question": "about ${parameters.q}, please"}, "request_body": "{}"},
        {
            "headers": {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
            "request_body": "q=${parameters.q}",
        },
        {"headers": {"Content-Type": "text/xml"}, "request_body": "<q>${parameters.q}</q>"},
    ],
)
@pytest.mark.parametrize("judged_by", ["local", "judge"])
async def test_wherever_a_value_goes(client: Client, action: dict[str, Any], judged_by: str) -> None:
    """A guardrail sees a value as its receiver reads it, also in the URL, a header, a form or XML."""
    client.fake.on("/chat", Answer(200, {"answer": "tea"}))
    client.fake.on("/chat/x", Answer(200, {"answer": "tea"}))
    model: dict[str, Any] = {"guardrails": {"input_guardrail": {"regex": [".*a & bomb.*", ".*тайна.*"]}}}
    if judged_by == "judge":
        model["guardrails"] = {"type": "model", "input_guardrail": await rules(client, "a & bomb")}
    model_id = await client.deployed(**{"path": "/chat", **action, "model": model})
    await client.predict(model_id, {"q": "a & bo"})
    for text in ("a & bomb", "тайна") if judged_by == "local" else ("a & bomb",):
        assert await refusal(client, model_id, q=text) == IN
    assert len([one for one in client.fake.requests if one.path != "/judge"]) == 1


async def test_a_question_hides_nothing(client: Client) -> None:
    """A judge sees what else a request says beside its question; a question alone it is asked once."""
    client.fake.on("/chat", Answer(200, {"answer": "tea"}))
    model = {"guardrails": {"type": "model", "input_guardrail": await rules(client, "bomb")}}
    body = '{ "prompt": "${parameters.question:-}", "messages": ${parameters.messages:-[]}, "t": ${parameters.t:-1} }'
    model_id = await client.deployed(model=model, request_body=body)
    bad = [{"role": "user", "content": "a bomb"}]

    assert await refusal(client, model_id, messages=bad) == IN
    assert await refusal(client, model_id, messages=bad, question="hello") == IN
    assert await refusal(client, model_id, question="bomb", messages=[]) == IN
    asked = len(client.fake.requests)
    await client.predict(model_id, {"question": "tea?", "t": 0.5})
    await client.predict(model_id, {"question": "tea?", "messages": [1]})
    later = [one.json()["prompt"] for one in client.fake.requests[asked:] if one.path == "/judge"]
    assert later == ["tea?", "tea?", '{ "prompt": "tea?", "messages": [1], "t": 1 }']


async def rules(client: Client, word: str) -> dict[str, Any]:
    """Return a guardrail by a judge who refuses a word."""

    def judge(asked: Any) -> Answer:
        return Answer(200, {"verdict": "reject" if word in asked.json()["prompt"] else "accept"})

    client.fake.on("/judge", judge)
    judging = await client.deployed("/judge", request_body=QUESTION)
    return {"model_id": judging, "response_filter": "$.verdict", "response_validation_regex": '"accept"'}


async def judged(client: Client, side: str) -> str:
    """Return a model of which another one judges a side, by the word bomb."""
    model = {"name": "guarded", "guardrails": {"type": "model", f"{side}_guardrail": await rules(client, "bomb")}}
    return await client.deployed(model=model, request_body=QUESTION)


async def test_judge_of_answers(client: Client) -> None:
    """A judge on the output gets the answer's body as it came, and its word holds at once."""
    body = '{"answer": "a \\"nice\\" cup\\n"}'
    client.fake.on("/chat", Answer(200, body), Answer(200, '{"answer": "a bomb"}'))
    model_id = await judged(client, "output")
    async with asyncio.timeout(4):  # ML Commons waits for 5 s, for a thread that waits for it
        await client.predict(model_id, {"question": "tea?"})
        assert await refusal(client, model_id, question="tea?") == OUT
    assert [one.json() for one in client.fake.requests if one.path == "/judge"] == [
        {"prompt": body},
        {"prompt": '{"answer": "a bomb"}'},
    ]


@pytest.mark.parametrize(
    "verdict",
    [
        Answer(500, {"error": "down"}),
        Answer(401, {"error": "no"}),
        Answer(200, "I accept"),
        Answer(200, {"other": "accept"}),
        Answer(200, {"verdict": ["accept"]}),
        Answer(200, {"verdict": "accept"}, cut=3),
        Answer(200, b'{"verdict": "acc\xffept"}'),
    ],
)
@pytest.mark.parametrize(("side", "reason"), [("input", IN), ("output", OUT)])
async def test_judge_that_is_no_use(client: Client, verdict: Answer, side: str, reason: str) -> None:
    """A judge that is down, refuses, or answers something else lets nothing pass."""
    client.fake.on("/chat", Answer(200, {"answer": "tea"}))
    model_id = await judged(client, side)
    client.fake.on("/judge", verdict)
    assert await refusal(client, model_id, question="tea?") == reason


async def test_judge_that_is_gone(client: Client) -> None:
    """A judge that was deleted, or disabled, lets nothing pass."""
    client.fake.on("/chat", Answer(200, {"answer": "tea"}))
    model_id = await judged(client, "input")
    judging = (await client.ml("GET", f"/models/{model_id}"))["guardrails"]["input_guardrail"]["model_id"]
    await client.predict(model_id, {"question": "tea?"})
    await client.ml("PUT", f"/models/{judging}", json={"is_enabled": False})
    assert await refusal(client, model_id, question="tea?") == IN
    await client.ml("POST", f"/models/{judging}/_undeploy")
    await client.ml("DELETE", f"/models/{judging}")
    assert await refusal(client, model_id, question="tea?") == IN


async def test_streams(client: Client) -> None:
    """A card's number that the provider streams digit by digit never begins to reach the client; other text does."""

    def delta(text: str) -> str:
        return json.dumps({"choices": [{"delta": {"content": text}}]})

    text = "w" * 300 + " 4111 1111 1111 1111 " + "x" * 300
    client.fake.on("/chat", events(*map(delta, text), "[DONE]"))
    model_id = await client.deployed(model=local(packs=["pii"]))
    parameters = {"messages": [{"role": "user", "content": "hello"}], "_llm_interface": "openai/v1/chat/completions"}
    path = f"/_plugins/_ml/models/{model_id}/_predict/stream"
    answer = await client.http.post(path, json={"parameters": parameters})
    assert "www" in answer.text
    assert "4" not in answer.text.partition(OUT)[0].replace("400", "")
    assert "x" * 5 not in answer.text
    assert OUT in answer.text


_CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Answer(402, {"error": f"card {_CARD} refused"}, {"Retry-After": "9"}), 402),
        (Answer(500, f"card {_CARD}", {"Content-Type": "text/plain"}), 500),
    ],
)
async def test_errors_of_the_provider(client: Client, reply: Answer, status: int) -> None:
    """What a provider says of its refusal is judged as an answer is; of one that may not be seen the status is left."""
    client.fake.on("/chat", reply)
    model_id = await client.deployed(model=local(packs=["pii"]))
    asked = {"parameters": {"messages": [], "_llm_interface": "openai/v1/chat/completions"}}

    for path in ("_predict", "_predict/stream"):
        answer = await client.http.post(f"/_plugins/_ml/models/{model_id}/{path}", json=asked)
        error = answer.json()["error"]
        assert (answer.status_code, error["remote"]["status"]) == (status, status)
        assert error["reason"] == f"Error from remote service, whose text is withheld: {OUT}"
        assert answer.headers.get("Retry-After") == reply.headers.get("Retry-After")

    client.fake.on("/chat", Answer(402, {"error": "no money"}))
    assert (await client.predict(model_id, {"messages": []}, 402))["error"]["reason"].endswith('{"error": "no money"}')


async def test_errors_within_a_stream(client: Client) -> None:
    """An error in the midst of a stream, and what comes in place of one, are judged, too."""
    model_id = await client.deployed(model=local(packs=["pii"]))
    asked = {"parameters": {"messages": [], "_llm_interface": "openai/v1/chat/completions"}}
    path = f"/_plugins/_ml/models/{model_id}/_predict/stream"
    replies = events(json.dumps({"error": {"message": f"bad card {_CARD}"}})), Answer(200, f"<p>{_CARD}</p>")

    for reply in replies:
        client.fake.on("/chat", reply)
        answer = await client.http.post(path, json=asked)
        assert _CARD not in answer.text
        assert f"Error from remote service, whose text is withheld: {OUT}" in answer.text

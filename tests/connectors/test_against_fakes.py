"""Every blueprint's connector against its provider: requests that are right by the provider's own measure."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from mlcommons_py import content
from mlcommons_py.cli.recipe import Recipe
from mlcommons_py.errors import IllegalArgument, RemoteFailed
from mlcommons_py.remote import events
from mlcommons_py.remote.documents import Connector
from mlcommons_py.remote.exchange import Outgoing
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.input import ModelInput
from mlcommons_py.remote.outputs import check_answer, outputs
from mlcommons_py.remote.payload import Prepared, prepare
from mlcommons_py.remote.signing import signer
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.connectors.fakes import GREETING, score, vector
from tests.connectors.providers import everybody
from tests.connectors.setting import given
from tests.remote.conftest import settings_of
from tests.remote.fake import Fake

NAMES = content.names("blueprints")
FUNCTIONS = Functions(content.providers())
TYPES = {"cohere-embedding-int8": "INT8"}


class Calling:
    """A blueprint's connector that calls its provider."""

    def __init__(self, name: str, fake: Fake, transport: Transport) -> None:
        recipe = Recipe.load(name)
        self.recipe = recipe.filled(recipe.values(given(recipe, fake.url)))
        body = self.recipe.connector
        self.connector = Connector.from_json({**body, "version": str(body["version"])})
        self.transport = transport

    def prepared(self, action: str = "predict", **changes: Any) -> list[Prepared]:
        """Return the requests of the blueprint's own input, with changes."""
        body = {**self.recipe.predict["body"], **changes}
        asked = ModelInput(
            parameters=body.get("parameters"), text_docs=body.get("text_docs"), query_text=body.get("query_text")
        )
        credential = dict(self.connector.credential or {})
        return [self._signed(one) for one in prepare(self.connector, action, asked, credential, FUNCTIONS)]

    def _signed(self, prepared: Prepared) -> Prepared:
        if self.connector.protocol != "aws_sigv4":
            return prepared
        sign = signer(self.connector.credential or {}, self.connector.parameters or {})
        return replace(prepared, outgoing=replace(prepared.outgoing, sign=sign))

    async def call(self, action: str = "predict", **changes: Any) -> list[dict[str, Any]]:
        """Return the entries of the answer."""
        entries = []
        for one in self.prepared(action, **changes):
            incoming = await self.transport.send(one.outgoing, self.connector.config, model_id="a", private=True)
            check_answer(incoming, one)
            entries.append(outputs(one, incoming))
        return entries

    def expected(self) -> list[dict[str, Any]]:
        """Return the tensors of the blueprint's own input, of embeddings and scores."""
        body = self.recipe.predict["body"]
        if "query_text" in body:
            one: dict[str, Any] = {"name": "similarity", "data_type": "FLOAT32", "shape": [1]}
            return [{**one, "data": [score(text)]} for text in body["text_docs"]]
        name = self.recipe.name
        rows = [vector(text) for text in _parts(name, body["text_docs"])]
        if name == "cohere-embedding-int8":
            rows = [[len(text), 1, -1] for text in body["text_docs"]]
        kind = TYPES.get(name, "FLOAT32")
        return [{"name": "sentence_embedding", "data_type": kind, "shape": [3], "data": row} for row in rows]


def _parts(name: str, docs: list[str]) -> list[str]:
    """Return what the provider embeds: a text and an image may be one thing to it, and an image may be in an object."""
    if name == "bedrock-titan-multimodal-embedding":
        return ["".join(docs)]
    return [one.removeprefix('{"image": "').removesuffix('"}') for one in docs]


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """All the providers."""
    async with everybody() as running:
        yield running


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """What calls this machine."""
    settings = settings_of()
    made = Transport(Trust(settings), settings)
    yield made
    await made.close()


@pytest.mark.parametrize("name", NAMES)
async def test_the_provider_takes_it(name: str, fake: Fake, transport: Transport) -> None:
    """The blueprint's own request is one that the provider takes, and its answer becomes the right tensors in order."""
    calling = Calling(name, fake, transport)

    tensors = [tensor for entry in await calling.call() for tensor in entry["output"]]

    body = calling.recipe.predict["body"]
    if name in ("tei-sparse", "dashscope-sparse"):
        weights = [{str(len(text)): 0.5} for text in body["text_docs"]]
        assert tensors == [{"name": "output", "dataAsMap": {"response": weights}}]
    elif "text_docs" in body:
        assert tensors == calling.expected()
    else:
        (tensor,) = tensors
        texts = ("comprehend-language",)
        assert ("Languages" in tensor["dataAsMap"]) if name in texts else GREETING in str(_texts(tensor["dataAsMap"]))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("ollama")])
async def test_the_provider_refuses_a_wrong_key(name: str, fake: Fake, transport: Transport) -> None:
    """A wrong credential is refused with the provider's own text, in which nothing of the credential is."""
    calling = Calling(name, fake, transport)
    credential = calling.connector.credential or {}
    wrong = dict.fromkeys(credential, "wrong-and-secret")
    calling.connector = replace(calling.connector, credential=wrong)

    with pytest.raises((RemoteFailed, IllegalArgument)) as raised:
        await calling.call()

    assert raised.value.reason.startswith("Error from remote service: ")
    assert "wrong-and-secret" not in raised.value.reason


STREAMING = [
    name
    for name in NAMES
    if "_llm_interface" in (content.read("blueprints", name)["connector"].get("parameters") or {})
]


@pytest.mark.parametrize("name", STREAMING)
async def test_the_provider_streams(name: str, fake: Fake, transport: Transport) -> None:
    """A stream of the blueprint's chat gives the text in pieces, and says when it ends."""
    calling = Calling(name, fake, transport)
    (one,) = calling.prepared()
    stream = FUNCTIONS.streaming((calling.connector.parameters or {})["_llm_interface"])
    assert stream is not None
    outgoing = _streaming(one.outgoing, stream)

    pieces = []
    async with transport.stream(outgoing, calling.connector.config, model_id="a", private=True) as answer:
        assert answer.status == 200
        async for event, data in events.read(stream.framing, answer):
            piece = stream.read(event, data)
            pieces += [piece] if piece is not None else []

    assert [piece.error for piece in pieces] == [None] * len(pieces)
    assert "".join(piece.content for piece in pieces) == GREETING
    assert pieces[-1].is_last
    assert len([piece for piece in pieces if piece.content]) == 3


def _streaming(outgoing: Outgoing, stream: Any) -> Outgoing:
    body = orjson.dumps(stream.request(orjson.loads(outgoing.body)))
    headers = {**outgoing.headers, **stream.headers}
    return replace(outgoing, body=body, url=stream.url(outgoing.url), headers=headers)


@pytest.mark.parametrize(
    ("name", "parameters", "field", "value"),
    [
        ("openai-batch-embedding", {}, "status", "completed"),
        ("sagemaker-batch-embedding", {"TransformJobName": "mine"}, "TransformJobStatus", "Completed"),
        ("bedrock-batch-embedding", {"jobName": "mine"}, "status", "Completed"),
    ],
)
async def test_batch_jobs(
    name: str, parameters: dict[str, str], field: str, value: str, fake: Fake, transport: Transport
) -> None:
    """A job is started, and its state asked for with what the start answered."""
    calling = Calling(name, fake, transport)

    (started,) = await calling.call("batch_predict", parameters=parameters, text_docs=None)
    job = started["output"][0]["dataAsMap"]
    (asked,) = await calling.call("batch_predict_status", parameters={**parameters, **job}, text_docs=None)

    assert asked["output"][0]["dataAsMap"][field] == value


async def test_the_rest_is_cut_off(fake: Fake, transport: Transport) -> None:
    """A field that the provider does not know is refused by it: the fakes look."""
    calling = Calling("openai-embedding", fake, transport)
    (action,) = calling.connector.actions or ()
    wrong = {**action, "request_body": '{"model": "${parameters.model}", "inputs": ${parameters.input}}'}
    calling.connector = replace(calling.connector, actions=[wrong])

    with pytest.raises(RemoteFailed, match="Missing required parameter: 'input'"):
        await calling.call()


@pytest.mark.parametrize(
    ("script", "name"),
    [pair for provider in content.providers().values() for pair in provider.painless.items()],
    ids=lambda value: value if value.startswith("connector.") else "",
)
def test_published_scripts_are_recognised(script: str, name: str) -> None:
    """A published script is known by what it does, however it is indented and commented."""
    indented = "\n      " + script.replace("; ", ";  // and then\n\t") + "\n    "

    assert FUNCTIONS.known(script) == name
    assert FUNCTIONS.known(indented) == name
    assert FUNCTIONS.known(f"int more = 1; {script}") is None


def _with_scripts() -> list[tuple[str, str, str]]:
    """Return blueprints with a function in whose place there may be a published script: its field, and the script."""
    return [
        (name, field, script)
        for name in NAMES
        for field in ("pre_process_function", "post_process_function")
        for provider in content.providers().values()
        for script, function in provider.painless.items()
        if content.read("blueprints", name)["connector"]["actions"][0].get(field) == function
    ]


@pytest.mark.parametrize(("name", "field", "script"), _with_scripts(), ids=lambda value: value[:40])
async def test_scripts_do_what_functions_do(
    name: str, field: str, script: str, fake: Fake, transport: Transport
) -> None:
    """A connector with a published script sends requests that the provider takes, and makes the same tensors."""
    calling = Calling(name, fake, transport)
    (action, *_) = calling.connector.actions or ()
    # ML Commons runs a script for each text by itself; this many make one request.
    parameters = {**(calling.connector.parameters or {}), "input_docs_processed_step_size": "2"}
    named = await calling.call()
    calling.connector = replace(calling.connector, actions=[{**action, field: script}], parameters=parameters)

    scripted = await calling.call()

    assert [one for entry in scripted for one in entry["output"]] == [one for entry in named for one in entry["output"]]


HARD = [
    '"quoted" \\ back\nline\ttab',
    "Grüße 🚀 это \u2028",
    "${parameters.model} ${credential.key} {{key}}",
    '{"a": "b"}',
]


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "text_docs" in content.read("blueprints", name)["predict"]["body"]]
)
async def test_texts_arrive_as_they_are(name: str, fake: Fake, transport: Transport) -> None:
    """Whatever a text contains, the provider receives exactly that text."""
    calling = Calling(name, fake, transport)
    docs = HARD[:1] if name == "cohere-image-embedding" else HARD
    size = {"input_docs_processed_step_size": "1" if "multimodal" in name else "4"}
    calling.connector = replace(calling.connector, parameters={**(calling.connector.parameters or {}), **size})

    prepared = calling.prepared(text_docs=docs, **({"query_text": HARD[0] + "?"} if "rerank" in name else {}))

    received = [text for one in prepared for text in _texts(orjson.loads(one.outgoing.body))]
    assert [text for text in received if text in docs] == docs
    assert (HARD[0] + "?" in received) == ("rerank" in name)

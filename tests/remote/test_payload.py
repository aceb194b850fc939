"""Requests that an input makes: of parameters, of texts, one by one or together."""

from typing import Any

import orjson
import pytest

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.payload import Prepared
from tests.remote.asked import connector, one, prepared

EMBEDDING = '{"input":${parameters.input}}'
TITAN = '{"inputText":"${parameters.inputText}"}'
SCRIPT = """
    StringBuilder builder = new StringBuilder();
    // the first text
    builder.append("\\"");
    String first = params.text_docs[0];
    builder.append(first);
    builder.append("\\"");
    def parameters = "{" +"\\"inputText\\":" + builder + "}";
    return  "{" +"\\"parameters\\":" + parameters + "}";"""


def bodies(requests: list[Prepared]) -> list[Any]:
    """Return the bodies of requests as values."""
    return [orjson.loads(request.outgoing.body) for request in requests]


def test_texts_go_together() -> None:
    """Without a function, texts go out together as ``input``: also of a remote model's own predict."""
    assert bodies(prepared(connector(EMBEDDING), text_docs=["a", "123", '["b"]'])) == [{"input": ["a", "123", '["b"]']}]


def test_texts_cannot_be_displaced() -> None:
    """Parameters beside texts fill what else there is; they do not take the texts' place."""
    both = connector('{"input":${parameters.input},"as":"${parameters.content_type}"}')

    (body,) = bodies(prepared(both, {"input": "evil", "content_type": "query"}, text_docs=["a"]))

    assert body == {"input": ["a"], "as": "QUERY"}


@pytest.mark.parametrize("function", ["connector.pre_process.bedrock.embedding", SCRIPT])
def test_texts_go_one_by_one(function: str) -> None:
    """A function that takes one text, and any script, makes a request of each text, in their order."""
    titan = connector(TITAN, pre_process_function=function)

    assert bodies(prepared(titan, text_docs=["a", 'b"c'])) == [{"inputText": "a"}, {"inputText": 'b"c'}]


@pytest.mark.parametrize(("step", "sizes"), [("2", [2, 2, 1]), ("5", [5]), ("7", [5]), ("1", [1] * 5)])
def test_texts_go_in_steps(step: str, sizes: list[int]) -> None:
    """``input_docs_processed_step_size`` says how many texts go into a request."""
    stepped = connector(EMBEDDING, {"input_docs_processed_step_size": step})

    made = bodies(prepared(stepped, text_docs=list("abcde")))

    assert [len(body["input"]) for body in made] == sizes
    assert [text for body in made for text in body["input"]] == list("abcde")


@pytest.mark.parametrize("step", ["0", "-1", "two", "1.5"])
def test_steps_are_whole(step: str) -> None:
    """A step that is no positive number is refused."""
    said = r"^Invalid parameter: input_docs_processed_step_size\. It must be positive integer\.$"
    with pytest.raises(IllegalArgument, match=said):
        prepared(connector(EMBEDDING, {"input_docs_processed_step_size": step}), text_docs=["a"])


def test_no_text_is_dropped() -> None:
    """A step does not make a function drop the texts that it has no room for."""
    titan = connector(
        TITAN,
        {"input_docs_processed_step_size": "2"},
        pre_process_function="connector.pre_process.bedrock.embedding",
    )

    assert bodies(prepared(titan, text_docs=["a", "b"])) == [{"inputText": "a"}, {"inputText": "b"}]


def test_a_text_and_an_image_go_together() -> None:
    """Of a pair, what is not there is null."""
    both = connector(
        '{"inputText":"${parameters.inputText:-null}","inputImage":"${parameters.inputImage:-null}"}',
        pre_process_function="connector.pre_process.bedrock.multimodal_embedding",
    )

    assert bodies(prepared(both, text_docs=["a", "aW1n"])) == [{"inputText": "a", "inputImage": "aW1n"}]
    assert bodies(prepared(both, text_docs=[None, "aW1n"])) == [{"inputText": None, "inputImage": "aW1n"}]


def test_nulls_among_texts() -> None:
    """A null among texts goes to a provider that takes them together, and is refused where it would stand alone."""
    assert bodies(prepared(connector(EMBEDDING), text_docs=["a", None])) == [{"input": ["a", None]}]
    titan = connector(TITAN, pre_process_function="connector.pre_process.bedrock.embedding")
    with pytest.raises(IllegalArgument, match=r"^\[text_docs\] has a null"):
        prepared(titan, text_docs=["a", None])


def test_texts_to_compare() -> None:
    """A query and texts make one request."""
    rerank = connector(
        '{"query":"${parameters.query}","documents":${parameters.documents},"top_n":${parameters.top_n}}',
        pre_process_function="connector.pre_process.cohere.rerank",
    )

    made = bodies(prepared(rerank, query_text='"q"', text_docs=["a", "b"]))

    assert made == [{"query": '"q"', "documents": ["a", "b"], "top_n": 2}]


@pytest.mark.parametrize(
    ("function", "asked", "said"),
    [
        (None, {"query_text": "q", "text_docs": ["a"]}, "pre_process_function not defined in connector"),
        (None, {"question": "q", "context": "c"}, "pre_process_function not defined in connector"),
        (
            "connector.pre_process.openai.embedding",
            {"query_text": "q", "text_docs": ["a"]},
            (
                "This pre_process_function can only support TextDocsInputDataSet which including a list of string with"
                " key 'text_docs'"
            ),
        ),
        (
            "connector.pre_process.cohere.rerank",
            {"text_docs": ["a"]},
            "This pre_process_function can only support TextSimilarityInputDataSet",
        ),
        (None, {"text_docs": []}, "Empty text docs"),
    ],
)
def test_an_input_of_another_kind_is_refused(function: str | None, asked: dict[str, Any], said: str) -> None:
    """What a function does not take is refused in ML Commons' words."""
    with pytest.raises(IllegalArgument) as raised:
        prepared(connector(EMBEDDING, pre_process_function=function), **asked)

    assert raised.value.reason == said


def test_parameters_pass_by_functions() -> None:
    """A request that sends parameters has made them itself."""
    titan = connector(TITAN, pre_process_function="connector.pre_process.bedrock.embedding")

    assert bodies(prepared(titan, {"inputText": "a"})) == [{"inputText": "a"}]


def test_texts_among_parameters_can_be_processed() -> None:
    """A connector can ask for texts among the parameters to go through its function."""
    flag = {"pre_process_function.process_remote_inference_input": "true"}
    embedding = connector(EMBEDDING, flag, pre_process_function="connector.pre_process.openai.embedding")

    assert bodies(prepared(embedding, {"text_docs": '["a","b"]'})) == [{"input": ["a", "b"]}]


def test_a_function_can_be_chosen_by_a_parameter() -> None:
    """The name of a function may have placeholders."""
    chosen = connector(
        EMBEDDING,
        {"kind": "int8"},
        post_process_function="connector.post_process.cohere_v2.embedding.${parameters.kind}",
    )

    post = one(chosen, {"input": []}).post

    assert post is not None
    assert post.function.name == "connector.post_process.cohere_v2.embedding.int8"


def test_an_action_that_is_not_there() -> None:
    """An action that a connector lacks is named as ML Commons names it; one with a name is found by it."""
    named = connector(EMBEDDING, name="again")

    assert one(named, {"input": 1}, "again").outgoing.body == b'{"input":1}'
    with pytest.raises(IllegalArgument, match=r"^no EXECUTE action found$"):
        prepared(named, {}, "execute")
    with pytest.raises(IllegalArgument, match=r"^no other action found$"):
        prepared(named, {}, "other")


@pytest.mark.parametrize("method", ["post", "GET", "Put", "DELETE"])
def test_methods(method: str) -> None:
    """Four methods are sent, in whatever case a connector spells them."""
    assert one(connector('{"a":1}', method=method)).outgoing.method == method.upper()


def test_another_method_is_refused() -> None:
    """Any other method is refused."""
    with pytest.raises(IllegalArgument, match=r"^unsupported http method$"):
        prepared(connector('{"a":1}', method="PATCH"))


def test_a_body_of_the_requests_own() -> None:
    """Without a template the body is the parameter ``http_body``, unchanged; to POST there must be one."""
    assert one(connector(), {"http_body": '{"a": 1.10} ${parameters.x}'}).payload == '{"a": 1.10} ${parameters.x}'
    assert one(connector(), {"http_body": {"a": "é"}}).outgoing.body == '{"a":"é"}'.encode()
    assert one(connector(method="GET")).outgoing.body == b""
    with pytest.raises(IllegalArgument, match=r"^Content length is 0\. Aborting request to remote model$"):
        prepared(connector())


@pytest.mark.parametrize(
    ("charset", "expected"),
    [
        ("UTF-8", '{"a":"é€🚀"}'.encode()),
        ("ISO-8859-1", b'{"a":"\xe9\\u20ac\\ud83d\\ude80"}'),
        ("us-ascii", b'{"a":"\\u00e9\\u20ac\\ud83d\\ude80"}'),
        ("UTF-16LE", '{"a":"é€🚀"}'.encode("utf-16-le")),
    ],
)
def test_a_body_in_another_character_set(charset: str, expected: bytes) -> None:
    """In another character set, what that set lacks is escaped."""
    request = one(connector('{"a":"${parameters.x}"}', {"charset": charset}), {"x": "é€🚀"})

    assert request.outgoing.body == expected
    assert request.payload == '{"a":"é€🚀"}'


def test_the_character_set_is_the_connectors() -> None:
    """A request cannot choose the character set, of which what guardrails see depends."""
    request = one(connector('{"a":"${parameters.charset}"}'), {"charset": "utf-16"})

    assert (request.outgoing.body, request.outgoing.charset) == (b'{"a":"utf-16"}', "UTF-8")


@pytest.mark.parametrize("charset", ["klingon", "hex", "rot13", "idna", "unicode_escape", "a\0b"])
def test_what_is_no_character_set_is_refused(charset: str) -> None:
    """A character set that is none is refused by name."""
    with pytest.raises(IllegalArgument, match=r"^\[parameters\.charset\]: there is no character set"):
        prepared(connector('{"a":1}', {"charset": charset}))


def test_structured_output() -> None:
    """A connector that supports it takes a response format from a parameter; no other field can be set so."""
    chat = connector('{"model":"m","response_format":{"type":"text"}}', supports_structured_output=True)
    wish = {"_response_format_json": '{"type":"json_object"}', "_model_json": {"a": 1}}

    assert bodies(prepared(chat, wish)) == [{"model": "m", "response_format": {"type": "json_object"}}]
    more = {"_generationConfig_additions_json": {"schema": {"n": 1.5}}}
    assert bodies(prepared(chat, more))[0]["generationConfig"] == {"schema": {"n": 1.5}}
    assert one(connector('{"model":"m"}'), wish).payload == '{"model":"m"}'


def test_input_processors() -> None:
    """``input_processors`` change the body before it goes out."""
    steps = [{"type": "set_field", "path": "$.b", "value": 2}, {"type": "remove_jsonpath", "paths": ["$.a"]}]

    assert one(connector('{"a":1,"c":1.10}'), {"input_processors": steps}).payload == '{"c":1.10,"b":2}'


def test_the_state_of_a_batch_job() -> None:
    """Where a provider's batch jobs are known, their state is asked for without an action of its own."""
    batches = connector(
        '{"input_file_id":"${parameters.file}"}',
        {"endpoint": "api.openai.com"},
        action_type="BATCH_PREDICT",
        url="https://${parameters.endpoint}/v1/batches",
        headers={"Authorization": "Bearer ${credential.key}"},
    )

    status = one(batches, {"id": "batch_1"}, "batch_predict_status").outgoing
    cancel = one(batches, {"id": "batch_1"}, "cancel_batch_predict").outgoing

    assert (status.method, status.url, status.body) == ("GET", "https://api.openai.com/v1/batches/batch_1", b"")
    assert (cancel.method, cancel.url) == ("POST", "https://api.openai.com/v1/batches/batch_1/cancel")
    assert status.headers["Authorization"] == "Bearer the-secret-of-the-test"


def test_an_action_without_a_body_counts() -> None:
    """An action that asks for a job's state needs no body, whoever the provider is."""
    batches = connector(
        None, action_type="BATCH_PREDICT_STATUS", method="GET", url="https://unknown.example/jobs/${parameters.id}"
    )

    assert one(batches, {"id": "7"}, "batch_predict_status").outgoing.url == "https://unknown.example/jobs/7"


@pytest.mark.parametrize(
    ("action", "purpose"),
    [("batch_predict_status", "get the batch job details"), ("cancel_batch_predict", "cancel the batch job")],
)
def test_an_unknown_providers_batch_jobs(action: str, purpose: str) -> None:
    """Where a provider's batch jobs are not known the connector must say how."""
    batches = connector('{"a":1}', action_type="BATCH_PREDICT", url="https://unknown.example/jobs")
    with pytest.raises(IllegalArgument) as raised:
        prepared(batches, {}, action)

    assert raised.value.reason == f"Please configure the action type to {purpose} in the connector"


def test_what_is_kept_with_a_connector_is_of_no_other_credential_or_request() -> None:
    """A connector that is called again sends the credential and the parameters of the call, not of one before."""
    headers = {"Authorization": "Bearer ${credential.key}"}
    both = connector(EMBEDDING, {"tenant": "own"}, headers={**headers, "X-Tenant": "${parameters.tenant}"})
    bare = connector(EMBEDDING, headers=headers)

    def sent(credential: dict[str, str], tenant: str) -> tuple[object, object, object]:
        made = prepared(both, {"tenant": tenant}, credential=credential, text_docs=["a"])[0]
        plain = prepared(bare, credential=credential, text_docs=["a"])[0]
        return (
            made.outgoing.headers["X-Tenant"],
            plain.outgoing.headers["Authorization"],
            plain.hidden.hide("first-key second-key"),
        )

    first, second = {"key": "first-key"}, {"key": "second-key"}
    assert sent(first, "a") == ("a", "Bearer first-key", "*** second-key")
    assert sent(first, "b") == ("b", "Bearer first-key", "*** second-key")
    assert sent(second, "b") == ("b", "Bearer second-key", "first-key ***")

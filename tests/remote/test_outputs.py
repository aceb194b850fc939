"""Answers of providers: what becomes of them, and of those that are none."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlcommons_py import content, exact
from mlcommons_py.errors import IllegalArgument, MLCommonsError, RemoteFailed
from mlcommons_py.remote import payload
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.input import ModelInput
from mlcommons_py.remote.outputs import check_answer, outputs
from mlcommons_py.remote.payload import Prepared
from mlcommons_py.remote.provider import PostProcess, Provider, Tensor
from tests.remote.asked import CREDENTIAL, answer, connector, one

POST = "connector.post_process."


def request(post: str | None = None, **own: str) -> Prepared:
    """Return a request whose answer is to be read."""
    return one(connector('{"a":1}', own, post_process_function=post))


def read(body: Any, post: str | None = None, **own: str) -> Any:
    """Return the tensors of an answer."""
    entry = outputs(request(post, **own), answer(body))
    assert entry["status_code"] == 200
    return entry["output"]


def shown(body: str, **own: str) -> str:
    """Return what a client sees of an answer without a function: the ``dataAsMap``."""
    (tensor,) = read(body, **own)
    assert tensor["name"] == "response"
    return exact.dumps(tensor["dataAsMap"]).decode()


def test_embeddings() -> None:
    """A vector is a tensor."""
    body = '{"data":[{"index":0,"embedding":[0.1,-2]},{"index":1,"embedding":[3e-05,1]}]}'

    assert read(body, f"{POST}openai.embedding") == [
        {"name": "sentence_embedding", "data_type": "FLOAT32", "shape": [2], "data": [0.1, -2]},
        {"name": "sentence_embedding", "data_type": "FLOAT32", "shape": [2], "data": [3e-05, 1]},
    ]


@pytest.mark.parametrize("function", ["openai", "voyage", "jina", "default"])
@pytest.mark.parametrize(
    ("indexes", "order"),
    [
        ([2, 0, 1], [1, 2, 0]),
        ([0, 1, 2], [0, 1, 2]),
        ([1, 0, 3], [0, 1, 2]),
        ([1, 0, 0], [0, 1, 2]),
        ([2, 1, None], [0, 1, 2]),
        ([2, 1, False], [0, 1, 2]),
        (["2", "1", "0"], [0, 1, 2]),
    ],
)
def test_embeddings_in_any_order(function: str, indexes: Sequence[Any], order: Sequence[int]) -> None:
    """Vectors whose entries say which texts they are of are put in the texts' order; others stay as they came."""
    body = json.dumps({"data": [{"embedding": [at], "index": index} for at, index in enumerate(indexes)]})
    own = {"response_filter": "$.data[*].embedding"} if function == "default" else {}

    assert [tensor["data"] for tensor in read(body, f"{POST}{function}.embedding", **own)] == [[at] for at in order]


def test_no_json() -> None:
    """A page where JSON should be is an error with its content type and its beginning, not all of it."""
    page = answer("<html>no such proxy</html>" + "x" * 200, content_type="text/html")

    with pytest.raises(RemoteFailed) as raised:
        outputs(request(f"{POST}openai.embedding"), page)

    assert raised.value.status == 502
    assert raised.value.reason == (
        "Fail to execute PREDICT in aws connector: the answer of the remote service is no JSON: its content type is"
        f" [text/html], and it begins with [<html>no such proxy</html>{'x' * 74}…]"
    )


def test_no_json_with_the_credential() -> None:
    """A credential that such a page repeats is not shown, also where the cut would go through it."""
    prepared = one(connector('{"a":1}', {}, post_process_function=f"{POST}openai.embedding"))
    page = answer("<p>" + "x" * 90 + CREDENTIAL["key"], content_type="text/html")

    with pytest.raises(RemoteFailed) as raised:
        outputs(prepared, page)

    assert raised.value.reason.endswith(f"[<p>{'x' * 90}***]")


def test_scores_in_the_order_of_the_documents() -> None:
    """Scores come in the order of the documents, whatever the provider's."""
    body = {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]}

    assert [tensor["data"] for tensor in read(body, f"{POST}cohere.rerank")] == [[0.2], [0.9]]


def test_a_filter_takes_the_place_of_the_functions_path() -> None:
    """``response_filter`` says where the vectors are, and may name their type."""
    (tensor,) = read({"out": {"int8": [[1, 2]]}}, f"{POST}default.embedding", response_filter="$.out.int8")

    assert tensor == {"name": "sentence_embedding", "data_type": "INT8", "shape": [2], "data": [1, 2]}


def test_a_published_script_is_run_by_its_equivalent() -> None:
    """An older connector's script gives what its equivalent gives."""
    script = (
        "def text = params.choices[0].message.content; return "
        '\'{"name":"response","dataAsMap":{"response":"\' + escape(text) + \'"}}\''
    )

    assert read({"choices": [{"message": {"content": 'say "x"'}}]}, script, response_filter="$.ignored") == [
        {"name": "response", "dataAsMap": {"response": 'say "x"'}}
    ]


@pytest.mark.parametrize(
    ("body", "own", "expected"),
    [
        ('{"a": 1.10, "b": 9007199254740993, "c": 1e400}', {}, '{"a":1.10,"b":9007199254740993,"c":1e400}'),
        ("[1.10, 2]", {}, '{"response":[1.10,2]}'),
        ("plain text", {}, '{"response":"plain text"}'),
        ("<html>é</html>", {}, '{"response":"<html>é</html>"}'),
        ('"quoted"', {}, '{"response":"\\"quoted\\""}'),
        ("5", {}, '{"response":"5"}'),
        ('{"a":[{"b":1.10}]}', {"response_filter": "$.a[0]"}, '{"b":1.10}'),
        ('{"a":[{"b":1.10}]}', {"response_filter": "$.a[*].b"}, '{"response":[1.10]}'),
        ('{"a":[{"b":1.10}]}', {"response_filter": "$.a[0].b"}, '{"response":1.10}'),
        ('{"a":"text"}', {"response_filter": "$.a"}, '{"response":"text"}'),
        ('{"a":"{\\"b\\": 1.10}"}', {"response_filter": "$.a"}, '{"b":1.10}'),
        ('{"a":1}', {"response_filter": "$.none.b"}, '{"a":1}'),
        ('{"a":null}', {"response_filter": "$.a"}, '{"a":null}'),
        ("no json", {"response_filter": "$.a"}, '{"response":"no json"}'),
        ('{"a":"\\ud83d"}', {}, '{"a":"\ufffd"}'),
        (
            '{"a":"The JSON: {\\"b\\": 1.10}."}',
            {"response_filter": "$.a", "output_processors": '[{"type":"extract_json"}]'},
            '{"b":1.10}',
        ),
        (
            '{"a":{"b":1}}',
            {"output_processors": '[{"type":"jsonpath_filter","path":"$.a.b"}]'},
            '{"response":1}',
        ),
    ],
)
def test_an_answer_is_passed_on(body: str, own: dict[str, str], expected: str) -> None:
    """Without a function an answer is passed on, filtered and processed, its digits kept."""
    assert shown(body, **own) == expected


@pytest.mark.parametrize(
    ("body", "content_type", "own"),
    [
        ('{"a":"é"}'.encode("latin-1"), "application/json; charset=ISO-8859-1", {}),
        ('{"a":"é"}'.encode("latin-1"), "application/json", {"charset": "ISO-8859-1"}),
        ('{"a":"é"}'.encode("utf-16"), 'application/json; charset="utf-16"', {}),
        ('{"a":"é"}'.encode(), "application/json; charset=klingon", {}),
        ('{"a":"é"}'.encode("utf-8-sig"), "application/json", {}),
    ],
)
def test_character_sets(body: bytes, content_type: str, own: dict[str, str]) -> None:
    """An answer is read in the character set that it names, or the connector does."""
    entry = outputs(request(None, **own), answer(body, content_type=content_type))

    assert entry["output"][0]["dataAsMap"] == {"a": "é"}


def test_an_answer_without_what_the_function_looks_for() -> None:
    """An answer that a function finds nothing in is the provider's fault, and says where it looked."""
    with pytest.raises(RemoteFailed) as raised:
        read({"error": "none"}, f"{POST}openai.embedding")

    assert raised.value.status == 502
    assert raised.value.reason == (
        "Fail to execute PREDICT in aws connector: the answer of the remote service has nothing at $.data[*].embedding"
    )


@pytest.mark.parametrize("vectors", [0, 1, 3])
def test_vectors_that_are_not_one_for_each_text(vectors: int) -> None:
    """An answer with more or fewer vectors than texts is none: nobody could tell which is whose."""
    both = one(
        connector('{"input":${parameters.input}}', post_process_function=f"{POST}openai.embedding"),
        text_docs=["a", "b"],
    )
    with pytest.raises(RemoteFailed, match=rf"has {vectors} vectors for 2 texts$") as raised:
        outputs(both, answer({"data": [{"embedding": [1.0]}] * vectors}))

    assert raised.value.status == 502
    assert len(outputs(both, answer({"data": [{"embedding": [1.0]}] * 2}))["output"]) == 2


def test_a_text_and_its_image_have_one_vector() -> None:
    """Two docs that go together are one thing to embed."""
    pair = one(
        connector(
            '{"t":"${parameters.inputText}","i":"${parameters.inputImage}"}',
            pre_process_function="connector.pre_process.bedrock.multimodal_embedding",
            post_process_function=f"{POST}bedrock.embedding",
        ),
        text_docs=["a", "aW1n"],
    )

    assert len(outputs(pair, answer({"embedding": [1.0]}))["output"]) == 1


@pytest.mark.parametrize("depth", [200, 250, 255, 1000, 2000])
@pytest.mark.parametrize("own", [{}, {"response_filter": "$[0]"}, {"output_processors": '[{"type":"to_string"}]'}])
def test_an_answer_that_nests_deep(depth: int, own: dict[str, str]) -> None:
    """An answer that nests deeper than can be written is passed on as a text."""
    (tensor,) = read("[" * depth + "1.10" + "]" * depth, **own)

    exact.dumps({"inference_results": [{"output": [tensor]}]})
    assert isinstance(tensor["dataAsMap"]["response"], list if depth == 200 else str)


def test_a_function_that_finds_what_nests_deep() -> None:
    """What a function finds and nobody can write is refused."""
    deep = '{"inference_results":[{"output":[{"dataAsMap":' + '{"a":' * 300 + "1" + "}" * 300 + "}]}]}"
    with pytest.raises(RemoteFailed):
        read(deep, f"{POST}mlcommons.passthrough")
    with pytest.raises((RemoteFailed, IllegalArgument)):
        read('{"choices":[{"message":{"content":' + '{"a":' * 300 + "1" + "}" * 303, f"{POST}openai.chat")


def test_processors_that_nest_deeper_and_deeper() -> None:
    """Steps that put a value into itself do not make what nobody can write."""
    nest = {"type": "process_and_set", "path": "$.a", "processors": [{"type": "jsonpath_filter", "path": "$"}]}
    wrap = {"type": "set_field", "path": "$.a.a.a", "source_path": "$"}
    for steps in ([nest] * 12, [wrap] * 12):
        with contextlib.suppress(MLCommonsError):
            entry = outputs(request(None, output_processors=json.dumps(steps)), answer({"a": {"a": {"a": {}}}}))
            exact.dumps({"inference_results": [entry]})


def test_an_answer_of_the_wrong_form() -> None:
    """What a function refuses is refused in its words."""
    with pytest.raises(IllegalArgument, match=r"^The embedding should be a non-empty List"):
        read({"embeddings": "text"}, f"{POST}cohere.embedding", response_filter="$..embeddings")


@pytest.mark.parametrize(
    "fault", [TypeError("x"), KeyError("x"), IndexError("x"), AttributeError("x"), ValueError("x")]
)
def test_a_function_that_fails(fault: Exception) -> None:
    """A provider's function that stumbles over an answer refuses it by name, whatever it raises."""

    def stumble(found: Any) -> Sequence[Tensor]:
        raise fault

    own = Provider("own", post_process=(PostProcess("connector.post_process.own.x", "$.a", stumble),))
    asked = payload.prepare(
        connector('{"a":1}', post_process_function="connector.post_process.own.x"),
        "predict",
        ModelInput(),
        {},
        Functions({"own": own}),
    )
    with pytest.raises(IllegalArgument, match=r"^\[connector\.post_process\.own\.x\] cannot read the answer"):
        outputs(asked[0], answer({"a": 1}))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504, 301, 302, 199])
def test_statuses(status: int) -> None:
    """A provider's refusal has its status and its text, and is told apart from one of ours."""
    refused = answer("no: é", status, x_request_id="r-1", retry_after="7")
    with pytest.raises(RemoteFailed) as raised:
        check_answer(refused, request())

    fault = raised.value
    passed_on = 502 if status < 200 else status
    assert (fault.status, fault.reason) == (passed_on, "Error from remote service: no: é")
    assert fault.remote == {"status": status, "attempts": 1, "request_id": "r-1"}
    assert fault.headers == {"Retry-After": "7"}


@pytest.mark.parametrize("status", [200, 201, 299, 300])
def test_statuses_of_answers(status: int) -> None:
    """Statuses up to 300 are those of answers."""
    assert outputs(request(), answer("{}", status))["status_code"] == status


def test_empty_answers() -> None:
    """An answer without a body is none, but to the end of a batch job."""
    with pytest.raises(RemoteFailed) as raised:
        check_answer(answer(b" \n"), request())
    assert (raised.value.status, raised.value.reason) == (502, "Remote service returned empty response body")
    with pytest.raises(RemoteFailed) as raised:
        check_answer(answer(b"", 503), request())
    assert raised.value.reason == "Remote service returned error status 503 with empty body"

    ended = one(connector(None, action_type="CANCEL_BATCH_PREDICT"), {}, "cancel_batch_predict")
    assert outputs(ended, answer(b""))["output"] == [{"name": "response", "dataAsMap": {"response": ""}}]


def test_throttling_by_amazon() -> None:
    """Amazon's throttling has ML Commons' text."""
    with pytest.raises(RemoteFailed) as raised:
        check_answer(answer("x", 400, x_amzn_errortype="ThrottlingException:http://internal"), request())

    assert raised.value.reason == (
        "Error from remote service: The request was denied due to remote server throttling. To change the retry policy"
        " and behavior, please update the connector client_config."
    )


def test_a_secret_that_comes_back_is_hidden() -> None:
    """A provider that shows the key in its refusal does not make us show it."""
    with pytest.raises(RemoteFailed) as raised:
        check_answer(answer("wrong key the-secret-of-the-test!", 401), request())

    assert raised.value.reason == "Error from remote service: wrong key ***!"


def test_a_long_refusal_is_cut() -> None:
    """Of a refusal as long as a book only the beginning is shown."""
    with pytest.raises(RemoteFailed) as raised:
        check_answer(answer("x" * 1_000_000, 500), request())

    assert len(raised.value.reason) < 70_000


ALL = sorted(one.name for provider in content.providers().values() for one in provider.post_process)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "embedding", "embeddings", "results", "index", "relevance_score", "float", "output", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.sampled_from(ALL), ANYTHING)
@example(f"{POST}default.rerank", [{"index": "a", "relevance_score": 1}])
@example(f"{POST}mlcommons.passthrough", {"inference_results": [{"output": [5]}]})
def test_no_answer_breaks_a_function(post: str, value: Any) -> None:
    """Whatever a provider answers, it is read or refused."""
    with contextlib.suppress(MLCommonsError):
        entry = outputs(request(post), answer(json.dumps(value)))
        exact.dumps(entry)


@settings(deadline=None)
@given(st.binary(max_size=50), st.sampled_from([None, f"{POST}openai.embedding", f"{POST}mlcommons.passthrough"]))
@example(b"\xff\xfe", None)
@example(b"[" * 5000, None)
@example(b'{"a":1e999999}', f"{POST}openai.embedding")
def test_no_bytes_break_the_reading(body: bytes, post: str | None) -> None:
    """Whatever bytes a provider answers, they are read or refused, and can be written."""
    for own in ({}, {"response_filter": "$.a"}, {"output_processors": '[{"type":"extract_json"}]'}):
        with contextlib.suppress(MLCommonsError):
            exact.dumps(outputs(request(post, **own), answer(body)))

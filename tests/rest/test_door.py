"""What every route has in common, over small handlers."""

import asyncio
import gzip
import logging
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from mlcommons_py.errors import IllegalArgument, InferenceFailed, LimitExceeded, StatusError, VersionConflict
from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.door import Route, web_app
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services
from tests.rest.conftest import LIMIT, Caller

JSON = {"content-type": "application/json"}


async def echo(services: Services, request: Request) -> object:
    """Answer what came."""
    return {"params": dict(request.params), "query": dict(request.query), "body": await request.json_or_none()}


async def size(services: Services, request: Request) -> object:
    """Answer how long the body is."""
    return {"bytes": len(request.body)}


async def fail(services: Services, request: Request) -> object:
    """Fail as the path says."""
    cause = IllegalArgument("bad text")
    faults: dict[str, Exception] = {
        "argument": cause,
        "inference": InferenceFailed("TEXT_EMBEDDING", "m", cause),
        "busy": LimitExceeded("exceed max running task limit", retry_after=7),
        "bug": KeyError("the service's own secret"),
    }
    raise faults[request.params["how"]]


async def conflict(services: Services, request: Request) -> object:
    """Fail for a conflict in the store."""
    raise StatusError("Document version conflict", 409) from VersionConflict("i", "x", "somebody was faster")


async def vectors(services: Services, request: Request) -> object:
    """Answer an array."""
    return Answer({"data": np.array([0.1, 1 / 3, -2.5e-8], np.float32), "more": {"shape": [3]}}, heavy=True)


async def strange(services: Services, request: Request) -> object:
    """Answer what is no JSON."""
    return {"what": object()}


async def long(services: Services, request: Request) -> object:
    """Answer much."""
    return {"texts": ["lorem ipsum"] * 10_000}


SMALL = (
    Route("GET", "/echo", echo, frozenset({"verbose"})),
    Route("POST,PUT", "/echo", echo),
    Route("GET", "/things/_search", echo, frozenset({"source", "source_content_type"})),
    Route("GET", "/things/{thing_id}", echo),
    Route("POST", "/raw", size, body="raw"),
    Route("GET", "/fail/{how}", fail),
    Route("GET", "/conflict", conflict),
    Route("GET", "/vectors", vectors),
    Route("GET", "/strange", strange),
    Route("GET", "/long", long),
)


@pytest.fixture
def small(calling: Caller) -> httpx.AsyncClient:
    """A client of the small handlers."""
    return calling(SMALL)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
async def test_unknown_route(small: httpx.AsyncClient, method: str) -> None:
    """A path that no route has is 400; the error is a text and there is no status in the body."""
    answer = await small.request(method, "/nowhere/a%20b?x=1")

    assert answer.status_code == 400
    assert answer.json() == {"error": f"no handler found for uri [/nowhere/a b] and method [{method}]"}


async def test_wrong_method(small: httpx.AsyncClient) -> None:
    """A wrong method is 405 and names those that are allowed, in the text and in ``Allow``."""
    answer = await small.delete("/echo?pretty=false&x=1")

    assert answer.status_code == 405
    assert answer.json() == {
        "error": "Incorrect HTTP method for uri [/echo?pretty=false&x=1] and method [DELETE],"
        " allowed: [GET, POST, PUT]",
        "status": 405,
    }
    assert answer.headers["allow"] == "GET,POST,PUT"


async def test_options(small: httpx.AsyncClient) -> None:
    """OPTIONS names the methods of a path, and is 200 where there is none."""
    found, missing = await small.options("/echo"), await small.options("/nowhere")

    assert (found.status_code, found.headers["allow"], found.content) == (200, "GET,POST,PUT", b"")
    assert (missing.status_code, "allow" in missing.headers, missing.content) == (200, False, b"")


async def test_head(small: httpx.AsyncClient) -> None:
    """HEAD answers as GET does, without the body."""
    get, head = await small.get("/echo"), await small.head("/echo")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))


async def test_trailing_slash(small: httpx.AsyncClient) -> None:
    """A trailing slash means nothing."""
    assert (await small.get("/things/x/")).json()["params"] == {"thing_id": "x"}
    assert (await small.get("/echo//")).json()["params"] == {}


async def test_literal_before_variable(small: httpx.AsyncClient) -> None:
    """A path without a variable wins over one with."""
    assert (await small.get("/things/_search")).json()["params"] == {}


@pytest.mark.parametrize(
    ("query", "named"),
    [("x=1", "parameter: [x]"), ("b=&verbose=1&a=2", "parameters: [a], [b]"), ("source={}", "parameter: [source]")],
)
async def test_unknown_query_parameter(small: httpx.AsyncClient, query: str, named: str) -> None:
    """A query parameter that the route does not take is refused, and named."""
    answer = await small.get(f"/echo?{query}")

    described = {"type": "illegal_argument_exception", "reason": f"request [/echo] contains unrecognized {named}"}
    assert answer.json() == {"error": {"root_cause": [described], **described}, "status": 400}
    assert answer.status_code == 400


async def test_query_parameters_of_every_route(small: httpx.AsyncClient) -> None:
    """pretty, human, error_trace, filter_path and format are taken everywhere."""
    answer = await small.get("/echo?pretty&human=true&error_trace=false&format=json&filter_path=**")

    assert answer.status_code == 200
    assert answer.text == orjson.dumps(answer.json(), option=orjson.OPT_INDENT_2).decode() + "\n"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("pretty=maybe", "Failed to parse value [maybe] as only [true] or [false] are allowed."),
        ("format=yaml", "format [yaml] is not supported; answers are JSON"),
    ],
)
async def test_wrong_form(small: httpx.AsyncClient, query: str, reason: str) -> None:
    """A form of the answer that cannot be is refused."""
    answer = await small.get(f"/echo?{query}")

    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, reason)


async def test_filter_path(small: httpx.AsyncClient) -> None:
    """filter_path picks parts of an answer, arrays included."""
    answer = await small.get("/vectors?filter_path=more.shape,da*,-nothing")

    assert answer.text == '{"data":[0.1,0.33333334,-2.5e-8],"more":{"shape":[3]}}'
    assert (await small.get("/vectors?filter_path=more.*")).json() == {"more": {"shape": [3]}}
    assert (await small.get("/vectors?filter_path=nothing")).json() == {}


async def test_filter_path_leaves_errors_alone(small: httpx.AsyncClient) -> None:
    """filter_path never hides an error; pretty applies to it."""
    answer = await small.get("/fail/argument?filter_path=hits&pretty")

    assert answer.json()["error"]["reason"] == "bad text"
    assert answer.text.startswith('{\n  "error"')


async def test_arrays_have_the_shortest_digits(small: httpx.AsyncClient) -> None:
    """float32 arrays go out with the fewest digits that read back as the same float32."""
    assert (await small.get("/vectors")).text == '{"data":[0.1,0.33333334,-2.5e-8],"more":{"shape":[3]}}'


async def test_error_of_an_argument(small: httpx.AsyncClient) -> None:
    """An error has OpenSearch's body."""
    answer = await small.get("/fail/argument")

    described = {"type": "illegal_argument_exception", "reason": "bad text"}
    assert answer.json() == {"error": {"root_cause": [described], **described}, "status": 400}
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"


async def test_error_with_cause(small: httpx.AsyncClient) -> None:
    """A cause is in ``caused_by``; Java's own exceptions are no root cause."""
    answer = await small.get("/fail/inference")

    described = {"type": "m_l_exception", "reason": "Failed to inference TEXT_EMBEDDING model: m"}
    cause = {"type": "illegal_argument_exception", "reason": "bad text"}
    assert answer.json() == {
        "error": {"root_cause": [described], **described, "caused_by": cause},
        "status": answer.status_code,
    }


async def test_error_with_root_cause(small: httpx.AsyncClient) -> None:
    """A cause that is OpenSearch's is the root cause."""
    cause = {
        "type": "version_conflict_engine_exception",
        "reason": "[x]: version conflict, somebody was faster",
    }
    answer = await small.get("/conflict")

    assert answer.json() == {
        "error": {
            "root_cause": [cause],
            "type": "status_exception",
            "reason": "Document version conflict",
            "caused_by": cause,
        },
        "status": 409,
    }


async def test_retry_after(small: httpx.AsyncClient) -> None:
    """A refusal for too much work says when to come back."""
    answer = await small.get("/fail/busy")

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize("path", ["/fail/bug", "/strange"])
async def test_own_fault(small: httpx.AsyncClient, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the service is 500 without its internals, under a number that the log has with the traceback."""
    answer = await small.get(path, headers={"x-opaque-id": "me"})

    reason = answer.json()["error"]["reason"]
    number = reason.rpartition("[")[2].rstrip("]")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "m_l_exception"
    assert answer.headers["x-opaque-id"] == "me"
    assert "secret" not in answer.text
    assert "object" not in answer.text
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert number in record.getMessage()
    assert record.exc_info


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"content-type": "text/plain"}, "Content-Type header [text/plain] is not supported"),
        ({"content-type": "application/yaml"}, "Content-Type header [application/yaml] is not supported"),
        ({"content-type": "nonsense"}, "Content-Type header [nonsense] is not supported"),
        ({}, "Content-Type header is missing"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_content_type_refused(
    small: httpx.AsyncClient, headers: dict[str, str], reason: str, chunked: bool
) -> None:
    """A body of another type than JSON is 406, whether its length is announced or not."""

    async def parts() -> Any:
        yield b"{}"

    answer = await small.post("/echo", content=parts() if chunked else b"{}", headers=headers)

    assert answer.status_code == 406
    assert answer.json() == {"error": reason, "status": 406}


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/X-NDJSON"])
async def test_content_type_taken(small: httpx.AsyncClient, kind: str) -> None:
    """JSON and NDJSON are taken, in any case and with parameters."""
    answer = await small.post("/echo", content=b'{"a":1}', headers={"content-type": kind})

    assert answer.json()["body"] == {"a": 1}


async def test_no_body_needs_no_type(small: httpx.AsyncClient) -> None:
    """Where there is no body, its type does not matter."""
    assert (await small.post("/echo", headers={"content-type": "text/plain"})).json()["body"] is None


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/zip", "application/json", None])
async def test_raw_content_type(small: httpx.AsyncClient, kind: str | None) -> None:
    """A raw body may be of any of OpenSearch's types, binary, or of none."""
    headers = {} if kind is None else {"content-type": kind}

    assert (await small.post("/raw", content=b"\x00\xff", headers=headers)).json() == {"bytes": 2}


async def test_raw_text_refused(small: httpx.AsyncClient) -> None:
    """A form or a text is not what a chunk is sent as."""
    answer = await small.post("/raw", content=b"x", headers={"content-type": "text/plain"})

    assert answer.status_code == 406


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b'{"a" 1}', "json_parse_exception", "line 1 column 6"),
        (b'{"a":1,\n "b":x}', "json_parse_exception", "line 2 column 6"),
        (b'{"a":', "json_parse_exception", "line 1"),
        (b'{"a":NaN}', "json_parse_exception", "line 1"),
        (b'{"a":Infinity}', "json_parse_exception", "line 1"),
        (b'{"a":1e999}', "json_parse_exception", "infinity"),
        (b'{"a":"\x00"}', "json_parse_exception", "line 1"),
        (b'{"a":"\xff"}', "json_parse_exception", "UTF-8"),
        (b'{"a":"\\ud800"}', "json_parse_exception", "surrogate"),
        (b"\xff\xfe{\x00}\x00", "json_parse_exception", "line 1"),
        (b"[" * 5000, "json_parse_exception", "depth"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "parsing_exception", "more than 100 deep"),
        (b"[1]", "parsing_exception", "but found [START_ARRAY]"),
        (b'"x"', "parsing_exception", "but found [VALUE_STRING]"),
        (b"1.5", "parsing_exception", "but found [VALUE_NUMBER]"),
        (b"true", "parsing_exception", "but found [VALUE_BOOLEAN]"),
        (b"null", "parsing_exception", "but found [VALUE_NULL]"),
    ],
)
async def test_malformed_json(small: httpx.AsyncClient, body: bytes, kind: str, reason: str) -> None:
    """A body that is no JSON, or no object, is 400 and says where or what is wrong."""
    answer = await small.post("/echo", content=body, headers=JSON)

    fault = answer.json()["error"]
    assert (answer.status_code, fault["type"]) == (400, kind)
    assert reason in fault["reason"]
    assert fault["root_cause"] == [{"type": kind, "reason": fault["reason"]}]


async def test_nesting_allowed(small: httpx.AsyncClient) -> None:
    """Many brackets are no depth: neither in a text nor side by side, and 100 levels are taken."""
    deep: Any = 1
    for _ in range(99):
        deep = [deep]
    body = {"deep": deep, "text": "[{" * 5000, "wide": [[]] * 5000}

    assert (await small.post("/echo", json=body)).json()["body"] == body


async def test_large_body(small: httpx.AsyncClient) -> None:
    """A body that is parsed in a thread comes out the same."""
    body = {"texts": ["é🚀" * 1000] * 20}

    assert (await small.post("/echo", json=body)).json()["body"] == body


async def test_duplicate_keys(small: httpx.AsyncClient) -> None:
    """Of a key that is there twice the last value counts."""
    assert (await small.post("/echo", content=b'{"a":1,"a":2}', headers=JSON)).json()["body"] == {"a": 2}


async def test_source_parameter(small: httpx.AsyncClient) -> None:
    """Where the route takes it, ``source`` stands for the body."""
    answer = await small.get("/things/_search", params={"source": '{"q":1}', "source_content_type": "application/json"})

    assert answer.json()["body"] == {"q": 1}


async def test_body_too_long(small: httpx.AsyncClient) -> None:
    """A body longer than the operator's limit is 413, announced or not, and says how to raise the limit."""

    async def parts() -> Any:
        for _ in range(5):
            yield b" " * 50_000

    announced = await small.post("/echo", content=b" " * (LIMIT + 1), headers=JSON)
    streamed = await small.post("/echo", content=parts(), headers=JSON)

    described = {
        "type": "content_too_long_exception",
        "reason": f"the body is longer than {LIMIT} bytes; send less, or start with a larger max_body_bytes",
    }
    for answer in (announced, streamed):
        assert answer.status_code == 413
        assert answer.json() == {"error": {"root_cause": [described], **described}, "status": 413}


async def test_too_many_bodies(calling: Caller) -> None:
    """When the bodies under way take too much memory, one more is refused for now; when they are done, it is taken."""
    may_end = asyncio.Event()
    began = 0

    async def hold(services: Services, request: Request) -> object:
        nonlocal began
        began += 1
        await may_end.wait()
        return {}

    client = calling((Route("POST", "/hold", hold),))

    def post() -> "asyncio.Task[httpx.Response]":
        return asyncio.ensure_future(client.post("/hold", content=b" " * LIMIT, headers=JSON))

    async with asyncio.timeout(20):
        holding = [post() for _ in range(8)]
        while began < 8:
            await asyncio.sleep(0.001)
        refused = await post()
        may_end.set()
        assert [(await one).status_code for one in holding] == [200] * 8
        assert (await post()).status_code == 200

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["type"] == "circuit_breaking_exception"
    assert refused.json()["error"]["reason"].startswith("[in_flight_requests] Data too large: the bodies under way")


async def test_raw_body_too_long(small: httpx.AsyncClient) -> None:
    """A chunk has the limit of a chunk, not that of JSON."""
    assert (await small.post("/raw", content=bytes(LIMIT + 1))).json() == {"bytes": LIMIT + 1}
    answer = await small.post("/raw", content=bytes(10_000_001))
    assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "Chunk size exceeds 10MB")


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
async def test_compressed_body(small: httpx.AsyncClient, encoding: str) -> None:
    """A compressed body is taken."""
    body = gzip.compress(b'{"a":"' + b"x" * 100_000 + b'"}')

    answer = await small.post("/echo", content=body, headers={**JSON, "content-encoding": encoding})

    assert answer.json()["body"] == {"a": "x" * 100_000}


@pytest.mark.parametrize(
    ("body", "encoding", "status", "reason"),
    [
        (gzip.compress(bytes(50_000_000)), "gzip", 413, "longer than 200000 bytes"),
        (gzip.compress(b'{"a":1}')[:-3], "gzip", 400, "ends too early"),
        (b"\x1f\x8b", "gzip", 400, "ends too early"),
        (gzip.compress(b'{"a":1}') + b"more", "gzip", 400, "goes on after its end"),
        (b'{"a":1}', "gzip", 400, "is broken"),
        (b'{"a":1}', "br", 415, "Content-Encoding [br] is not supported; use gzip"),
        (b'{"a":1}', "gzip, gzip", 415, "use gzip"),
    ],
)
async def test_compressed_body_refused(
    small: httpx.AsyncClient, body: bytes, encoding: str, status: int, reason: str
) -> None:
    """A bomb, a broken or a cut body, or another compression is refused with a clear text."""
    answer = await small.post("/echo", content=body, headers={**JSON, "content-encoding": encoding})

    assert answer.status_code == status
    assert reason in answer.json()["error"]["reason"]


async def test_compressed_answer(small: httpx.AsyncClient) -> None:
    """A long answer is compressed for a client that takes it, and only for it."""
    taken = await small.get("/long", headers={"accept-encoding": "gzip"})
    refused = await small.get("/long", headers={"accept-encoding": "gzip;q=0, br"})
    short = await small.get("/echo", headers={"accept-encoding": "gzip"})

    assert taken.headers["content-encoding"] == "gzip"
    assert int(taken.headers["content-length"]) < 10_000
    assert taken.json() == refused.json()
    assert "content-encoding" not in refused.headers
    assert taken.headers["vary"] == refused.headers["vary"] == "accept-encoding"
    assert "content-encoding" not in short.headers


async def test_opaque_id(small: httpx.AsyncClient) -> None:
    """X-Opaque-Id goes back to the client, with errors too."""
    for path in ("/echo", "/nowhere", "/fail/argument"):
        assert (await small.get(path, headers={"X-Opaque-Id": "tab 7"})).headers["x-opaque-id"] == "tab 7"


async def test_measured_by_template(services: Services, small: httpx.AsyncClient) -> None:
    """Requests are measured by the route's template, so that clients cannot make up series."""
    for thing in ("a", "b", "secret-name"):
        await small.get(f"/things/{thing}")
    await small.get("/nowhere/secret-name")
    await small.request("MADEUP", "/echo")

    text = services.metrics.render().decode()
    assert 'mlcommons_http_request_seconds_count{method="GET",route="/things/{thing_id}",status="200"} 3.0' in text
    assert 'mlcommons_http_request_seconds_count{method="GET",route="none",status="400"} 1.0' in text
    assert 'mlcommons_http_request_seconds_count{method="other",route="/echo",status="405"} 1.0' in text
    assert "secret-name" not in text


async def test_logged_by_template(small: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Each request leaves one line at debug level, with the route's template."""
    with caplog.at_level(logging.DEBUG, "mlcommons_py.rest.door"):
        await small.get("/things/a?pretty")

    lines = [record.getMessage() for record in caplog.records if record.name == "mlcommons_py.rest.door"]
    assert len(lines) == 1
    assert lines[0].startswith("GET /things/{thing_id} 200 ")


async def test_abandoned_work_stops(services: Services) -> None:
    """The work of a route that may be abandoned stops when its client goes away, and nothing is sent."""
    began, stopped = asyncio.Event(), asyncio.Event()

    async def work(services: Services, request: Request) -> object:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return {}

    incoming = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await began.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    app = web_app(services, (Route("POST", "/work", work, abandon=True),))
    scope = {"type": "http", "method": "POST", "path": "/work", "query_string": b"", "headers": []}
    await asyncio.wait_for(app(scope, receive, send), 10)

    assert stopped.is_set()
    assert sent == []


async def test_shutdown_is_told(services: Services) -> None:
    """A request that a shutdown cuts short is answered with 503."""
    began = asyncio.Event()

    async def work(services: Services, request: Request) -> object:
        began.set()
        await asyncio.Event().wait()
        return {}

    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    app = web_app(services, (Route("GET", "/work", work),))
    scope = {"type": "http", "method": "GET", "path": "/work", "query_string": b"", "headers": []}
    task = asyncio.ensure_future(app(scope, receive, send))
    await began.wait()
    task.cancel()
    await asyncio.wait_for(task, 10)

    assert sent[0]["status"] == 503
    assert orjson.loads(sent[1]["body"])["error"]["reason"] == "the service is shutting down"

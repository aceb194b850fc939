"""What every route has in common: paths, queries, errors."""

import asyncio
import logging
from typing import Any

import httpx
import orjson
import pytest
from starlette.types import ASGIApp

from mlcommons_py.rest.door import Route
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services
from mlcommons_py.rest.waiting import EXTENSION, Client
from mlcommons_py.rest.web import web_app
from mlcommons_py.store.patience import is_awaited, wrote
from tests.rest.conftest import Caller

pytestmark = pytest.mark.only("embedded", reason="the door in front of handlers that no store is behind")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
async def test_unknown_route(small: httpx.AsyncClient, method: str) -> None:
    """A path of ML Commons that no route has is 400; the error is a text and there is no status in the body."""
    answer = await small.request(method, "/_plugins/_ml/a%20b?x=1")

    assert answer.status_code == 400
    assert answer.json() == {"error": f"no handler found for uri [/_plugins/_ml/a b] and method [{method}]"}


@pytest.mark.parametrize(("method", "path"), [("GET", "/_cat/plugins"), ("POST", "/_bulk"), ("PUT", "/a/_mapping")])
async def test_a_cluster_s_route(small: httpx.AsyncClient, method: str, path: str) -> None:
    """A path of a cluster's, where there is none, is 501, and the text says how to have one."""
    answer = await small.request(method, path)

    reason = (
        f"no handler found for uri [{path}] and method [{method}]: there is no cluster behind this service;"
        " start it with --store and the address of one"
    )
    described = {"type": "status_exception", "reason": reason}
    assert (answer.status_code, answer.json()) == (
        501,
        {"error": {"root_cause": [described], **described}, "status": 501},
    )


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
    assert answer.text == '{\n  "params" : { },\n  "query" : {\n    "pretty" : "",' + answer.text.partition('"",')[2]
    assert answer.text.endswith('  "body" : null\n}\n')


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("pretty=maybe", "Failed to parse value [maybe] as only [true] or [false] are allowed."),
        ("format=cbor", "format [cbor] is not supported; use json or yaml"),
    ],
)
async def test_wrong_form(small: httpx.AsyncClient, query: str, reason: str) -> None:
    """A form of the answer that cannot be is refused."""
    answer = await small.get(f"/echo?{query}")

    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, reason)


@pytest.mark.parametrize(
    ("path", "accept"),
    [("/echo?format=yaml", "*/*"), ("/echo?format=yaml", "application/json"), ("/echo", "application/yaml; q=1")],
)
async def test_yaml(small: httpx.AsyncClient, path: str, accept: str) -> None:
    """An answer is YAML where ``format`` says so or, without it, ``Accept``; errors, too."""
    answer = await small.get(path, headers={"accept": accept})
    query = '\n  format: "yaml"' if "format" in path else " {}"
    refused = await small.get(path.replace("/echo", "/fail/argument"), headers={"accept": accept})

    assert answer.text == f"---\nparams: {{}}\nquery:{query}\nbody: null\n"
    assert answer.headers["content-type"] == refused.headers["content-type"] == "application/yaml"
    assert refused.text.endswith('  reason: "bad text"\nstatus: 400\n')


@pytest.mark.parametrize("accept", ["text/html,application/yaml;q=0.9", "application/cbor", "", "yaml/application"])
async def test_accept_of_something_else(small: httpx.AsyncClient, accept: str) -> None:
    """An ``Accept`` field that names nothing the service writes is as good as none."""
    answer = await small.get("/echo", headers={"accept": accept})

    assert answer.headers["content-type"] == "application/json; charset=UTF-8"


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
    assert 'mlcommons_http_request_seconds_count{method="GET",route="none",status="501"} 1.0' in text
    assert 'mlcommons_http_request_seconds_count{method="other",route="/echo",status="405"} 1.0' in text
    assert "secret-name" not in text


async def test_logged_by_template(small: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Each request leaves one line at debug level, with the route's template."""
    with caplog.at_level(logging.DEBUG, "mlcommons_py.rest.door"):
        await small.get("/things/a?pretty")

    lines = [record.getMessage() for record in caplog.records if record.name == "mlcommons_py.rest.door"]
    assert len(lines) == 1
    assert lines[0].startswith("GET /things/{thing_id} 200 ")


def working(app: ASGIApp, method: str, client: Client) -> tuple[asyncio.Task[None], list[Any]]:
    """Have a client ask for ``/work``; return what carries the request out, and the messages of its answer."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def work() -> None:
        scope = {"type": "http", "method": method, "path": "/work", "query_string": b"", "headers": []}
        await app({**scope, "extensions": {EXTENSION: {"client": client}}}, receive, send)

    return asyncio.create_task(work()), sent


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

    app = web_app(services, (Route("POST", "/work", work, abandon=True),))
    client = Client()
    task, sent = working(app, "POST", client)
    await began.wait()
    client.leave()
    ended, _ = await asyncio.wait([task], timeout=10)

    assert ended
    assert stopped.is_set()
    assert sent == []


@pytest.mark.parametrize("abandon", [False, True])
async def test_shutdown_is_told(services: Services, abandon: bool) -> None:
    """A request that a shutdown cuts short is answered with 503, also where its client is watched."""
    began = asyncio.Event()

    async def work(services: Services, request: Request) -> object:
        began.set()
        await asyncio.Event().wait()
        return {}

    app = web_app(services, (Route("GET", "/work", work, abandon=abandon),))
    task, sent = working(app, "GET", Client())
    await began.wait()
    task.cancel()
    await asyncio.wait_for(task, 10)

    assert sent[0]["status"] == 503
    assert orjson.loads(sent[1]["body"])["error"]["reason"] == "the service is shutting down"


async def test_handlers_are_awaited(calling: Caller) -> None:
    """What a handler asks of the store is tried for the time of a client; what it starts is not."""

    async def work(services: Services, request: Request) -> object:
        async def begun() -> bool:
            return is_awaited()

        return {"here": is_awaited(), "begun": await asyncio.create_task(begun())}

    client = calling((Route("GET", "/work", work), Route("GET", "/left", work, abandon=True)))
    for path in ("/work", "/left"):
        assert (await client.get(path)).json() == {"here": True, "begun": False}
    assert not is_awaited()


async def test_answers_wait_for_what_was_written(calling: Caller) -> None:
    """What a handler wrote, or tasks that it waited for, all who search see before the client is answered."""
    events = []

    async def settle() -> None:
        await asyncio.sleep(0)
        events.append("settled")

    async def work(services: Services, request: Request) -> object:
        wrote(settle)
        await asyncio.gather(*(asyncio.to_thread(wrote, settle) for _ in range(2)))
        return {}

    async def read(services: Services, request: Request) -> object:
        return {}

    client = calling((Route("POST", "/work", work), Route("GET", "/read", read)))
    await client.get("/read")
    assert events == []
    await client.post("/work")
    assert events == ["settled"]

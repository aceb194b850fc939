"""What every route takes and gives as a body."""

import asyncio
import gzip
import zlib
from typing import Any

import httpx
import pytest

from mlcommons_py.rest.door import Route
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services
from tests.rest.conftest import LIMIT, Caller
from tests.rest.small import JSON

pytestmark = pytest.mark.only("embedded", reason="the door in front of handlers that no store is behind")


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


_TEXT = b'{"a":"' + b"x" * 100_000 + b'"}'


def _bare(text: bytes) -> bytes:
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflating.compress(text) + deflating.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(_TEXT)),
        ("x-gzip", gzip.compress(_TEXT)),
        ("GZIP", gzip.compress(_TEXT[:9]) + gzip.compress(_TEXT[9:])),
        ("deflate", zlib.compress(_TEXT)),
        ("deflate", _bare(_TEXT)),
    ],
    ids=["gzip", "x-gzip", "two members", "zlib", "bare deflate"],
)
async def test_compressed_body(small: httpx.AsyncClient, encoding: str, body: bytes) -> None:
    """A compressed body is taken, as is what some clients take for deflate, without zlib's head."""
    answer = await small.post("/echo", content=body, headers={**JSON, "content-encoding": encoding})

    assert answer.json()["body"] == {"a": "x" * 100_000}


@pytest.mark.parametrize(
    ("body", "encoding", "status", "reason"),
    [
        (gzip.compress(bytes(50_000_000)), "gzip", 413, "longer than 200000 bytes"),
        (gzip.compress(b'{"a":1}')[:-3], "gzip", 400, "ends too early"),
        (b"\x1f\x8b", "gzip", 400, "ends too early"),
        (gzip.compress(b'{"a":1}') + b"more", "gzip", 400, "is broken"),
        (b'{"a":1}', "gzip", 400, "is broken"),
        (b'{"a":1}', "br", 415, "Content-Encoding [br] is not supported; use gzip"),
        (b'{"a":1}', "gzip, gzip", 415, "use gzip"),
    ],
    ids=["bomb", "cut", "head alone", "more behind it", "no gzip", "brotli", "twice"],
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


async def test_comments_are_passed_over(small: httpx.AsyncClient) -> None:
    """Comments between the parts of a body are no fault, as OpenSearch has it; within a text they are text."""
    body = b'{ // one\n "a": "b // c /* d */ \\" e", /* two\n lines */ "f": 1.5 }'

    answer = await small.post("/echo", content=body, headers=JSON)

    assert answer.json()["body"] == {"a": 'b // c /* d */ " e', "f": 1.5}


@pytest.mark.parametrize("piece", [b"/*", b'"a', b"//", b'"\\'])
async def test_comments_that_never_end_cost_little(small: httpx.AsyncClient, piece: bytes) -> None:
    """A body of beginnings is refused in a time that grows with its length alone."""
    body = b'{"x": // \n' + piece * (LIMIT // len(piece) - 10)
    async with asyncio.timeout(2):
        answer = await small.post("/echo", content=body, headers=JSON)

    assert answer.status_code == 400

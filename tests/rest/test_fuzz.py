"""Whatever a client sends, the whole API answers it, and never with a fault of its own."""

import asyncio
from typing import Any
from urllib.parse import quote, unquote

import orjson
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from mlcommons_py.plugin_settings import SETTINGS as PLUGIN_KEYS
from mlcommons_py.rest.paths import ML
from mlcommons_py.rest.routes import TABLE
from mlcommons_py.rest.services import Services
from mlcommons_py.rest.web import web_app
from mlcommons_py.settings import EMBEDDED

TEXTS = st.text(max_size=12)
NAMES = st.sampled_from(
    "name model_id version description persistent transient plugins query match_all size from sort aggs _source"
    " model_format function_name total_chunks model_content_hash_value model_config embedding_dimension text_docs"
    " node_ids model_ids target_stat_levels actions models is_enabled rate_limiter limit unit interface input url"
    "".split()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | TEXTS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=4),
    max_leaves=12,
)
META = {
    "name": "a model",
    "model_format": "TORCH_SCRIPT",
    "function_name": "TEXT_EMBEDDING",
    "model_content_hash_value": "0" * 64,
    "model_content_size_in_bytes": 3,
    "total_chunks": 1,
    "model_config": {
        "model_type": "bert",
        "embedding_dimension": 3,
        "framework_type": "sentence_transformers",
        "all_config": "{}",
    },
}
ODD = VALUES | st.sampled_from(["--5", "9" * 5000, "1_0", "\u0663", "NaN", "", "*", "\0", -1, 1e308])
BODIES = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(NAMES, ODD, max_size=6).map(orjson.dumps),
    st.dictionaries(NAMES | st.sampled_from(sorted(META)), ODD, max_size=2).map(
        lambda changes: orjson.dumps({**META, **changes})
    ),
    st.dictionaries(st.sampled_from(sorted(PLUGIN_KEYS)), ODD, min_size=1, max_size=2).map(
        lambda changes: orjson.dumps({"persistent": changes})
    ),
)
IDS = TEXTS.map(lambda text: quote(text, safe="")) | st.sampled_from(["..", "%00", "%ff", "_search", "-1", "0", "a,b"])


@st.composite
def targets(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a method and a path, mostly of a route, its variables filled in with anything."""
    route = draw(st.sampled_from(TABLE))
    parts = [(draw(IDS) or "x") if part.startswith("{") else part for part in route.path.split("/")]
    method = draw(st.sampled_from(route.methods.split(",")))
    if draw(st.integers(0, 9)) == 0:
        method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"]))
    if draw(st.integers(0, 9)) == 0:
        return method, "/" + quote(draw(st.binary(max_size=30)))
    return method, "/".join(parts)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"accept-encoding", b"content-encoding", b"content-type", b"x-opaque-id", b"host", b"accept"]),
        st.binary(max_size=12)
        | st.sampled_from([b"gzip", b"application/json", b"application/zip", b"gzip;q=x", b"[::", b"text/plain"]),
    ),
    max_size=3,
)
QUERIES = (
    st.just(b"")
    | st.binary(max_size=20)
    | st.sampled_from(
        [
            b"pretty",
            b"filter_path=**",
            b"filter_path=-**.*,a.b",
            b"view=model",
            b"flat_settings",
            b"deploy=true",
            b"%ff=%00",
        ]
    )
)


async def ask(
    app: ASGIApp, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, bytes]:
    """Send a request as uvicorn would pass it on; return the status and the body."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "root_path": "",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query,
        "headers": [*headers, (b"content-length", b"%d" % len(body))],
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
    }
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not incoming:
            await asyncio.Event().wait()
        return incoming.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
async def app(services: Services) -> ASGIApp:
    """The whole API, with uploads allowed."""
    key = "plugins.ml_commons.allow_registering_model_via_local_file"
    await services.cluster_settings.change({"transient": {key: True}})
    return web_app(services, TABLE)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(target=("HEAD", "/_search/_doc/x"), query=b"", headers=[], body=b"", typed=False)
@given(
    target=targets(),
    query=QUERIES,
    headers=HEADERS,
    body=BODIES,
    typed=st.booleans(),
)
async def test_no_request_breaks_the_service(
    app: ASGIApp,
    store_kind: str,
    target: tuple[str, str],
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    typed: bool,
) -> None:
    """Random methods, paths, queries, headers and bodies are answered, and the fault is never the service's."""
    assume(store_kind == EMBEDDED or target[1].startswith(ML))  # the rest is the cluster's
    if typed:
        headers = [(b"content-type", b"application/json"), *headers]

    status, answer = await ask(app, *target, query, headers, body)

    without_body = target[0] == "HEAD"
    nowhere = status == 501 and (without_body or b"no cluster" in answer)
    meant = (status == 503 and "ready" in target[1]) or nowhere
    assert status < 500 or meant, answer

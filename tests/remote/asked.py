"""Connectors and what they are asked, for tests of requests and answers."""

from collections.abc import Mapping
from typing import Any

import orjson

from mlcommons_py import content
from mlcommons_py.remote import payload
from mlcommons_py.remote.documents import Connector
from mlcommons_py.remote.exchange import Incoming
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.input import ModelInput
from mlcommons_py.remote.payload import Prepared

FUNCTIONS = Functions(content.providers())
CREDENTIAL = {"key": "the-secret-of-the-test"}


def connector(
    body: str | None = None,
    parameters: Mapping[str, str] | None = None,
    credential: Mapping[str, str] | None = None,
    **action: Any,
) -> Connector:
    """Return a connector with one action, a predict unless it says otherwise."""
    made = {"action_type": "PREDICT", "method": "POST", "url": "https://provider.example/v1/x", **action}
    return Connector(
        name="of a test",
        parameters=parameters,
        credential=credential,
        actions=[made if body is None else {**made, "request_body": body}],
    )


def prepared(
    of: Connector,
    given: Mapping[str, Any] | None = None,
    action: str = "predict",
    credential: Mapping[str, str] = CREDENTIAL,
    **asked: Any,
) -> list[Prepared]:
    """Return the requests that an input makes."""
    return payload.prepare(of, action, ModelInput(parameters=given, **asked), credential, FUNCTIONS)


def one(of: Connector, given: Mapping[str, Any] | None = None, action: str = "predict", **asked: Any) -> Prepared:
    """Return the one request that an input makes."""
    (request,) = prepared(of, given, action, **asked)
    return request


def sent(body: str, given: Mapping[str, Any] | None = None, own: Mapping[str, str] | None = None) -> str:
    """Return the body that goes out."""
    return one(connector(body, own), given).outgoing.body.decode()


def answer(body: bytes | str | Any, status: int = 200, **headers: str) -> Incoming:
    """Return an answer; a value goes as JSON."""
    raw = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else orjson.dumps(body)
    return Incoming(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)

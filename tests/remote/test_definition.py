"""What a client says of a connector is checked, in ML Commons' words where it has some."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.definition import Definition, check_connector
from mlcommons_py.remote.documents import Connector
from tests.remote.making import FUNCTIONS, Only, openai

NO_ACCESS_CONTROL = (
    "You cannot specify connector access control parameters because the Security plugin or connector access control is"
    " disabled on your cluster."
)
ACTION = openai()["actions"][0]
AWS = {"protocol": "aws_sigv4", "credential": {"access_key": "a", "secret_key": "s"}}


def check(body: dict[str, Any]) -> Connector:
    """Check a body as that of a new connector."""
    definition = Definition.read(body)
    definition.check_complete()
    connector = Connector.from_json({**definition.onto(), "credential": definition.credential})
    check_connector(Only(), FUNCTIONS, connector)
    return connector


def without(*fields: str) -> dict[str, Any]:
    """Return a body that lacks something."""
    return {key: value for key, value in openai().items() if key not in fields}


def action(**changes: Any) -> dict[str, Any]:
    """Return a body whose only action is changed so; None takes a field away."""
    return openai(actions=[{key: value for key, value in {**ACTION, **changes}.items() if value is not None}])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (without("name"), "Connector name is null"),
        (without("version"), "Connector version is null"),
        (without("protocol"), "Connector protocol is null"),
        (without("credential"), "Connector credential is null or empty list"),
        (openai(credential={}), "Connector credential is null or empty list"),
        (
            openai(protocol="ftp"),
            "Unsupported connector protocol. Please use one of [aws_sigv4, http, mcp_sse, mcp_streamable_http]",
        ),
        (
            openai(protocol="mcp_sse"),
            "Connector protocol mcp_sse is not supported by this version; use aws_sigv4 or http",
        ),
        (openai(protocol="aws_sigv4"), "Missing credential"),
        (openai(**AWS), "Missing service name"),
        (openai(**AWS, parameters={"service_name": "x"}), "Missing region"),
        (without("actions"), "No actions configured for this connector"),
        (openai(actions=[]), "No actions configured for this connector"),
        (action(action_type=None), "action type can't be null"),
        (action(url=None), "url can't be null"),
        (action(method=None), "method can't be null"),
        (
            action(action_type="dance"),
            "No enum constant org.opensearch.ml.common.connector.ConnectorAction.ActionType.DANCE",
        ),
        (action(method="PATCH"), "unsupported http method [PATCH]; there are POST, GET, PUT, DELETE"),
        (action(name="x" * 65), "Action name exceeds maximum length of 64 characters"),
        (action(name="a\nb"), "Action name must not contain control characters"),
        (
            action(name="a b"),
            (
                "Action name contains invalid characters. Only alphanumeric characters, hyphens, and underscores are"
                " allowed"
            ),
        ),
        (
            action(name="Predict"),
            (
                "name can't be one of action type [PREDICT, EXECUTE, BATCH_PREDICT, CANCEL_BATCH_PREDICT,"
                " BATCH_PREDICT_STATUS]"
            ),
        ),
        (
            action(headers={"X-Api-Key": "${parameters.key}"}),
            (
                "Header 'X-Api-Key' cannot use ${parameters.*} placeholders for security reasons. Use ${credential.*}"
                " instead."
            ),
        ),
        (action(headers={"a": None}), "[actions[0].headers.a] must be a string"),
        (action(headers={"a": {"b": "c"}}), "[actions[0].headers.a] must be a string"),
        (action(request_body={"a": 1}), "[request_body] must be a string, not dict"),
        (action(request_body="x" * 32_001), "[actions[0].request_body] has more than 32000 bytes"),
        (openai(parameters={"a": "é" * 16_000}), "[parameters.a] has more than 32000 bytes, its name included"),
        (openai(credential={"a": {"b": "s3cret"}}), "[credential.a] must be a string"),
        (openai(credential={"a": None}), "[credential.a] must be a string"),
        (openai(credential="s3cret"), "[credential] must be an object, not str"),
        (openai(actions={"predict": {}}), "[actions] must be a list of objects"),
        (openai(client_config={"retry_backoff_policy": "never"}), "Unsupported retry backoff policy"),
        (openai(client_config={"max_retry_times": -2}), "[max_retry_times] must be at least -1, not -2"),
        (openai(client_config={"max_connection": 0}), "[max_connection] must be at least 1, not 0"),
        (openai(client_config={"read_timeout": "x"}), "[read_timeout] must be a whole number, not str"),
        (
            openai(client_config={"mutual_tls_enabled": True}),
            "For PEM keystore, provide both client_cert_pem and client_key_pem",
        ),
        (
            openai(client_config={"keystore_type": "JKS"}),
            "Unsupported keystore type: JKS. Supported types are: PEM, PKCS12",
        ),
        (
            openai(parameters={}),
            (
                "[parameters.endpoint] is in the host of the connector's url and has no value; set it in the"
                " connector's parameters, a request cannot"
            ),
        ),
        (openai(url="https://x/"), "[url] is for MCP connectors; each of [actions] has its own"),
        (openai(tenant_id="t"), "[tenant_id] cannot be given: there are no tenants in this version"),
        (openai(connector_id="-x"), "connector id must not start with '-'"),
        (openai(name="x" * 257), "[name] has 257 characters, 256 are allowed"),
        *(
            (
                openai(**{field: value}),
                NO_ACCESS_CONTROL,
            )
            for field, value in (("access_mode", "public"), ("backend_roles", ["a"]), ("add_all_backend_roles", False))
        ),
    ],
)
def test_refused(body: dict[str, Any], reason: str) -> None:
    """A body that lacks something, or has something wrong, is refused with a text that says what."""
    with pytest.raises(IllegalArgument) as refused:
        check(body)

    assert refused.value.reason == reason
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (openai(request_body="{}"), "[request_body]"),
        (action(post_process="x"), "[actions[0].post_process]"),
        (openai(client_config={"timeout": 5}), "[client_config.timeout]"),
    ],
)
def test_unknown_fields(body: dict[str, Any], field: str) -> None:
    """A field that would be dropped is refused by its name, with those that there are."""
    with pytest.raises(IllegalArgument, match=r"unknown field .*; (a connector has|there are) ") as refused:
        check(body)

    assert field in refused.value.reason


@pytest.mark.parametrize("side", ["pre_process_function", "post_process_function"])
def test_scripts(side: str) -> None:
    """A function that cannot be run is refused at once, with what to do instead."""
    kind = side.removesuffix("_function")
    check(action(**{side: f"connector.{kind}.openai.embedding"}))

    with pytest.raises(IllegalArgument, match=rf"^\[{side}\] is a Painless script that is not one of those published"):
        check(action(**{side: "return params.x;"}))
    with pytest.raises(IllegalArgument, match=rf"^\[connector.{kind}.openal\] is no {side}; there are connector"):
        check(action(**{side: f"connector.{kind}.openal"}))


def test_accepted() -> None:
    """What ML Commons takes is taken: AWS with region and service among the credentials, any header elsewhere, null."""
    credential = {"access_key": "a", "secret_key": "s", "region": "us-east-1", "service_name": "bedrock"}
    aws = {"protocol": "aws_sigv4", "credential": credential, "actions": [{**ACTION, "headers": {}}]}
    assert check(openai(**aws)).protocol == "aws_sigv4"
    assert check(action(headers={"X-Trace": "${parameters.trace}", "n": 5})).actions[0]["headers"]["n"] == "5"  # type: ignore[index]
    assert check(openai(parameters=None, description=None, actions=[{**ACTION, "url": Only.beginning}])).name
    assert check(openai(backend_roles=[], access_mode=None)).access is None
    connector = check(
        openai(client_config={"retry_backoff_policy": "EXPONENTIAL_FULL_JITTER", "max_retry_times": "-1"})
    )
    assert connector.client_config == {
        "max_connection": 30,
        "connection_timeout": 30,
        "read_timeout": 30,
        "retry_backoff_millis": 200,
        "retry_timeout_seconds": 30,
        "max_retry_times": -1,
        "retry_backoff_policy": "exponential_full_jitter",
        "skip_ssl_verification": False,
    }


def test_parameters_become_texts() -> None:
    """Parameters that are no texts are stored as their JSON."""
    given = {"n": 1.0, "big": 9007199254740993, "b": True, "none": None, "list": ["a", {"é": 1}], "text": "1.0"}

    assert check(openai(parameters={"endpoint": "api.openai.com", **given})).parameters == {
        "endpoint": "api.openai.com",
        "n": "1.0",
        "big": "9007199254740993",
        "b": "true",
        "none": "null",
        "list": '["a",{"é":1}]',
        "text": "1.0",
    }


TEXTS = st.text(max_size=8) | st.sampled_from(
    ["${parameters.endpoint}", "${parameters.x:-${parameters.x}}", "\0", "http", "-1"]
)
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_odd_bodies(data: st.DataObject) -> None:
    """A body with something odd anywhere is refused as the client's mistake, or stored as texts with nothing lost."""
    body = openai(client_config={"read_timeout": 5})
    place: Any = data.draw(st.sampled_from([body, body["actions"][0], body["client_config"], body["parameters"]]))
    place[data.draw(st.sampled_from(sorted(place)) | TEXTS)] = data.draw(ODD)
    body["credential"] = data.draw(st.dictionaries(TEXTS, TEXTS | ODD, min_size=1, max_size=2) | ODD)
    try:
        connector = check(body)
    except IllegalArgument:
        return

    stored = Connector.from_json(orjson.loads(orjson.dumps(connector.to_json())))
    assert stored.credential == {
        name: value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in body["credential"].items()
    }
    for name, value in (body["parameters"] or {}).items():
        text = (stored.parameters or {})[name]
        assert text == value if isinstance(value, str) else orjson.loads(text) == value
    assert len(list(stored.each_action)) == len(body["actions"] or ())

"""URLs with placeholders: what a request can change of them, and what it cannot."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import url
from mlcommons_py.remote.parameters import Parameters
from tests.remote.asked import connector, one

TEMPLATE = "https://${parameters.endpoint}/models/${parameters.model}/invoke?version=${parameters.version}"
OWN = {"endpoint": "api.example.com", "model": "small", "version": "1"}


def filled(given: dict[str, Any], own: dict[str, str] | None = None, template: str = TEMPLATE) -> str:
    """Return the URL that is called."""
    return url.fill(template, Parameters(own=OWN if own is None else own, given=given))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, "https://api.example.com/models/small/invoke?version=1"),
        ({"model": "anthropic.claude-v1:0"}, "https://api.example.com/models/anthropic.claude-v1:0/invoke?version=1"),
        ({"model": "a/b"}, "https://api.example.com/models/a%2Fb/invoke?version=1"),
        ({"model": "a%2Fb"}, "https://api.example.com/models/a%2Fb/invoke?version=1"),
        ({"model": "a?b#c"}, "https://api.example.com/models/a%3Fb%23c/invoke?version=1"),
        ({"model": "é %"}, "https://api.example.com/models/%C3%A9%20%25/invoke?version=1"),
        ({"model": "a\\b\r\nHost: x"}, "https://api.example.com/models/a%5Cb%0D%0AHost:%20x/invoke?version=1"),
        ({"version": "1&key=2#x"}, "https://api.example.com/models/small/invoke?version=1%26key%3D2%23x"),
        ({"version": 2}, "https://api.example.com/models/small/invoke?version=2"),
        ({"endpoint": "api.example.com"}, "https://api.example.com/models/small/invoke?version=1"),
    ],
)
def test_what_a_request_sends_is_text(sent: dict[str, Any], expected: str) -> None:
    """A value that a request sends is encoded, wherever it is in the URL."""
    assert filled(sent) == expected


@pytest.mark.parametrize(
    "host", ["evil.example", "api.example.com@evil.example", "api.example.com:81", "evil.example/#"]
)
def test_a_request_does_not_change_the_host(host: str) -> None:
    """A request cannot set what the host of the URL is made of."""
    with pytest.raises(IllegalArgument, match=r"^\[parameters\.endpoint\] is in the host of the connector's url"):
        filled({"endpoint": host})


def test_a_request_does_not_set_the_host() -> None:
    """A request cannot set what the connector leaves open in the host either."""
    with pytest.raises(IllegalArgument, match=r"^\[parameters\.region\] is in the host"):
        filled({"region": "evil.example/"}, {}, "https://bedrock.${parameters.region}.amazonaws.com/")


def test_a_batch_job_does_not_change_the_host() -> None:
    """What a provider says of a batch job may have the name of a part of the host; the connector's own value counts."""
    batches = connector(
        None,
        {"endpoint": "api.example.com"},
        action_type="BATCH_PREDICT_STATUS",
        method="GET",
        url="https://${parameters.endpoint}/v1/batches/${parameters.id}",
    )

    request = one(batches, {"id": "b_1", "endpoint": "/v1/chat"}, "batch_predict_status")

    assert request.outgoing.url == "https://api.example.com/v1/batches/b_1"


@pytest.mark.parametrize("part", [".", "..", "%2e%2E", "%2E", ""])
def test_a_request_does_not_climb_in_the_path(part: str) -> None:
    """A value cannot make a path segment vanish or go up."""
    with pytest.raises(IllegalArgument, match=r"\[parameters\.model\] is in the path"):
        filled({"model": part})


def test_dots_do_not_come_together() -> None:
    """Values that are harmless alone do not make a segment of dots together."""
    with pytest.raises(IllegalArgument, match=r"must not have the segments \[\.\] and \[\.\.\]"):
        filled({"a": ""}, {}, "https://host.example/${parameters.b:-.}./x")
    with pytest.raises(IllegalArgument):
        filled({"a": ".", "b": "."}, {}, "https://host.example/${parameters.a}${parameters.b}/x")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_text_changes_the_structure(text: str) -> None:
    """Whatever text is sent, host, number of path segments, and names in the query are those of the template."""
    try:
        made = URL(filled({"model": text, "version": text}), encoded=True)
    except IllegalArgument:
        assert text.strip(".") == "" or "%2" in text.lower()
        return

    assert (made.scheme, made.raw_authority) == ("https", "api.example.com")
    assert [part for position, part in enumerate(made.raw_path.split("/")) if position != 2] == ["", "models", "invoke"]
    assert list(made.query) == ["version"]
    assert made.query["version"] == text
    assert made.raw_fragment == ""


def test_what_the_connector_says_stands() -> None:
    """The connector's own values may have a path, a port and a query, and name each other."""
    own = {"endpoint": "${parameters.host}:8080/v1", "host": "localhost", "model": "a/b", "version": "1&x=2"}

    assert filled({}, own) == "http://localhost:8080/v1/models/a/b/invoke?version=1&x=2".replace("http:", "https:")
    assert filled({}, {"all": "http://a.example/b?c=d"}, "${parameters.all}") == "http://a.example/b?c=d"


@pytest.mark.parametrize(
    ("template", "own", "said"),
    [
        ("https://a.example/${parameters.x}", {}, "^Some parameter placeholder not filled in url: x$"),
        ("https://a.example/?key=${credential.key}", {}, r"^\$\{credential\.key\} cannot be used in a url"),
        ("a.example/x", {}, "^Invalid URI. Please check if the endpoint is valid from connector: a.example/x$"),
        ("https://", {}, "^Invalid URI"),
        ("https:///path", {}, "^Invalid URI"),
        ("https://a example/", {}, "^Invalid URI"),
        ("https://a.example\\@b.example/", {}, "^Invalid URI"),
        ("https://${parameters.a}/", {"a": "${parameters.b}", "b": "${parameters.a}"}, "in a circle"),
        ("https://${parameters.a}/", {"a": "${parameters.a}${parameters.a}"}, "in a circle"),
        ("https://a.example/${parameters.x}", {"x": "y" * 9000}, "8192 are allowed"),
    ],
)
def test_what_is_no_url_is_refused(template: str, own: dict[str, str], said: str) -> None:
    """A URL that cannot be called is refused with what is wrong with it."""
    with pytest.raises(IllegalArgument, match=said):
        filled({}, own, template)


def test_what_is_known_of_a_url() -> None:
    """Before anything is asked, a URL is known as far as the connector itself says it."""
    assert url.known(TEMPLATE, {"endpoint": "a.example"}) == (
        "https://a.example/models/${parameters.model}/invoke?version=${parameters.version}"
    )

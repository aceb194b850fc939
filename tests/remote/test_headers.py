"""Header fields of requests to providers."""

from typing import Any

import pytest

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import headers
from mlcommons_py.remote.filling import Filling
from mlcommons_py.remote.parameters import Parameters
from tests.remote.asked import connector, one

GUARDED = (
    "authorization proxy-authorization cookie x-api-key x-auth-token x-auth-header x-forwarded-for x-real-ip"
    " x-client-ip cf-connecting-ip true-client-ip x-originating-ip host x-forwarded-host x-forwarded-server forwarded"
).split()


def filled(given: dict[str, Any], own: dict[str, str] | None = None, **fields: str) -> dict[str, str]:
    """Return the header fields that go out; ``_`` in a name stands for ``-``."""
    template = {name.replace("_", "-"): value for name, value in fields.items()}
    return headers.fill(template, Filling(Parameters(own=own or {}, given=given)), {"key": "s3cret ${parameters.x}"})


def test_fields_are_filled() -> None:
    """Credentials and parameters are put in as they are; nothing in them is expanded."""
    made = filled(
        {"x": "é ${parameters.y} ${credential.key}", "n": [1, 1.5]},
        {"own": "<${parameters.n}>"},
        Authorization="Bearer ${credential.key}",
        X_User="${parameters.x}",
        X_List="${parameters.own}",
        X_Default="${parameters.none:-plain}",
    )

    assert made == {
        "Authorization": "Bearer s3cret ${parameters.x}",
        "X-User": "é ${parameters.y} ${credential.key}",
        "X-List": "<[1,1.5]>",
        "X-Default": "plain",
        "Content-Type": "application/json",
    }


def test_the_content_type_is_the_connectors() -> None:
    """A Content-Type is added only where the connector has none, in whatever case."""
    assert filled({}, content_type="text/plain") == {"content-type": "text/plain"}


@pytest.mark.parametrize("name", [*GUARDED, "AuthoriZation", "X-API-Key"])
def test_who_asks_cannot_be_a_parameter(name: str) -> None:
    """A field that tells who asks, or for which host, takes no parameters, not even the connector's own."""
    said = (
        f"Header '{name}' cannot use ${{parameters.*}} placeholders for security reasons."
        " Use ${credential.*} instead."
    )
    with pytest.raises(IllegalArgument) as raised:
        headers.fill({name: "a ${parameters.x}"}, Filling(Parameters(own={"x": "y"})), {})

    assert raised.value.reason == said


@pytest.mark.parametrize("name", ["X-Api-Key", "Authorization"])
def test_a_request_cannot_set_a_credential(name: str) -> None:
    """Parameters named like a credential, or like a field, change nothing of what the connector sends as its own."""
    keyed = connector('{"a":1}', headers={name: "${credential.key}"})

    request = one(keyed, {"key": "mine", "credential": {"key": "mine"}, "credential.key": "mine", name: "mine"})

    assert request.outgoing.headers[name] == "the-secret-of-the-test"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0", "\x7f", "\x1b"])
def test_control_characters_are_refused(value: str) -> None:
    """A value cannot begin another field."""
    with pytest.raises(IllegalArgument, match=r"^Header value contains invalid control character$"):
        filled({"x": value}, X_User="${parameters.x}")


def test_tabs_are_fine() -> None:
    """A tab is white space in a field."""
    assert filled({"x": "a\tb"}, X_User="${parameters.x}")["X-User"] == "a\tb"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("${parameters.none}", "Header 'X-User' contains unresolved placeholder. Required parameter is missing."),
        (
            "${credential.none}",
            "Header 'X-User' contains unresolved placeholder. Required credential is missing: give [credential.none].",
        ),
    ],
)
def test_what_is_missing_is_said(template: str, said: str) -> None:
    """A field that lacks a value is named."""
    with pytest.raises(IllegalArgument) as raised:
        filled({}, X_User=template)

    assert raised.value.reason == said


def test_sizes_are_bounded() -> None:
    """A field has 8 KB at most, all fields together 64 KB."""
    with pytest.raises(IllegalArgument, match=r"^Header size \(key \+ value\) exceeds 8KB limit$"):
        filled({"x": "a" * 8187}, X_User="${parameters.x}")
    with pytest.raises(IllegalArgument, match=r"^Total headers size \(key \+ value\) exceeds 64KB limit$"):
        filled({"x": "a" * 8000}, None, **{f"X_{number}": "${parameters.x}" for number in range(9)})


def test_names_are_names() -> None:
    """A name that is none of a header field is refused."""
    with pytest.raises(IllegalArgument, match=r"is not a name of a header field$"):
        headers.check({"X-User: 1\r\nX": "a"})


def test_a_request_does_not_show_its_secrets() -> None:
    """What a request is logged as has no credential in it."""
    request = one(connector('{"a":1}', headers={"Authorization": "Bearer ${credential.key}"}))

    assert "the-secret-of-the-test" not in repr(request)

"""What is said to a provider, and what it says, as guardrails get to see it."""

from collections.abc import Mapping
from typing import Any

import pytest

from mlcommons_py.remote.input import ModelInput
from mlcommons_py.remote.spoken import asks_alone, said, shown
from tests.remote.asked import CREDENTIAL, FUNCTIONS, answer, connector, one, prepared

URL = "https://provider.example/v1"


@pytest.mark.parametrize(
    ("action", "own", "given", "beside"),
    [
        ({}, {}, {"q": "b"}, []),
        ({"url": f"{URL}/${{parameters.model}}"}, {"model": "m 123"}, {"q": "b"}, []),
        ({"url": f"{URL}/${{parameters.model}}"}, {}, {"q": "b", "model": "ü?"}, ["ü?"]),
        (
            {"url": f"{URL}?a=${{parameters.q}}${{parameters.r}}&b=${{parameters.s}}"},
            {},
            {"q": "b", "r": "ad", "s": 1},
            ["bad\n1"],
        ),
        ({"url": f"{URL}/${{parameters.m}}"}, {}, {"q": "b", "m": "x%2fb%61d"}, ["x%2fb%61d", "x/bad"]),
        ({"url": f"{URL}?a=${{parameters.w}}"}, {"w": "own ${parameters.q}"}, {"q": "b\x02ad\x03"}, ["bad"]),
        ({"headers": {"X": "${credential.key} ${parameters.q}", "Y": "y"}}, {}, {"q": "b"}, ["b"]),
    ],
)
def test_values_beside_the_body(
    action: dict[str, Any], own: Mapping[str, str], given: Mapping[str, Any], beside: list[str]
) -> None:
    """The request's values in the URL and in headers are seen, joined as they stand; not the connector's."""
    request = one(connector('{"q":"${parameters.q}"}', own, **action), given)

    assert said(request) == [request.payload, *beside]


@pytest.mark.parametrize(
    ("content_type", "read"),
    [("application/x-www-form-urlencoded", 'q=a & "é"'), ("application/soap+xml", 'q=a & "é"'), ("text/plain", None)],
)
def test_bodies_whose_values_are_encoded(content_type: str, read: str | None) -> None:
    """Of a form and of XML what their receiver reads is seen, too."""
    request = one(connector("q=${parameters.q}", headers={"Content-Type": content_type}), {"q": 'a & "é"'})

    assert said(request) == [request.payload, *([] if read is None else [read])]


@pytest.mark.parametrize(
    ("own", "asked", "alone"),
    [
        ({}, {"question": "q"}, True),
        ({"context": "own"}, {"question": "q"}, True),
        ({"context": "own"}, {"question": "q", "unused": "text", "max_tokens": 10, "stream": True}, True),
        ({"context": "own"}, {"question": "q", "response_filter": "$.a"}, True),
        ({"context": "own"}, {"question": "q", "context": "given"}, False),
        ({}, {"question": "q", "context": "given"}, False),
        ({"context": "own"}, {"question": "q", "context": 4111111111111111}, False),
        ({"context": "own"}, {"question": "q", "http": "x"}, False),
        (
            {"context": "own"},
            {"question": "q", "input_processors": [{"type": "set_field", "path": "$.new", "value": "text"}]},
            False,
        ),
        ({"context": "own"}, {"other": "x"}, False),
        ({"context": "own"}, {"question": ["q"]}, False),
    ],
)
def test_a_question_that_is_alone(own: Mapping[str, str], asked: Mapping[str, Any], alone: bool) -> None:
    """A question is alone where all else that goes out is the connector's, or says nothing."""
    made = connector(
        '{"q":"${parameters.question:-}","c":"${parameters.context:-}"}', own, url=f"{URL}?x=${{parameters.http:-}}"
    )
    requests = prepared(made, asked)

    assert asks_alone(requests, made, "predict", ModelInput(parameters=asked), CREDENTIAL, FUNCTIONS) is alone


@pytest.mark.parametrize(
    ("body", "content_type", "texts"),
    [
        ("é".encode(), "text/plain", ["é"]),
        ("é".encode(), "text/plain; charset=iso-8859-1", ["Ã©", "é"]),
        ("é".encode("latin-1"), "text/plain; charset=iso-8859-1", ["é"]),
        ("é".encode("latin-1"), "text/plain", ["\ufffd"]),
        (b"a", "text/plain; charset=punycode", ["a"]),
    ],
)
def test_readings_of_an_answer(body: bytes, content_type: str, texts: list[str]) -> None:
    """An answer is seen in the character set that it claims, and in UTF-8 where it is that as well."""
    assert shown(answer(body, content_type=content_type), one(connector('{"a":1}'))) == texts

"""What every call of a connector would fail at is found when it is made."""

from collections.abc import Mapping
from typing import Any

import pytest

from mlcommons_py import content
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.definition import Definition
from mlcommons_py.remote.documents import Connector
from mlcommons_py.remote.rehearsal import rehearse
from tests.remote.asked import FUNCTIONS, connector, sent


def check(body: str | None = None, own: Mapping[str, str] | None = None, **action: Any) -> None:
    """Rehearse a connector with one action and the credential ``key``."""
    rehearse(connector(body, own, {"key": "s3cret"}, **action), FUNCTIONS)


def refusal(body: str | None = None, own: Mapping[str, str] | None = None, **action: Any) -> str:
    """Return why a connector is refused."""
    with pytest.raises(IllegalArgument) as refused:
        check(body, own, **action)
    return refused.value.reason


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"a": "${parameters.x}}', "Unterminated string"),
        ('{"a": ${parameters.x}, }', 'between [{"a": null,'),
        ('{"a": Human: ${parameters.x}}', "Expecting value between"),
        ('{"a": "b" "c": "${parameters.x}"}', "Expecting ',' delimiter"),
        ("say ${parameters.x} to me", "Expecting value"),
        ("{'a': 1}", "Expecting property name"),
        ('{"a": NaN}', "a number or a word that JSON does not have"),
        ('{"a": 1}\n{"b": }', "Extra data"),
        ("", "it is empty; leave it out"),
    ],
)
def test_no_json(body: str, said: str) -> None:
    """A body that is no JSON however it is filled is refused with the place where it is none."""
    reason = refusal(body)

    assert reason.startswith("[actions[0].request_body] is no JSON, whatever its placeholders are filled with: ")
    assert said in reason


@pytest.mark.parametrize(
    ("body", "own"),
    [
        ('{"a": "${parameters.x}", "b": ${parameters.y}}', {}),
        ('{"a": "${parameters.x:-null}", "b": ${parameters.y:-[1, {"c": 2}]}}', {}),
        ('[${parameters._chat_history:-}{"role": "user"}]', {}),
        ('{"a": ${parameters.x}', {}),  # for who gives 1} as x
        ("${parameters.input}", {}),
        ('{"index": {}}\n{"a": ${parameters.x}}', {}),
        ('{"a": "${parameters.x}"}', {"x": "${parameters.x}"}),
        ('{"a": "${parameters.x}"}', {"y": "${parameters.z}", "z": "${parameters.y}"}),
        ('{"a": "${parameters.x}"}', {"x": "${parameters.y} ${parameters.y}", "y": "${parameters.z:-${parameters.v}}"}),
    ],
)
def test_what_a_request_can_make_right(body: str, own: Mapping[str, str]) -> None:
    """A body that some request makes JSON of passes; so does a parameter that every request has to bring."""
    check(body, own)


def test_what_passes_can_be_sent() -> None:
    """The odd bodies that pass are sent by the right request."""
    assert sent('{"a": ${parameters.x}', {"x": "1}"}) == '{"a": 1}'
    assert sent('{"a": "${parameters.x}"}', {"x": "b"}, {"x": "${parameters.x}"}) == '{"a": "b"}'


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "application/xml"])
def test_texts(content_type: str) -> None:
    """A body that is not meant to be JSON passes, whatever is in it."""
    check("say <${parameters.x}>", headers={"Content-Type": content_type})


@pytest.mark.parametrize(
    ("body", "own", "where"),
    [
        ('{"a": "${credential.key}"}', {}, "[actions[0].request_body]"),
        ('{"a": ${parameters.x}}', {"x": "k ${credential.key}"}, "[parameters.x]"),
        ('{"a": ${parameters.x:-${credential.key}}}', {}, "[actions[0].request_body]"),
    ],
)
def test_credentials_in_bodies(body: str, own: Mapping[str, str], where: str) -> None:
    """A credential in a body is refused, also where a parameter would bring it there."""
    assert refusal(body, own) == f"${{credential.key}} can be used in headers only, not in {where}"


def test_credentials_in_headers() -> None:
    """A field may have a credential that there is, and no other."""
    check(headers={"Authorization": "Bearer ${credential.key}"})

    assert refusal(headers={"Authorization": "Bearer ${credential.keys}"}) == (
        "Header 'Authorization' contains unresolved placeholder. Required credential is missing: give"
        " [credential.keys]."
    )
    assert refusal(None, {"x": "${credential.key}"}, headers={"X-User": "${parameters.x}"}) == (
        "${credential.key} can be used in headers only, not in [parameters.x]"
    )


@pytest.mark.parametrize("field", ["body", "header", "function"])
def test_circles(field: str) -> None:
    """Parameters that name each other are refused wherever they are used, with the way round."""
    own = {"a": "x ${parameters.b}", "b": "${parameters.c:-1} ${parameters.d}", "d": "${parameters.b}"}
    value = "${parameters.a}"
    reason = {
        "body": lambda: refusal(f'{{"v": "{value}"}}', own),
        "header": lambda: refusal(None, own, headers={"X-User": value}),
        "function": lambda: refusal(None, own, pre_process_function=value),
    }[field]()

    assert reason == "the connector's parameters name each other in a circle: b -> d -> b"


def test_long_chains() -> None:
    """Parameters that are used again and again are looked at once, and a chain that is too long is refused."""
    twice = {f"p{number}": f"${{parameters.p{number + 1}}}" * 2 for number in range(60)}
    check('{"a": "${parameters.p0}"}', twice)

    chain = {f"p{number}": f"${{parameters.p{number + 1}}}" for number in range(5000)}
    assert refusal('{"a": "${parameters.p0}"}', chain) == "the templates of [actions[0]] nest too deep"


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"response_filter": "$.a["}, "[parameters.response_filter]: [$.a[] is no JSONPath"),
        (
            {"input_processors": '[{"type": "dance"}]'},
            "[parameters.input_processors]: Invalid ML processor type: dance",
        ),
        (
            {"output_processors": '[{"type": "regex_replace", "pattern": "(?=a)"}]'},
            "[parameters.output_processors]: Invalid regex pattern: (?=a)",
        ),
        ({"output_processors": "{"}, "[parameters.output_processors]: processors must be a JSON list of objects"),
        ({"charset": "klingon"}, "[parameters.charset]: there is no character set [klingon]"),
    ],
)
def test_parameters_with_a_meaning(own: Mapping[str, str], reason: str) -> None:
    """A wrong path, list of processors or character set is refused, and its parameter named."""
    assert refusal("{}", own).startswith(reason)


def test_functions() -> None:
    """A function that is not known is refused, also where a parameter names it; a request may still name one."""
    known = {"f": "openai.embedding"}
    check("{}", known, post_process_function="connector.post_process.${parameters.f}")
    check("{}", {}, post_process_function="connector.post_process.${parameters.f}")
    check("{}", {}, post_process_function=" ")

    said = "[connector.pre_process.openal] is no pre_process_function"
    assert refusal("{}", pre_process_function="connector.pre_process.openal").startswith(said)
    assert refusal("{}", {"f": "openal"}, pre_process_function="connector.pre_process.${parameters.f}").startswith(said)


@pytest.mark.parametrize("name", content.names("blueprints"))
def test_blueprints(name: str) -> None:
    """Every blueprint passes."""
    definition = Definition.read(content.read("blueprints", name)["connector"])
    rehearse(Connector.from_json({**definition.onto(), "credential": definition.credential}), FUNCTIONS)

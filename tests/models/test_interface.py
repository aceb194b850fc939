"""The schemas of a model's interface: what they let pass, and what they cannot do to the service."""

import asyncio
import json
import socket
import time
from typing import Any

import numpy as np
import pytest

from mlcommons_py import content
from mlcommons_py.errors import BadRequest, IllegalArgument
from mlcommons_py.models.interface import Interface, Interfaces
from mlcommons_py.models.schema import MAX_DEPTH, SECONDS
from tests.guard.means import longest_pause

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "parameters": {
            "type": "object",
            "properties": {
                "prompt": {"type": "string"},
                "count": {"type": "integer"},
                "list": {"type": "array", "items": {"type": "number"}},
            },
            "required": ["prompt"],
            "additionalProperties": False,
        }
    },
    "required": ["parameters"],
}
NESTED: dict[str, Any] = {
    "properties": {"parameters": {"properties": {"a": {"$ref": "#/$defs/list"}}}},
    "$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}}},
}


def of(side: str, schema: Any) -> Interface:
    """Return the interface of a model that has a schema on one side."""
    made = Interfaces().of({side: schema})
    assert made is not None
    return made


async def fault(schema: Any, instance: Any, side: str = "input") -> str | None:
    """Return what is wrong with an instance; None where nothing is."""
    made = of(side, schema)
    try:
        await (made.check_input(instance) if side == "input" else made.check_output(instance))
    except BadRequest as refused:
        before, _, after = refused.reason.partition("Validation failed: ")
        assert before == (
            f"Error validating {side} schema, if you think this is expected, please update your '{side}' field in the"
            " 'interface' field for this model: "
        )
        return after
    return None


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"prompt": "hi"}, None),
        ({"prompt": "hi", "count": 3, "list": [1, 2.5]}, None),
        ({"prompt": "hi", "count": "3", "list": "[1, 2.5]"}, None),
        ({"prompt": "5.11"}, None),
        ({"prompt": '{"a": 1}'}, None),
        ({"prompt": 5}, None),
        ({"prompt": ["a"]}, None),
        ({}, "[/parameters: 'prompt' is a required property]"),
        ({"prompt": None}, "[/parameters/prompt: null found, string expected]"),
        ({"prompt": "hi", "count": "3 apples"}, "[/parameters/count: string found, integer expected]"),
        ({"prompt": "hi", "list": [1, "x"]}, "[/parameters/list/1: string found, number expected]"),
        ({"prompt": "hi", "x": 1}, "[/parameters: additional properties are not allowed: x]"),
    ],
)
async def test_input(parameters: dict[str, Any], found: str | None) -> None:
    """The whole input is validated; a parameter that is a text counts as what it says, unless it is to be a text."""
    assert await fault(PARAMETERS, {"algorithm": "REMOTE", "parameters": parameters}) == found


@pytest.mark.parametrize(
    ("schema", "instance", "found"),
    [
        ({"properties": {"a": {"pattern": "^x+$"}}}, {"a": "y"}, "[/a: does not match the pattern ^x+$]"),
        ({"properties": {"a": {"pattern": r"\p{Greek}"}}}, {"a": "λ"}, None),
        ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": "x"}, "[/n_a: string found, integer expected]"),
        (
            {"patternProperties": {"^n_": {}}, "additionalProperties": False},
            {"n_a": 1, "b": 2},
            "[: additional properties are not allowed: b]",
        ),
        ({"additionalProperties": {"type": "integer"}}, {"a": "x"}, "[/a: string found, integer expected]"),
        (
            {"properties": {"a": {"uniqueItems": True}}},
            {"a": [1, {"b": 1}, {"b": 1.0}]},
            "[/a: has the same item twice]",
        ),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [1, True, "1", [1]]}, None),
        ({"properties": {"a/b~": {"type": "null"}}}, {"a/b~": 1}, "[/a~1b~0: integer found, null expected]"),
        ({"properties": {"a": {"enum": [1, 2]}}}, {"a": 3}, "[/a: does not hold to [enum] of [1,2]]"),
        ({"properties": {"a": {"enum": ["x" * 300]}}}, {"a": 3}, "[/a: does not hold to [enum]]"),
        ("false", {"a": 3}, "[: nothing is allowed here]"),
        ({"$ref": "#"}, {}, "[: the schema refers to itself without end]"),
        ({"properties": {"a": {"multipleOf": 0.1}}}, {"a": 1e300}, None),
        ({"$id": "http://x/y", "$defs": {"a": {"$anchor": "q"}}, "$ref": "y#q"}, {}, None),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": "object"}, None),
    ],
)
async def test_keywords(schema: Any, instance: Any, found: str | None) -> None:
    """What is wrong is told by JSON pointer and reason."""
    assert await fault(schema, instance) == found


async def test_schema_is_not_shown() -> None:
    """However much is wrong, and however large schema and value are, the text stays short and shows neither whole."""
    schema = {"properties": {"a": {"items": {"anyOf": [{"const": "s" * 500}, {"type": "integer"}]}}}}
    found = await fault(schema, {"a": ["v" * 500] * 100})
    assert found is not None
    assert len(found) < 1000
    assert "sss" not in found
    assert "vvv" not in found


async def test_output() -> None:
    """The whole answer is validated, with vectors as the numbers that the client sees."""
    schema = {
        "properties": {
            "inference_results": {
                "items": {"properties": {"output": {"items": {"properties": {"data": {"items": {"type": "number"}}}}}}},
                "maxItems": 1,
            }
        }
    }
    entry = {"output": [{"name": "sentence_embedding", "data": np.zeros(3, np.float32)}]}
    assert await fault(schema, {"inference_results": [entry]}, "output") is None
    assert await fault(schema, {"inference_results": [entry] * 2}, "output") == (
        "[/inference_results: does not hold to [maxItems] of 1]"
    )


async def test_one_side_only() -> None:
    """A side without a schema lets everything pass."""
    await of("input", {"type": "null"}).check_output({"inference_results": []})
    assert Interfaces().of(None) is None
    assert Interfaces().of({}) is None


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ("{", "is no valid JSON"),
        ("[" * 10_000, "is no valid JSON"),
        ('{"items":' * 200 + "{}" + "}" * 200, f"nests objects and arrays more than {MAX_DEPTH} deep"),
        (json.dumps({"description": "x" * 300_000}), "262144 are allowed"),
        ("3", "is no JSON schema (draft 2020-12): : integer found, object or boolean expected"),
        ({"type": "objekt"}, "is no JSON schema (draft 2020-12): /type:"),
        ({"properties": {"a": {"minLength": "x"}}}, "/properties/a/minLength: string found, integer expected"),
        ({"$ref": "#/$defs/none"}, "refers to [#/$defs/none], which it does not have; nothing is fetched"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "refers to [other.json], which it does not have"),
        ({"$dynamicRef": "#none"}, "refers to [#none], which it does not have"),
        ({"$ref": "file:///etc/passwd"}, "refers to [file:///etc/passwd], which it does not have"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "[interface.input.pattern] cannot use the expression [(?=a)]"),
        ({"patternProperties": {"(a)\\1": {}}}, "back-references are not supported"),
        ({"pattern": "a" * 10_001}, "has an expression of 10001 characters"),
        (
            {"patternProperties": {"a": {}}, "unevaluatedProperties": False},
            "has [patternProperties] beside [unevaluatedProperties]",
        ),
    ],
)
async def test_refused_schemas(schema: Any, text: str) -> None:
    """What is no schema, refers elsewhere, or cannot be run in bounded time is refused before it is stored."""
    with pytest.raises(IllegalArgument, match=r"^\[interface.input") as raised:
        await Interfaces().check({"interface": {"input": schema}})
    assert text in raised.value.reason


async def test_patterns_in_data_are_no_patterns() -> None:
    """What looks like a pattern or a reference where a schema has data, or names of fields, is neither."""
    data = {"pattern": "(?=a)", "$ref": "http://127.0.0.1/"}
    schema = {
        "properties": {"pattern": {"const": data}, "$ref": {"type": "string"}},
        "default": data,
        "enum": [data, {}],
    }
    await Interfaces().check({"interface": {"input": schema}})
    assert await fault(schema, {}) is None


async def test_nothing_is_fetched() -> None:
    """A reference to a server is refused, also one that another service stored, and the server hears nothing of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for schema in ({"$ref": url}, {"$id": url, "$ref": "other.json"}, {"$schema": url, "items": {"$ref": url}}):
            with pytest.raises(IllegalArgument):
                await Interfaces().check({"interface": {"input": schema}})
            with pytest.raises(IllegalArgument):
                await of("output", json.dumps(schema)).check_output({})
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("depth", [101, 900, 10_000])
async def test_deep_instances(depth: int) -> None:
    """A value of any depth is refused in no time, however the schema recurses."""
    deep = "[" * depth + "]" * depth
    began = time.process_time()
    assert await fault(NESTED, {"parameters": {"a": deep}}) is not None
    assert time.process_time() - began < 1


async def test_depth_that_passes() -> None:
    """A value as deep as a body may be is validated."""
    assert await fault(NESTED, {"parameters": {"a": "[" * 90 + "]" * 90}}) is None


async def test_redos() -> None:
    """A pattern that backtracks elsewhere takes no time, and lets the event loop go on."""
    made = of("input", {"properties": {"a": {"pattern": "^(a+)+$"}}})

    async def validate() -> None:
        with pytest.raises(BadRequest):
            await made.check_input({"a": "a" * 100_000 + "!"})

    assert min([await longest_pause(validate()) for _ in range(3)]) < 0.1


async def test_time_is_bounded() -> None:
    """A validation that would take minutes fails after seconds, and the event loop goes on meanwhile."""
    levels = {f"{level}": {"allOf": [{"$ref": f"#/$defs/{level - 1}"}] * 2} for level in range(1, 13)}
    schema = {"$defs": {"0": {"type": "integer"}, **levels}, "properties": {"a": {"items": {"$ref": "#/$defs/12"}}}}
    made = of("input", schema)

    async def validate() -> None:
        began = time.process_time()
        with pytest.raises(BadRequest, match=rf"validation takes longer than {SECONDS:.0f} s"):
            await made.check_input({"a": list(range(20_000))})
        assert time.process_time() - began < 2 * SECONDS

    assert await longest_pause(validate()) < 0.5 * SECONDS


async def test_a_costly_schema_and_a_tiny_instance() -> None:
    """A schema that takes long for anything holds up the event loop no more than for a moment."""
    levels = {f"{level}": {"allOf": [{"$ref": f"#/$defs/{level - 1}"}] * 2} for level in range(1, 23)}
    made = of("input", {"$defs": {"0": {"type": "object"}, **levels}, "$ref": "#/$defs/22"})

    async def validate() -> None:
        with pytest.raises(BadRequest, match=rf"validation takes longer than {SECONDS:.0f} s"):
            await made.check_input({"a": 1})

    assert await longest_pause(validate()) < 0.5 * SECONDS


async def test_compiled_once() -> None:
    """The same schema is compiled once for all models that have it, however it was given."""
    interfaces = Interfaces()
    first = await interfaces.schema("input", '{"type":"object"}')
    assert await interfaces.schema("input", {"type": "object"}) is first
    assert await interfaces.schema("output", {"type": "object"}) is not first


async def test_side_by_side() -> None:
    """Many validations at once each have their own outcome."""
    made = of("input", PARAMETERS)
    large = {"parameters": {"prompt": "x" * 50_000}}
    small: dict[str, Any] = {"parameters": {}}
    outcomes = await asyncio.gather(
        *(made.check_input(large if number % 2 else small) for number in range(20)), return_exceptions=True
    )
    assert [type(one) for one in outcomes] == [BadRequest, type(None)] * 10


PRESETS = [
    preset.interface(function)
    for provider in content.providers().values()
    for preset in provider.interfaces.values()
    for function in (None, "connector.post_process.default.embedding")
]


@pytest.mark.parametrize("preset", PRESETS)
async def test_presets_can_be_used(preset: dict[str, Any]) -> None:
    """Every interface that the service itself gives a model is one that it can hold requests to."""
    await Interfaces().check({"interface": preset})

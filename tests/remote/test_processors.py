"""Processors: what each makes of a value, and what of its configuration is refused."""

import contextlib
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import processors
from mlcommons_py.remote.step import as_text
from tests.remote.held import holds_less_than

USER = {"user": {"name": "Jo", "age": 30}, "tags": ["a", "b"]}
CASES: list[tuple[dict[str, Any], Any, Any]] = [
    ({"type": "to_string"}, {"a": ["é", 1.5]}, '{"a":["é",1.5]}'),
    ({"type": "TO_STRING"}, "text", "text"),
    ({"type": "to_string", "escape_json": True}, {"a": 'b"'}, '{\\"a\\":\\"b\\\\\\"\\"}'),
    ({"type": "regex_replace", "pattern": "[^a-z]"}, "a1b2", "ab"),
    ({"type": "regex_replace", "pattern": "(a)(b)", "replacement": "$2-$1"}, "abab", "b-ab-a"),
    ({"type": "regex_replace", "pattern": "a", "replacement": "\\$1\\\\"}, "a", "$1\\"),
    ({"type": "regex_replace", "pattern": "o", "replacement": "0", "replace_all": False}, "foo", "f0o"),
    ({"type": "regex_replace", "pattern": "a.b", "replacement": "é"}, "xa\nb🚀", "xé🚀"),
    ({"type": "regex_replace", "pattern": "1", "replacement": "2"}, {"a": 1}, '{"a":2}'),
    ({"type": "regex_capture", "pattern": r"(\w+)@(\w+)"}, "to jo@home now", "jo"),
    ({"type": "regex_capture", "pattern": r"(\w+)@(\w+)", "groups": "[1,2]"}, "jo@home", ["jo", "home"]),
    ({"type": "regex_capture", "pattern": r"(\w+)@(\w+)", "groups": [2, 9]}, "jo@home", "home"),
    ({"type": "regex_capture", "pattern": "<(.*)>", "groups": 0}, "x<a\nb>", "<a\nb>"),
    ({"type": "regex_capture", "pattern": "z(.)"}, "jo", "jo"),
    ({"type": "jsonpath_filter", "path": "$.user.name"}, USER, "Jo"),
    ({"type": "jsonpath_filter", "path": "$.user.name"}, '{"user":{"name":"Jo"}}', "Jo"),
    ({"type": "jsonpath_filter", "path": "$.tags[*]"}, USER, ["a", "b"]),
    ({"type": "jsonpath_filter", "path": "$.none", "default": "d"}, USER, "d"),
    ({"type": "jsonpath_filter", "path": "$.none"}, USER, USER),
    ({"type": "jsonpath_filter", "path": "$.none"}, "no JSON", "no JSON"),
    ({"type": "extract_json"}, 'Here: {"a": 1.10} and more', {"a": 1.1}),
    ({"type": "extract_json"}, "Here: [1] {}", [1]),
    ({"type": "extract_json", "extract_type": "object"}, 'x [1] {"a":2}', {"a": 2}),
    ({"type": "extract_json", "extract_type": "array", "default": []}, 'x {"a":2}', []),
    ({"type": "extract_json"}, "x {broken", "x {broken"),
    ({"type": "extract_json"}, 5, 5),
    (
        {"type": "remove_jsonpath", "paths": ["$.user.age", "$.tags[*]", "$.none"]},
        USER,
        {"user": {"name": "Jo"}, "tags": []},
    ),
    ({"type": "set_field", "path": "$.user.age", "value": None}, USER, {**USER, "user": {"name": "Jo", "age": None}}),
    ({"type": "set_field", "path": "$.new", "value": {"a": 1}}, {"b": 2}, {"b": 2, "new": {"a": 1}}),
    ({"type": "set_field", "path": "$.not.there", "value": 1}, {"b": 2}, {"b": 2}),
    ({"type": "set_field", "path": "$.c", "source_path": "$.b"}, {"b": 2}, {"b": 2, "c": 2}),
    ({"type": "set_field", "path": "$.c", "source_path": "$.x"}, {"b": 2}, {"b": 2}),
    ({"type": "set_field", "path": "$.c", "source_path": "$.x", "default": "d"}, {"b": 2}, {"b": 2, "c": "d"}),
    (
        {"type": "process_and_set", "path": "$.s", "processors": [{"type": "to_string"}]},
        {"b": 2},
        {"b": 2, "s": '{"b":2}'},
    ),
    (
        {"type": "for_each", "path": "$.m[*].c[*]", "processors": {"type": "set_field", "path": "$.t", "value": 1}},
        {"m": [{"c": [{}, {"x": 1}]}, {"c": [{}]}]},
        {"m": [{"c": [{"t": 1}, {"x": 1, "t": 1}]}, {"c": [{"t": 1}]}]},
    ),
    (
        {"type": "for_each", "path": "$.tags", "processors": [{"type": "regex_capture", "pattern": "(x?)a"}]},
        USER,
        {**USER, "tags": ["", "b"]},
    ),
    ({"type": "for_each", "path": "$.none[*]", "processors": [{"type": "to_string"}]}, USER, USER),
    ({"type": "for_each", "path": "$..*", "processors": [{"type": "to_string"}]}, {"a": [[1]]}, {"a": "[[1]]"}),
    ({"type": "set_field", "path": "$..a", "value": 5}, {"a": {"a": {"a": 1}}}, {"a": 5}),
    ({"type": "set_field", "path": "$..*", "value": "x"}, [["y"]], ["x"]),
]  # fmt: skip


@pytest.mark.parametrize(("config", "value", "expected"), CASES)
def test_what_a_step_makes(config: dict[str, Any], value: Any, expected: Any) -> None:
    """A step makes of a value what ML Commons' makes of it, and leaves the value itself alone."""
    before = as_text(value)

    assert processors.apply(value, processors.chain([config])) == expected
    assert as_text(value) == before


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ("admin", "admin", True), ("admin", "user", False), ("true", True, True), ("5", 5, True),
        ("exists", 0, True), ("exists", None, False), ("not_exists", None, True), ("null", [], True),
        (">10", 11, True), (">10", "10", False), (">=10", "10", True), ("<10", 9.5, True), ("<=10", 11, False),
        ("==10", 10.0, True), (">x", 11, False), (">10", "text", False),
        ("regex:.*@home", "jo@home", True), ("regex:home", "jo@home", False),
        ("contains:@", "jo@home", True), ("contains:x", "jo", False),
    ],
)  # fmt: skip
def test_conditions(condition: str, value: Any, holds: bool) -> None:
    """A route is taken where its condition holds, else the default."""
    config = {
        "type": "conditional",
        "path": "$.v",
        "routes": [{condition: [{"type": "set_field", "path": "$.way", "value": "route"}]}],
        "default": [{"type": "set_field", "path": "$.way", "value": "default"}],
    }

    made = processors.apply({"v": value}, processors.chain(config))

    assert made["way"] == ("route" if holds else "default")


def test_a_chain_as_text() -> None:
    """Steps may come as JSON text, one after the other."""
    config = '[{"type":"extract_json"},{"type":"jsonpath_filter","path":"$.a"},{"type":"to_string"}]'

    assert processors.apply('x {"a":{"b":1.10}}', processors.chain(config)) == '{"b":1.10}'
    assert processors.chain(None) == processors.chain(" ") == ()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "processors must be a JSON list of objects"),
        (5, "processors must be a list of objects"),
        ({"type": "dance"}, "Invalid ML processor type: dance"),
        ({}, "Invalid ML processor type: None"),
        ({"type": "regex_replace"}, "'pattern' is required for regex_replace processor"),
        ({"type": "regex_capture", "pattern": " "}, "'pattern' cannot be empty for regex_capture processor"),
        ({"type": "regex_capture", "pattern": "("}, r"Invalid regex pattern: \("),
        ({"type": "regex_capture", "pattern": r"(a)\1"}, "regular expressions run in RE2"),
        ({"type": "regex_capture", "pattern": "a", "groups": "x"}, "Invalid 'groups' format: x"),
        ({"type": "regex_capture", "pattern": "a", "groups": []}, "'groups' must contain at least one group index"),
        ({"type": "regex_replace", "pattern": "a", "replacement": "$1"}, "refers to group 1, which is not there"),
        ({"type": "jsonpath_filter", "path": "$["}, "is no JSONPath"),
        ({"type": "extract_json", "extract_type": "x"}, "'extract_type' must be 'auto', 'object', or 'array', got: x"),
        ({"type": "remove_jsonpath"}, "'paths' is required for remove_jsonpath processor"),
        ({"type": "remove_jsonpath", "paths": "$.a"}, "'paths' must be a list"),
        ({"type": "remove_jsonpath", "paths": []}, "'paths' cannot be empty"),
        ({"type": "remove_jsonpath", "paths": [""]}, "Each path in 'paths' must be a non-empty string"),
        ({"type": "set_field", "path": "$.a"}, "Either 'value' or 'source_path' is required"),
        ({"type": "set_field", "path": "$.a", "value": 1, "source_path": "$.b"}, "Cannot specify both"),
        (
            {"type": "set_field", "path": "$.a", "value": 1, "default": 2},
            "'default' can only be used with 'source_path'",
        ),
        ({"type": "process_and_set", "path": "$.a"}, "'processors' is required for process_and_set processor"),
        ({"type": "for_each", "path": "$.a", "processors": []}, "'processors' list cannot be empty"),
        ({"type": "conditional"}, "'routes' is required for conditional processor"),
        ({"type": "conditional", "routes": []}, "'routes' must contain at least one route"),
        ({"type": "conditional", "routes": [{"regex:(": []}]}, "Invalid regex pattern"),
    ],
)
def test_a_wrong_configuration(config: Any, said: str) -> None:
    """What is wrong with a step is said before it is run."""
    with pytest.raises(IllegalArgument, match=said):
        processors.chain(config)


@pytest.mark.parametrize(
    "config",
    [
        [{"type": "process_and_set", "path": "$.a", "processors": [{"type": "to_string"}]}] * 40,
        [{"type": "process_and_set", "path": "$.a", "processors": [{"type": "jsonpath_filter", "path": "$"}]}] * 40,
        [{"type": "regex_replace", "pattern": "x*?", "replacement": "x" * 1000}] * 3,
        [{"type": "set_field", "path": "$.a", "value": 1}] * 50_000,
        [
            {
                "type": "for_each",
                "path": "$.b",
                "processors": [{"type": "set_field", "path": "$.c", "value": "x" * 100_000}],
            }
        ],
    ],
)
def test_no_chain_fills_the_memory(config: list[dict[str, Any]]) -> None:
    """Steps that make a value grow again and again, or that go on and on, are refused in time."""
    started = time.process_time()
    chain = processors.chain(config)
    with pytest.raises(IllegalArgument, match=r"would look at or write more than 67108864 characters in all$"):
        processors.apply({"a": "x" * 5000, "b": [{}] * 2000}, chain)

    assert time.process_time() - started < 20


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
ODD = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
PATHS = st.sampled_from(
    ["$", "$.a", "$.a.b", "$.a[0]", "$.a[*]", "$..a", "$..*", "$[*]", "$.a.length()", "$['b','c']", "a"]
)
PATTERNS = st.sampled_from(["a", "(.)(.)", "", "a*"])
CONDITIONS = st.sampled_from(["exists", ">1", "a", "regex:."])
TYPES = st.sampled_from(
    "to_string extract_json jsonpath_filter regex_replace regex_capture remove_jsonpath set_field process_and_set"
    " for_each conditional".split()
)


def step(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for a step that has others within."""
    return st.fixed_dictionaries(
        {"type": TYPES, "path": PATHS, "pattern": PATTERNS, "paths": st.lists(PATHS)},
        optional={
            "value": ODD,
            "source_path": PATHS,
            "default": ODD | st.lists(inner, max_size=2),
            "processors": st.lists(inner, max_size=2),
            "routes": st.lists(st.dictionaries(CONDITIONS, inner, max_size=2)),
            "groups": st.sampled_from(["1", "[1,2]", [0], 7]),
            "replacement": st.sampled_from(["", "$1", "x"]),
        },
    )


@settings(deadline=None, max_examples=100)
@given(st.lists(st.recursive(ODD, step, max_leaves=4) | step(ODD), max_size=3), ODD)
def test_no_chain_breaks(config: list[Any], value: Any) -> None:
    """Whatever the steps and the value, the value is changed or the steps are refused."""
    with contextlib.suppress(IllegalArgument):
        as_text(processors.apply(value, processors.chain(config)))


def test_a_chain_takes_no_more_than_seconds() -> None:
    """Steps that each take long, however small the value is, are refused after seconds."""
    value: Any = [[index] for index in range(100)]
    for _ in range(40):
        value = [value]
    step = {"type": "remove_jsonpath", "paths": ["$..[?count(@..*)>1000000]"]}
    began = time.process_time()
    with pytest.raises(IllegalArgument, match=r"^the processors take longer than 5 s$"):
        processors.apply(value, processors.chain([step] * 1000))
    assert time.process_time() - began < 15


def test_every_step_is_documented() -> None:
    """Each type of step has a row in the documentation, and no other."""
    page = (Path(__file__).parents[2] / "docs" / "requests.md").read_text()
    with pytest.raises(IllegalArgument) as raised:
        processors.chain({"type": "dance"})

    types = raised.value.reason.partition("there are ")[2].split(", ")
    rows = page.partition("## Processors")[2]
    assert sorted(re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)) == sorted(types)


def test_regular_expressions_take_linear_time() -> None:
    """A pattern that takes other engines for ever takes none here."""
    chain = processors.chain(
        [{"type": "regex_capture", "pattern": "(a+)+$"}, {"type": "regex_replace", "pattern": "(a|aa)+$"}]
    )
    started = time.process_time()

    assert processors.apply("a" * 100_000 + "!", chain) == "a" * 100_000 + "!"
    assert time.process_time() - started < 1


@pytest.mark.parametrize("config", ['[%s{"type":"to_string"}]', '%s[{"type":"to_string"}]'])
def test_long_texts_are_not_kept(config: str) -> None:
    """Nothing of a chain's text is kept that is longer than any chain need be."""
    processors.chain(config % "")
    with holds_less_than(1 << 20):
        assert len(processors.chain(config % (" " * (4 << 20)))) == 1

"""JSON values as text, as OpenSearch writes them."""

import re
from importlib import import_module
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_py import exact
from mlcommons_py.rest.notation import write

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "",
        "{}",
        "[]",
        'a": {}',
        "y",
        "no",
        "NULL",
        "1.10",
        "- a",
        "a: b",
        "\n---\n",
        "# x",
        "&a",
        "*a",
        "\u2028\u0085\ufeff",
    ]
)
# It comes with CTranslate2, and has no types.
yaml: Any = import_module("yaml")
READER: Any = type("Reader", (yaml.SafeLoader,), {})
READER.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?$"), list("-0123456789")
)
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(VALUES)
def test_indented_is_the_same(value: Any) -> None:
    """Whatever is in a value, its indented text reads back as its compact one does."""
    assert orjson.loads(write(value, pretty=True)) == orjson.loads(write(value))


@given(VALUES)
def test_yaml_is_the_same(value: Any) -> None:
    """Whatever is in a value, its YAML reads back as its JSON does, numbers as YAML 1.2 has them."""
    assert yaml.load(write(value, "yaml"), READER) == orjson.loads(write(value))


def test_as_opensearch_indents() -> None:
    """What is indented looks as Jackson's printer has it."""
    assert write({"a": {}, "b": [1, {"c": []}]}, pretty=True).decode() == (
        '{\n  "a" : { },\n  "b" : [\n    1,\n    {\n      "c" : [ ]\n    }\n  ]\n}\n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "--- []\n"),
        ("a", '--- "a"\n'),
        ([{"a": 1, "b": [2, [3]]}, {}], "---\n- a: 1\n  b:\n  - 2\n  - - 3\n- {}\n"),
        ({"on": {"a b": True}}, '---\n"on":\n  "a b": true\n'),
        (exact.loads(b'{"a":1.10}'), "---\na: 1.10\n"),
    ],
)
def test_yaml(value: Any, text: str) -> None:
    """Objects and lists stand line by line, texts in quotes, and numbers keep their digits."""
    assert write(value, "yaml").decode() == text

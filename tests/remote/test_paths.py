"""JSONPath as Jayway's library reads it."""

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonpath import JSONPathEnvironment

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import paths
from tests.remote.held import holds_less_than

VALUE: dict[str, Any] = {
    "data": [{"embedding": [1, 2]}, {"embedding": [3]}, {"x": 1}],
    "choices": [{"message": {"content": "Hi"}}],
    "empty": [],
    "null": None,
    "amazon-bedrock": {"x": [1, 2, 3], "1a": 2},
    "a b": {"c.d": 5},
    "@type": "t",
    "日本": 7,
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # One value where there can be only one.
        ("$.choices[0].message.content", "Hi"),
        ("choices[0].message.content", "Hi"),
        ("$['choices'][0]['message']", {"content": "Hi"}),
        ("$.choices[-1].message.content", "Hi"),
        ("$.amazon-bedrock.x", [1, 2, 3]),
        ("$.amazon-bedrock.1a", 2),
        ("$['a b']['c.d']", 5),
        ("$.@type", "t"),
        ("$.日本", 7),
        ("$.null", None),
        ("$.empty", []),
        ("$", VALUE),
        # A list where there can be several.
        ("$.data[*].embedding", [[1, 2], [3]]),
        ("$..embedding", [[1, 2], [3]]),
        ("$.data[0:2].embedding", [[1, 2], [3]]),
        ("$.data[0,2]", [{"embedding": [1, 2]}, {"x": 1}]),
        ("$.choices[*].message.content", ["Hi"]),
        ("$.data[?(@.x == 1)]", [{"x": 1}]),
        ("$.data[?(@.embedding)].embedding", [[1, 2], [3]]),
        ("$.choices[?(@.message.content =~ /h.*/i)].message.content", ["Hi"]),
        ("$.choices[?(@.message.content =~ /h/i)].message.content", []),
        ("$.empty[*].x", []),
        ("$.data[*].nothing", []),
        # Functions at the end.
        ("$.data.length()", 3),
        ("$.amazon-bedrock.x.max()", 3),
        ("$.amazon-bedrock.x.avg()", 2.0),
        ("$.amazon-bedrock.keys()", ["x", "1a"]),
        ("$.data[*].embedding.first()", [1, 2]),
    ],
)
def test_what_a_path_finds(path: str, expected: Any) -> None:
    """A path that can find one value gives it, any other a list."""
    assert paths.read(VALUE, path) == expected


@pytest.mark.parametrize(
    "path",
    ["$.nothing", "$.nothing[*].x", "$.data[7]", "$.choices[0].message.content.x", "$.null.x", "$.日本.length()"],
)
def test_a_path_that_leads_nowhere(path: str) -> None:
    """A path whose beginning is not there is missing, not empty."""
    assert paths.read(VALUE, path) is paths.MISSING


@pytest.mark.parametrize("value", ['{"a":1}', "text", 5, None, True])
def test_only_objects_and_lists_are_looked_into(value: Any) -> None:
    """A text is never read as JSON behind one's back."""
    assert paths.read(value, "$.a") is paths.MISSING
    assert paths.read(value, "$") == value


@pytest.mark.parametrize(
    "path", ["$.", "$..", "$[", "$.a[?(@.b]", "$.a | $.b", "$" + ".a" * 1000, "$..a..b..c", "$[?(@.a =~ /(/)]"]
)
def test_what_is_no_path(path: str) -> None:
    """What is no JSONPath, or costs too much, is refused."""
    with pytest.raises(IllegalArgument, match="JSONPath"):
        paths.read(VALUE, path)


@pytest.mark.parametrize("how", ["@.a =~ /(a+)+$/", "match(@.a, '(a+)+$')", "search(@.a, '(a|aa)+$')"])
def test_regular_expressions_take_linear_time(how: str) -> None:
    """A regular expression in a path is not one that takes for ever."""
    started = time.process_time()

    assert paths.read([{"a": "a" * 50_000 + "!"}], f"$[?({how})]") == []
    assert time.process_time() - started < 1


def test_what_is_found_is_bounded() -> None:
    """A path that finds value upon value is refused."""
    with pytest.raises(IllegalArgument, match=r"finds more than 100000 values$"):
        paths.read([[0] * 500] * 500, "$[*][*]")


NAMES = st.sampled_from(["a", "0", "-1", "it's"])
TREES = st.recursive(
    st.none() | st.integers(0, 3) | st.just("text"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=20,
)


@given(TREES, st.lists(NAMES | st.integers(-3, 3) | st.none(), min_size=1, max_size=3))
@example({"0": 1, "-1": 2}, [-1])
@example([{"0": 1}, [2, 3], "text"], [None, 0])
@example([[1], [2]], [-2, -2])
@example({"a": {"it's": [1, 2]}, "0": "text"}, [None, "it's", None])
def test_names_positions_and_wildcards_find_what_the_library_finds(value: Any, steps: list[str | int | None]) -> None:
    """A path of names, positions and wildcards alone, which is walked without the library, finds the same."""
    path = "$" + "".join("[*]" if step is None else f"[{step!r}]" for step in steps)
    looked_into = value if isinstance(value, dict | list) else {}
    expected = [match.value for match in JSONPathEnvironment().finditer(path, looked_into)]

    found = paths.read(value, path)

    values = [] if found is paths.MISSING else found if None in steps else [found]
    assert values == expected


def test_places() -> None:
    """The places that a path finds are keys and positions."""
    assert paths.places(VALUE, "$.data[*].embedding[0]") == [("data", 0, "embedding", 0), ("data", 1, "embedding", 0)]


@pytest.mark.parametrize("path", ["$..[?count(@..*)>1000000]", "$..[?@..zz]"])
def test_a_path_takes_no_more_than_seconds(path: str) -> None:
    """A path whose time grows faster than the value is given up, and the text has its name and the limit."""
    value: Any = [[index] for index in range(30_000)]
    for _ in range(90):
        value = [value]
    began = time.process_time()
    with pytest.raises(IllegalArgument, match=r"^the JSONPath \[\$.*\] takes longer than 2 s$"):
        paths.read(value, path)
    assert time.process_time() - began < 6


def test_long_texts_are_not_kept() -> None:
    """Nothing is kept of the blanks around a path, which may be many."""
    paths.of("$.what.it.imports")
    with holds_less_than(1 << 20):
        assert paths.of(" " * (4 << 20) + "$.kept.nowhere").text == "$.kept.nowhere"

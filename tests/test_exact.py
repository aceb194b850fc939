"""JSON whose numbers keep their digits."""

import math
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcommons_py import exact

NUMBERS = [
    "0", "-0", "-0.0", "1.0", "1.10", "0.1", "9007199254740993", "-9223372036854775808", "18446744073709551615",
    "18446744073709551616", "123456789012345678901234567890", "1e400", "-1E400", "1e5", "1E+5", "1e-7", "0.00001",
    "100000000000000000000000.5", "3.141592653589793238462643",
]  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_digits_stay(text: str) -> None:
    """A number goes out with the digits it came with."""
    assert exact.dumps(exact.loads(f'{{"a":[{text}, "x"]}}')).decode() == f'{{"a":[{text},"x"]}}'


@pytest.mark.parametrize("text", ["1e-05", "1E-05", "1.5e+20", "1.7976931348623157e308"])
def test_how_an_exponent_looks_may_change(text: str) -> None:
    """An exponent may be spelled otherwise; the digits before it stay."""
    written = exact.dumps(exact.loads(f"[{text}]")).decode()[1:-1]

    assert float(written) == float(text)
    assert written.lower().partition("e")[0] == text.lower().partition("e")[0]


@settings(deadline=None)
@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?\Z"))
def test_any_digits_stay(text: str) -> None:
    """Whatever number JSON can spell keeps its value, and without an exponent its digits."""
    written = exact.dumps(exact.loads(f"[{text}]")).decode()[1:-1]

    if "e" not in text.lower():
        assert written == text
    assert float(written) == float(text)


def test_a_number_can_be_computed_with() -> None:
    """A number with its digits is a float, too."""
    number = exact.loads("[1.10]")[0]

    assert number + 1 == pytest.approx(2.1)
    assert isinstance(number, float)
    assert repr(number) == "1.10"
    assert math.isinf(exact.loads("[1e400]")[0])


def test_what_orjson_does_not_know() -> None:
    """A value that is none of JSON's is refused."""
    with pytest.raises(ValueError, match="object"):
        exact.dumps({"a": object()})


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", "[Infinity]", "01", "'a'", "[" * 100_000, "\ud800", "[1] 2"])
def test_what_is_no_json(text: str) -> None:
    """What is no JSON is refused by ValueError, and known as none."""
    with pytest.raises(ValueError):
        exact.loads(text)
    assert not exact.is_json(text)


def test_half_a_surrogate_pair_is_replaced() -> None:
    """Half a surrogate pair, as streams cut in two have it, becomes the replacement character, in keys too."""
    assert exact.loads('{"\\ud83d":["a\\uDE80b","\\ud83d\\ude80"]}') == {"\ufffd": ["a\ufffdb", "🚀"]}


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.text(st.characters(exclude_categories=["Cs"])), lambda inner: st.lists(inner)
    )
)
def test_values_come_back(value: Any) -> None:
    """A value that is written is read as the same."""
    assert exact.loads(exact.dumps(value)) == value
    assert exact.loads(orjson.dumps(value, option=orjson.OPT_INDENT_2)) == value


def test_half_a_surrogate_pair_can_be_refused() -> None:
    """What comes with a request is not repaired: half a surrogate pair is no JSON, whatever else is in it."""
    for text in ('["\\ud83d"]', '["\\ud83d", 1e400]', '{"\\udc00": [1.10]}'):
        with pytest.raises(ValueError, match=r"surrogate|infinity"):
            exact.loads(text, repairs=False)
    assert exact.loads('["\\ud83d\\ude80", 1e400]', repairs=False) == ["🚀", float("inf")]


@pytest.mark.parametrize("inner", ["1", "1.10", "1e400", '"\\ud83d"'])
def test_depth_is_bounded(inner: str) -> None:
    """What is read can be written again within an answer; what nests deeper is refused, however deep it is."""
    for depth in (246, 247, 254, 255, 300, 900, 1020, 1100, 100_000):
        text = "[" * depth + inner + "]" * depth
        if depth <= 246:
            exact.dumps({"a": [{"b": [{"c": exact.loads(text)}]}]})
        else:
            with pytest.raises(ValueError):
                exact.loads(text)


def test_plain_numbers() -> None:
    """For whoever knows only Python's own numbers, a number comes as near as it can."""
    value = exact.plain(exact.loads('{"a":[1.10,1e400,12345678901234567890123,-0,"1.10",null]}'))

    assert value == {"a": [1.1, "1e400", 12345678901234567890123.0, 0.0, "1.10", None]}
    assert {type(one) for one in value["a"]} == {float, str, type(None)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"a":1}\n\n[2]\r\n', True), ('{"a":1}', True), ("1\n2", False), ("", False), ('{"a":\n1}', False)],
)
def test_lines_of_json(text: str, expected: bool) -> None:
    """NDJSON has an object or a list on each line."""
    assert exact.is_lines(text) is expected

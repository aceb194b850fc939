"""How a text may be read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_py.guard.readings import folded, plain, readings, unescaped


@given(st.text())
def test_escapes_of_json(text: str) -> None:
    """Whatever JSON escapes, in ASCII or not, is read as the text it stands for."""
    for ascii_only in (True, False):
        assert unescaped(json.dumps(text, ensure_ascii=ascii_only)[1:-1], controls=True) == text


@given(st.text())
def test_the_text_itself_is_read_too(text: str) -> None:
    """The first reading is the text as it is."""
    assert readings(text)[0] == text
    assert len(set(readings(text))) == len(readings(text))


def test_half_pairs_stay_escapes() -> None:
    """Half of a surrogate pair stays an escape, so that every reading is a text."""
    for text in ("\\ud83d", "\\ude80\\ud83d", "\\ud83dx"):
        for reading in readings(text):
            reading.encode()


@pytest.mark.parametrize("text", ["\\", "\\u12", "\\x", "\\\\u0041", "a\\"])
def test_what_is_no_escape_stays(text: str) -> None:
    """A backslash that begins no escape stays, and one that is escaped itself escapes nothing."""
    assert unescaped(text, controls=False) == text


def test_folded() -> None:
    """Compatible letters become the plain ones, and characters that show nothing go."""
    assert folded("ﬁ\u200bne\u2060 ｂａｄ ①\U000e0041") == "fine bad 1"
    assert plain('{"a":"x\\ty"}') == ['{"a":"x\ty"}']

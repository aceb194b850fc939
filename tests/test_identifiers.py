"""Ids and names that a client chooses."""

import pytest

from mlcommons_py.errors import IllegalArgument, ValidationFailed
from mlcommons_py.identifiers import check_id, check_safe_text

CHARACTERS = (
    "model id must contain only letters, digits, underscores, and hyphens, and must start with a letter or digit"
)


@pytest.mark.parametrize("value", ["a", "A-1_b", "9", "x" * 512])
def test_good_id(value: str) -> None:
    """An id of letters, digits, underscores and hyphens is taken as it is."""
    assert check_id("model id", value) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "model id is invalid"),
        ("  ", "model id is invalid"),
        (7, "model id is invalid"),
        ("_a", "model id must not start with '_'"),
        ("-a", "model id must not start with '-'"),
        ("x" * 513, "model id is too long, max length is 512"),
        (
            "a b",
            CHARACTERS,
        ),
        (
            "é",
            CHARACTERS,
        ),
    ],
)
def test_bad_id(value: object, reason: str) -> None:
    """A wrong id is refused in ML Commons' words."""
    with pytest.raises(IllegalArgument) as caught:
        check_id("model id", value)

    assert caught.value.reason == reason


@pytest.mark.parametrize("value", ["Model 1", "модель", "模型", "a.b,c!?():@-_'/\"", "two\nlines"])
def test_safe_text(value: str) -> None:
    """Letters of any script, numbers, blanks and basic punctuation are safe."""
    assert check_safe_text("Model group name", value) == value


@pytest.mark.parametrize("value", ["<b>", "a\\b", "${x}", "smile 🙂", "a\0b"])
def test_unsafe_text(value: str) -> None:
    """Other characters are refused in OpenSearch's validation form."""
    with pytest.raises(ValidationFailed) as caught:
        check_safe_text("Model group name", value)

    assert caught.value.reason == (
        "Validation Failed: 1: Model group name can only contain letters, numbers, spaces,"
        " and basic punctuation (.,!?():@-_'/\");"
    )

"""Ids that a client chooses, and names; what is allowed in them (``MLCommonsUtil.java`` and ``StringUtils.java``)."""

import re
import unicodedata

from mlcommons_py.errors import IllegalArgument, ValidationFailed

MODEL_ID = "model id"

_CHUNK_ID = re.compile(r"_[0-9]+\Z")
_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*")
MAX_NAME = 256
"""Most characters of a name: a keyword field of OpenSearch, as the index mappings have it, knows no longer one."""

MAX_DESCRIPTION = 10_000

_PUNCTUATION = frozenset(".,!?():@-_'/\"")
_BLANKS = frozenset(" \t\n\v\f\r")


def check_id(label: str, value: object) -> str:
    """Return an id that a client chose.

    Raises:
        IllegalArgument: it is blank, too long or has a character that an id may not have.
    """
    if not isinstance(value, str) or not value.strip():
        raise IllegalArgument(f"{label} is invalid")
    for first in "_-":
        if value.startswith(first):
            raise IllegalArgument(f"{label} must not start with '{first}'")
    if len(value.encode()) > 512:
        raise IllegalArgument(f"{label} is too long, max length is 512")
    if label == MODEL_ID and _CHUNK_ID.search(value):
        raise IllegalArgument(f"{label} must not end in an underscore and digits, as the ids of chunks do")
    if not _ID.fullmatch(value):
        raise IllegalArgument(
            f"{label} must contain only letters, digits, underscores, and hyphens,"
            " and must start with a letter or digit"
        )
    return value


def check_length(field: str, value: str | None, most: int) -> None:
    """Refuse a text that is too long for its field.

    Raises:
        IllegalArgument: it has more than ``most`` characters.
    """
    if value is not None and len(value) > most:
        raise IllegalArgument(f"[{field}] has {len(value)} characters, {most} are allowed")


def check_safe_text(label: str, value: str) -> str:
    """Return a name or a description of plain characters; letters of any script are plain.

    Raises:
        ValidationFailed: it has a character that is not.
    """
    for character in value:
        plain = character in _PUNCTUATION or character in _BLANKS or unicodedata.category(character)[0] in "LN"
        if not plain:
            raise ValidationFailed(
                f"{label} can only contain letters, numbers, spaces, and basic punctuation (.,!?():@-_'/\")"
            )
    return value

"""Values of a credential that a provider sends back: they are not shown, in errors or in answers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_HIDDEN = "***"
_PUBLIC = frozenset(("region", "service_name"))
"""Fields of a credential that are no secrets: AWS connectors may have them there."""

_IN_ERRORS = 4
"""Characters that a value must have to be hidden in an error; a shorter one would be found in too many words."""

_SHORT, _LONG = 8, 20
"""Characters that a value must have to be hidden in an answer: with a digit in it, and without. An answer is what
was asked for, and what stands for a key where none is needed may be a word of it, such as ``none``."""


def secrets_of(credential: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of a credential that must not be shown, the longest first."""
    values = {value for name, value in credential.items() if name not in _PUBLIC and len(value) >= _IN_ERRORS}
    return tuple(sorted(values, key=lambda value: (-len(value), value)))


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return the text of an error without secrets, as they are or as JSON spells them."""
    for secret in secrets:
        for spelled in _spelled(secret):
            text = text.replace(spelled, _HIDDEN)
    return text


def without(value: Any, body: bytes, secrets: Sequence[str]) -> Any:
    """Return what was made of an answer's body without secrets."""
    found = [secret for secret in secrets if _is_unlikely(secret) and _may_have(body, secret)]
    return _without(value, found) if found else value


def _without(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {_without(key, secrets): _without(one, secrets) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without(one, secrets) for one in value]
    return value


def _is_unlikely(secret: str) -> bool:
    """Return whether a text would not be part of an answer by chance."""
    return len(secret) >= (_SHORT if any(character.isdigit() for character in secret) else _LONG)


def _may_have(body: bytes, secret: str) -> bool:
    """Return whether a body may have a secret: as it is, as JSON can spell it, or in UTF-16 or the like."""
    return b"\\" in body or b"\0" in body or not secret.isascii() or secret.encode() in body


def _spelled(secret: str) -> tuple[str, ...]:
    spelled = {secret}
    for text in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        spelled |= {text, text.replace("/", "\\/")}
    return tuple(sorted(spelled, key=lambda one: (-len(one), one)))

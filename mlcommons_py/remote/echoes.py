"""Values of a credential that a provider sends back: they are not shown, in errors, answers or streams."""

import json
import re
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


class Hider:
    """The pieces of a streamed text on their way to the client, without secrets, wherever the pieces' borders are.

    What may be the beginning of a secret waits for what follows.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        spelled = {spelled for secret in secrets if _is_unlikely(secret) for spelled in _spelled(secret)}
        self._secrets = sorted(spelled, key=lambda one: (-len(one), one))
        self._any = re.compile("|".join(map(re.escape, self._secrets))) if spelled else None
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next piece; return the text that may go out now, which may be empty."""
        if self._any is None:
            return piece
        text = self._held + piece
        begun, shown, done = self._begun(text, 0), [], 0
        # One that may be the beginning of a longer one waits, too.
        while (found := self._any.search(text, done)) is not None and found.start() < begun:
            shown += [text[done : found.start()], _HIDDEN]
            done = found.end()
            begun = self._begun(text, done)
        self._held = text[begun:]
        return "".join((*shown, text[done:begun]))

    def end(self) -> str:
        """Return the rest of the text."""
        rest, self._held = self._held, ""
        return rest if self._any is None else self._any.sub(_HIDDEN, rest)

    def _begun(self, text: str, start: int) -> int:
        """Return from where on, not before ``start``, a text may be a secret's beginning; its length if nowhere."""
        begun = len(text)
        for secret in self._secrets:
            at = text.find(secret[0], max(start, len(text) - len(secret) + 1))
            while 0 <= at < begun:
                if secret.startswith(text[at:]):
                    begun = at
                at = text.find(secret[0], at + 1)
        return begun


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

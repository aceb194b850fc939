"""Values of a credential that a provider sends back: they are not shown, in errors, answers or streams."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from os.path import commonprefix
from typing import Any

from mlcommons_py.remote.spellings import spellings

_HIDDEN = "***"
_PUBLIC = frozenset(("region", "service_name"))
"""Fields of a credential that are no secrets: AWS connectors may have them there."""

_IN_ERRORS = 4
"""Characters that a value must have to be hidden in an error; a shorter one would be found in too many words."""

_SHORT, _LONG = 8, 20
"""Characters that a value must have to be hidden in an answer: with a digit in it, and without. An answer is what
was asked for, and what stands for a key where none is needed may be a word of it, such as ``none``."""

_NAME = re.compile(r"arn:|[A-Za-z][A-Za-z0-9+.-]*://")
"""How an ARN or a URL begins."""

_NUMBERS = frozenset((float, int))

_RARE = "%&\\~^|`QZXJKqzVYWjxHGkUFB"
"""Characters that answers have little of, the rarest first: what has one is looked for where that is."""


class Secrets:
    """The values of a credential that must not be shown, and how they are looked for.

    All of it is worked out once, for as long as the credential holds. An answer that has none of them is told by a few
    looks for single characters.
    """

    def __init__(self, credential: Mapping[str, str] | None = None) -> None:
        values = {
            value for name, value in (credential or {}).items() if name not in _PUBLIC and len(value) >= _IN_ERRORS
        }
        self._values = sorted(values)
        self._beyond_ascii = any(not value.isascii() for value in values)

    def __repr__(self) -> str:
        """Return how many there are, and nothing of what they are."""
        return f"<{len(self._values)} secrets>"

    @cached_property
    def _in_errors(self) -> tuple[str, ...]:
        return _longest_first(self._values)

    @cached_property
    def in_answers(self) -> tuple[str, ...]:
        """How those may be spelled that would not be part of an answer by chance, the longest first."""
        return _longest_first(filter(_is_unlikely, self._values))

    @cached_property
    def _by_beginning(self) -> Mapping[str, Sequence[str]]:
        """The same by their first eight characters, which each of them has."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for one in self.in_answers:
            found[one[:_SHORT]].append(one)
        return dict(found)

    @cached_property
    def _beginnings(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self._by_beginning)) or "(?!)")

    def find(self, text: str, start: int) -> tuple[int, int] | None:
        """Return where the first one from ``start`` on begins and ends, the longest of those that begin there."""
        while (found := self._beginnings.search(text, start)) is not None:
            start = found.start()
            for one in self._by_beginning[found[0]]:
                if text.startswith(one, start):
                    return start, start + len(one)
            start += 1
        return None

    def replaced(self, text: str) -> str:
        """Return a text with each of them hidden."""
        shown, done = [], 0
        while (found := self.find(text, done)) is not None:
            shown += [text[done : found[0]], _HIDDEN]
            done = found[1]
        return "".join((*shown, text[done:]))

    @cached_property
    def by_first(self) -> Mapping[str, Sequence[str]]:
        """The same by their first characters."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for one in self.in_answers:
            found[one[0]].append(one)
        return dict(found)

    @property
    def longest(self) -> int:
        """Characters of the longest."""
        return len(self.in_answers[0]) if self.in_answers else 0

    @cached_property
    def _by_character(self) -> Sequence[tuple[str, Sequence[str]]]:
        """What is looked for in texts, by a character that it has."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for one in self.in_answers:
            found[next((rare for rare in _RARE if rare in one), one[0])].append(one)
        return tuple(found.items())

    @cached_property
    def _by_byte(self) -> Sequence[tuple[bytes, Sequence[bytes]]]:
        """The same in UTF-8."""
        return tuple((rare.encode(), [one.encode() for one in some]) for rare, some in self._by_character)

    def hide(self, text: str) -> str:
        """Return the text of an error without secrets, however they are spelled, and without beginnings of long ones.

        What an error quotes of an answer is often cut somewhere.
        """
        for spelled in self._in_errors:
            text = text.replace(spelled, _HIDDEN)
        shown, done = [], 0
        for found in self._cut.finditer(text):
            if found.start() >= done:
                shown += [text[done : found.start()], _HIDDEN]
                done = found.start() + self._shared(text, found.start())
        return "".join((*shown, text[done:]))

    @cached_property
    def _cut(self) -> re.Pattern[str]:
        """What finds the beginnings of values that are twice as long."""
        return re.compile("|".join(re.escape(one[:_SHORT]) for one in self._telling) or "(?!)")

    @cached_property
    def _telling(self) -> Sequence[str]:
        """Values of which the beginning tells something; every ARN and URL begins alike."""
        return [one for one in self._values if len(one) >= 2 * _SHORT and _NAME.match(one) is None]

    def _shared(self, text: str, start: int) -> int:
        """Return how many characters of a text from ``start`` on begin a value."""
        ends = (commonprefix((text[start : start + len(one)], one)) for one in self._telling)  # noqa: RUF071 - of texts
        return max(map(len, ends))

    def without(self, value: Any, body: bytes) -> Any:
        """Return what was made of an answer's body without secrets."""
        return self._without(value) if self.in_answers and self._may_be_in(body) else value

    def _may_be_in(self, body: bytes) -> bool:
        """Return whether a body may have one: as it is, as JSON can spell it, or in UTF-16 or the like."""
        if self._beyond_ascii or b"\\" in body or b"\0" in body:
            return True
        return any(rare in body and any(one in body for one in some) for rare, some in self._by_byte)

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._shown(value)
        if isinstance(value, Mapping):
            return {self._without(key): self._without(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            if _NUMBERS.issuperset(map(type, value)):  # a vector: answers may have hundreds, of thousands each
                return value
            return [self._without(one) for one in value]
        return value

    def _shown(self, text: str) -> str:
        if len(text) >= _SHORT:
            for rare, some in self._by_character:
                if rare in text and any(one in text for one in some):
                    return self.replaced(text)
        return text


NONE = Secrets()


class Hider:
    """The pieces of a streamed text on their way to the client, without secrets, wherever the pieces' borders are.

    What may be the beginning of a secret waits for what follows.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._by_first = secrets.by_first
        self._longest = secrets.longest
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next piece; return the text that may go out now, which may be empty."""
        if not self._longest:
            return piece
        text = self._held + piece
        begun, shown, done = self._begun(text, 0), [], 0
        # One that may be the beginning of a longer one waits, too.
        while (found := self._secrets.find(text, done)) is not None and found[0] < begun:
            shown += [text[done : found[0]], _HIDDEN]
            done = found[1]
            begun = self._begun(text, done)
        self._held = text[begun:]
        return "".join((*shown, text[done:begun]))

    def end(self) -> str:
        """Return the rest of the text."""
        rest, self._held = self._held, ""
        return self._secrets.replaced(rest)

    def _begun(self, text: str, start: int) -> int:
        """Return from where on, not before ``start``, a text may be a secret's beginning; its length if nowhere."""
        for at in range(max(start, len(text) - self._longest + 1), len(text)):
            if (some := self._by_first.get(text[at])) is not None:
                rest = text[at:]
                if any(len(one) > len(rest) and one.startswith(rest) for one in some):
                    return at
        return len(text)


def _longest_first(values: Iterable[str]) -> tuple[str, ...]:
    spelled = {one for value in values for one in spellings(value)}
    return tuple(sorted(spelled, key=lambda one: (-len(one), one)))


def _is_unlikely(secret: str) -> bool:
    """Return whether a text would not be part of an answer by chance."""
    return len(secret) >= (_SHORT if any(character.isdigit() for character in secret) else _LONG)

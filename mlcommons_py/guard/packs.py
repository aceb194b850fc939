"""Packs of words, phrases and patterns that a model's guardrails name: the JSON documents of ``guardrails/``.

A pack has any of ``words`` (each counts only as a whole word), ``phrases`` (their words in order, whatever stands
between them but letters) and ``patterns``: ``name``, ``regex`` and perhaps ``check``, a test that what the pattern
found has to pass. Letters' case never counts.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument, ResourceNotFound
from mlcommons_py.expressions import compiled

Finder = Callable[[str], bool]

_BETWEEN = re.compile(r"[\W_]+")
_CARD_LENGTHS = range(13, 20)
_CARD_BEGINS = re.compile(r"4|5[1-5]|2[2-7]|3[0-9]|6[0-9]|81")


class Pack:
    """A pack, ready to search texts."""

    def __init__(self, name: str, document: Mapping[str, Any]) -> None:
        """Compile a pack.

        Raises:
            IllegalArgument: it has an expression or a check that there is none of.
        """
        self.name = name
        self._finders: list[Finder] = []
        phrases = [_in_words(one) for one in (*document.get("words", ()), *document.get("phrases", ()))]
        if phrases:
            expression = compiled("|".join(phrases), f"{name}.words")
            self._finders.append(lambda text: expression.search(_in_words(text)) is not None)
        self._finders += [_finder(f"{name}.{one['name']}", one) for one in document.get("patterns", ())]

    def finds(self, text: str) -> bool:
        """Return whether a text, as :func:`~mlcommons_py.guard.readings.plain` gives it, has anything of the pack."""
        return any(finder(text) for finder in self._finders)


def _in_words(text: str) -> str:
    """Return a text's words, each with one blank before and after it."""
    return _BETWEEN.sub(" ", f" {text.casefold()} ")


def _finder(name: str, given: Mapping[str, Any]) -> Finder:
    expression = compiled(f"(?i){given['regex']}", name)
    if given.get("check") is None:
        return lambda text: expression.search(text) is not None
    check = CHECKS.get(given["check"])
    if check is None:
        raise IllegalArgument(f"[{name}] names the unknown check [{given['check']}]; there are {', '.join(CHECKS)}")
    return lambda text: any(
        check(found[0]) for found in expression.finditer(text) if _stands_alone(text, found.start(), found.end())
    )


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Return whether what stands there is no part of a longer number or word."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before and (before[-1].isalnum() or (before[-1] in "._" and before[:-1].isalnum())):
        return False
    return not (after and (after[0].isalnum() or after[0] == "_" or (after[0] == "." and after[1:].isdigit())))


def is_card(text: str) -> bool:
    """Return whether a text has the number of a payment card: 13 to 19 digits, perhaps in groups, right by Luhn.

    >>> is_card("4111 1111 1111 1111"), is_card("4111 1111 1111 1112")
    (True, False)
    """
    from stdnum import luhn

    groups = re.findall(r"\d+", text)
    for first in range(len(groups)):
        for last in range(first + 1, len(groups) + 1):
            digits = "".join(groups[first:last])
            if len(digits) > _CARD_LENGTHS[-1]:
                break
            if len(digits) in _CARD_LENGTHS and _CARD_BEGINS.match(digits) and luhn.is_valid(digits):
                return True
    return False


def is_iban(text: str) -> bool:
    """Return whether a text is an IBAN: its check digits (ISO 7064, mod 97-10) and its country's form are right.

    >>> is_iban("DE89 3704 0044 0532 0130 00"), is_iban("DE88 3704 0044 0532 0130 00")
    (True, False)
    """
    from stdnum import iban

    words = text.split(" ")
    # What follows in the same sentence may look like one more group.
    return any(bool(iban.is_valid("".join(words[:count]))) for count in range(len(words), 0, -1))


def is_phone(text: str) -> bool:
    """Return whether a text has as many digits as a telephone number (ITU-T E.164): 8 to 15.

    >>> is_phone("+49 30 901820"), is_phone("+1 2")
    (True, False)
    """
    return 8 <= sum(character.isdigit() for character in text) <= 15


CHECKS: Mapping[str, Callable[[str], bool]] = {"card": is_card, "iban": is_iban, "phone": is_phone}


def packs(names: Sequence[str], read: Callable[[str], Mapping[str, Any]], field: str) -> list[Pack]:
    """Return the packs of some names.

    Raises:
        IllegalArgument: there is none of a name; the text lists those there are.
    """
    made = []
    for name in names:
        try:
            made.append(Pack(name, read(name)))
        except ResourceNotFound as fault:
            raise IllegalArgument(f"[{field}] {fault.reason}") from fault
    return made

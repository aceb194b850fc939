"""Expressions, stop words and packs, looked for by the service itself.

``regex`` holds expressions; a text that one of them describes as a whole is refused (Java's ``matches()``: ``.`` is no
line's end). ``stop_words`` name indices whose documents hold queries in the field ``query``; a text that one of them
finds is refused. ``packs`` names packs of this directory. The first two are those of ``LocalRegexGuardrail.java``.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.expressions import compiled
from mlcommons_py.guard import fields
from mlcommons_py.guard.guardrail import Guardrail, Means, Said
from mlcommons_py.guard.packs import Pack, packs
from mlcommons_py.guard.readings import plain, readings

TYPE = "local_regex"
FIELDS = frozenset({"regex", "stop_words", "packs"})

_SECONDS = 5.0
_MOST_EXPRESSIONS = 200
_INLINE = 1_000_000
_PACK_WORK = 200
_READING_WORK = 20


def make(given: Mapping[str, Any], means: Means, field: str) -> Guardrail:
    """Return the guardrail that an object with ``regex``, ``stop_words`` and ``packs`` describes.

    Raises:
        IllegalArgument: one of them is malformed; an expression cannot be run by RE2; there is no such pack.
    """
    expressions = fields.texts(given, "regex", field)
    if len(expressions) > _MOST_EXPRESSIONS:
        raise IllegalArgument(f"[{field}.regex] has {len(expressions)} expressions, {_MOST_EXPRESSIONS} are allowed")
    return LocalRegex(
        [compiled(one, f"{field}.regex") for one in expressions],
        packs(fields.texts(given, "packs", field), means.pack, f"{field}.packs"),
        _stop_words(given, field),
        means,
    )


def _stop_words(given: Mapping[str, Any], field: str) -> dict[str, list[str]]:
    """Return the fields by their index; of an index that is there twice the last counts."""
    listed = given.get("stop_words")
    if listed is None:
        return {}
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        raise IllegalArgument(f"[{field}.stop_words] must be a list of objects with [index_name] and [source_fields]")
    named: dict[str, list[str]] = {}
    for one in listed:
        at = f"{field}.stop_words"
        source_fields = fields.texts(one, "source_fields", at)
        if not source_fields:
            raise IllegalArgument(f"[{at}.source_fields] is missing")
        named[fields.required(one, "index_name", at)] = source_fields
    return named


class LocalRegex:
    """Refuses texts by expressions, packs and stop words."""

    seconds = _SECONDS
    whole = False

    def __init__(
        self, expressions: Sequence[Any], packs: Sequence[Pack], stop_words: Mapping[str, list[str]], means: Means
    ) -> None:
        self._expressions = expressions
        self._packs = packs
        self._stop_words = stop_words
        self._search = means.search
        # What a character may cost at worst; RE2 lets the event loop run on, but only from a thread.
        self._work = _READING_WORK + sum(one.programsize for one in expressions) + _PACK_WORK * len(packs)

    async def accepts(self, said: Said) -> bool:
        """Return whether nothing of what is looked for is in the text, however it is spelled."""
        for text in said.texts:
            if not await self._accepts(text):
                return False
        return True

    async def _accepts(self, text: str) -> bool:
        heavy = len(text) * self._work > _INLINE
        read = await asyncio.to_thread(self._read, text) if heavy else self._read(text)
        if read is None:
            return False
        for index, names in self._stop_words.items():
            if not await self._passes(index, names, text, read):
                return False
        return True

    def _read(self, text: str) -> list[str] | None:
        """Return a text as it is read, for stop words; None where an expression or a pack finds something in it."""
        if self._expressions:
            for reading in readings(text):
                if any(one.fullmatch(reading) is not None for one in self._expressions):
                    return None
        read = plain(text) if self._packs or self._stop_words else []
        return None if any(pack.finds(one) for pack in self._packs for one in read) else read

    async def _passes(self, index: str, names: Sequence[str], text: str, read: Sequence[str]) -> bool:
        value = text if read == [text] else [text, *read]
        percolate = {"field": "query", "document": dict.fromkeys(names, value)}
        answer = await self._search(index, {"size": 1, "query": {"percolate": percolate}})
        complete = not answer["timed_out"] and not answer["_shards"]["failed"]
        return bool(complete and answer["hits"]["total"]["value"] == 0)

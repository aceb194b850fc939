"""Queries over the words of texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.fields import Candidate, is_text, like, plain, words
from mlcommons_py.store.leaves import one_of, scored
from mlcommons_py.store.parameters import (
    Maker,
    Match,
    check_count,
    least,
    refuse_rest,
    scalar,
    take_boost,
    take_field,
    weight,
)

Weighted = Sequence[tuple[str, float]]
"""Fields or patterns of fields, each with its boost."""


def any_word(field: str, wanted: Any, *, minimum: Any = 1) -> Match:
    """Return the match of a text's words in a field; a field that is no text must have the very value.

    ``minimum`` is a ``minimum_should_match``.
    """
    if not is_text(field):
        return _exact(field, wanted)
    asked = words(wanted)
    check_count("match", len(asked))
    needed = max(1, least("match", minimum, len(asked))) if len(asked) > 1 else 1

    def match(candidate: Candidate) -> float | None:
        there = candidate.counts(field)
        counts = [there[word] for word in asked]
        # A word counts for less each time it comes again, as in BM25.
        return sum(n / (n + 1) for n in counts) if sum(map(bool, counts)) >= needed else None

    return match


def phrase(field: str, wanted: Any) -> Match:
    """Return the match of a text's words, in order and side by side."""
    if not is_text(field):
        return _exact(field, wanted)
    asked = words(wanted)
    check_count("match_phrase", len(asked))

    def stands_in(there: list[str]) -> bool:
        starts = (at for at in range(len(there) - len(asked) + 1) if there[at] == asked[0])
        return any(there[at : at + len(asked)] == asked for at in starts)

    def holds(one: Candidate) -> bool:
        there = one.counts(field) if asked else {}
        return bool(asked) and all(word in there for word in asked) and any(map(stands_in, one.texts(field)))

    return scored(holds, 1.0)


def _exact(field: str, wanted: Any) -> Match:
    equal = one_of([wanted])
    return scored(lambda one: any(map(equal, one.values(field))), 1.0)


def across(fields: Weighted, make: Callable[[str], Match], join: Callable[[Sequence[float]], float] = max) -> Match:
    """Return the match of any of some fields; a name with ``*`` stands for every such field of a document."""
    made: dict[str, Match] = {}

    def on(field: str) -> Match:
        if field not in made:
            made[field] = make(field)
        return made[field]

    named = [(on(field), boost) for field, boost in fields if "*" not in field]
    patterns = [(field, boost) for field, boost in fields if "*" in field]

    def match(candidate: Candidate) -> float | None:
        there = sorted(candidate.fields()) if patterns else ()
        found = named + [(on(one), boost) for name, boost in patterns for one in there if like(one, name)]
        scores = [boost * score for one, boost in found if (score := one(candidate)) is not None]
        return join(scores) if scores else None

    return match


def boosted(match: Match, boost: float) -> Match:
    """Return a match with its scores multiplied."""
    return match if boost == 1 else lambda one: None if (score := match(one)) is None else boost * score


def take_operator(query: str, options: dict[str, Any], name: str = "operator") -> bool:
    """Take an operator out of the parameters; return whether it is ``and``.

    Raises:
        ParsingFailed: it is neither ``and`` nor ``or``.
    """
    operator = options.pop(name, "or")
    if not isinstance(operator, str) or operator.lower() not in ("and", "or"):
        raise ParsingFailed(f"[{query}] [{name}] must be and or or, not [{operator}]")
    return operator.lower() == "and"


def take_fields(query: str, options: dict[str, Any]) -> Weighted:
    """Take ``fields`` out of the parameters, each perhaps with ``^`` and a boost; all fields where there are none.

    Raises:
        ParsingFailed: they are no field names.
    """
    given = options.pop("fields", ["*"])
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not listed or not all(isinstance(one, str) for one in listed):
        raise ParsingFailed(f"[{query}] [fields] must be an array of field names")
    parts = [one.partition("^") for one in listed]
    return [(name, weight(query, boost) if caret else 1.0) for name, caret, boost in parts]


def _take_minimum(query: str, options: dict[str, Any]) -> Any:
    every = take_operator(query, options)
    minimum = options.pop("minimum_should_match", "100%" if every else 1)
    least(query, minimum, 1)
    return minimum


def _match(parameters: dict[str, Any]) -> Match:
    field, wanted, options = take_field("match", parameters, "query")
    minimum, boost = _take_minimum("match", options), take_boost("match", options)
    refuse_rest("match", options)
    return boosted(any_word(field, wanted, minimum=minimum), boost)


def _match_phrase(parameters: dict[str, Any]) -> Match:
    field, wanted, options = take_field("match_phrase", parameters, "query")
    boost = take_boost("match_phrase", options)
    refuse_rest("match_phrase", options)
    return boosted(phrase(field, wanted), boost)


def _multi_match(parameters: dict[str, Any]) -> Match:
    wanted = scalar("multi_match", "query", parameters.pop("query", None))
    fields, minimum = take_fields("multi_match", parameters), _take_minimum("multi_match", parameters)
    boost, kind = take_boost("multi_match", parameters), parameters.pop("type", "best_fields")
    refuse_rest("multi_match", parameters)
    if kind == "phrase":
        return boosted(across(fields, lambda field: phrase(field, wanted)), boost)
    if kind not in ("best_fields", "most_fields"):
        raise ParsingFailed(f"[multi_match] query does not support [type] of [{kind}]")
    join: Callable[[Sequence[float]], float] = max if kind == "best_fields" else sum
    return boosted(across(fields, lambda field: any_word(field, plain(wanted), minimum=minimum), join), boost)


FULL_TEXT: Mapping[str, Maker] = {"match": _match, "match_phrase": _match_phrase, "multi_match": _multi_match}

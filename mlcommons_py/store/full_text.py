"""Queries over the words of a text."""

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.fields import TEXT_FIELDS, Candidate, is_text, plain, words
from mlcommons_py.store.leaves import LEAVES, Maker, Match, equal, refuse_rest, take_boost


def _operator(query: str, options: dict[str, Any], name: str = "operator") -> bool:
    """Return whether all words are wanted, not any."""
    operator = str(options.pop(name, "or")).lower()
    if operator not in ("and", "or"):
        raise ParsingFailed(f"[{query}] [{name}] must be and or or, not [{operator}]")
    return operator == "and"


def _minimum(query: str, options: dict[str, Any]) -> int:
    wanted = options.pop("minimum_should_match", 1)
    try:
        return int(str(wanted))
    except ValueError as fault:
        raise ParsingFailed(f"[{query}] [minimum_should_match] must be a number here, not [{wanted}]") from fault


def _counts(field: str, wanted: str) -> Callable[[Candidate], list[int]]:
    """Return how often each word of a text stands in a document's field."""
    asked = words(wanted)

    def count(candidate: Candidate) -> list[int]:
        there = [word for value in candidate.values(field) for word in words(value)]
        return [there.count(word) for word in asked]

    return count


def _one_field(field: str, wanted: Any, *, every: bool, minimum: int, boost: float) -> Match:
    if not is_text(field):
        return lambda one: boost if any(equal(value, wanted) for value in one.values(field)) else None
    count = _counts(field, plain(wanted))

    def match(candidate: Candidate) -> float | None:
        counts = count(candidate)
        hits = sum(1 for number in counts if number)
        needed = len(counts) if every else min(minimum, len(counts))
        if not counts or hits < max(1, needed):
            return None
        return boost * sum(number / (number + 1) for number in counts)

    return match


def _phrase(field: str, wanted: Any, boost: float) -> Match:
    if not is_text(field):
        return lambda one: boost if any(equal(value, wanted) for value in one.values(field)) else None
    asked = words(plain(wanted))

    def stands_in(there: list[str]) -> bool:
        return any(there[at : at + len(asked)] == asked for at in range(len(there) - len(asked) + 1))

    return lambda one: boost if asked and any(stands_in(words(value)) for value in one.values(field)) else None


def _named(query: str, parameters: dict[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    if len(parameters) != 1:
        raise ParsingFailed(f"[{query}] query malformed, one field was expected instead of {sorted(parameters)}")
    ((field, body),) = parameters.items()
    if not isinstance(body, Mapping):
        return field, body, {}
    options = dict(body)
    if "query" not in options:
        raise ParsingFailed(f"[{query}] query on [{field}] has no [query]")
    return field, options.pop("query"), options


def _match(parameters: dict[str, Any]) -> Match:
    field, wanted, options = _named("match", parameters)
    every, minimum = _operator("match", options), _minimum("match", options)
    boost = take_boost("match", options)
    refuse_rest("match", options)
    return _one_field(field, wanted, every=every, minimum=minimum, boost=boost)


def _match_phrase(parameters: dict[str, Any]) -> Match:
    field, wanted, options = _named("match_phrase", parameters)
    boost = take_boost("match_phrase", options)
    refuse_rest("match_phrase", options)
    return _phrase(field, wanted, boost)


def _fields(query: str, given: Any) -> list[tuple[str, float]]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not listed:
        raise ParsingFailed(f"[{query}] [fields] must be a list of field names")
    fields = []
    for one in listed:
        name, _, boost = str(one).partition("^")
        expanded = [text for text in sorted(TEXT_FIELDS) if fnmatchcase(text, name)] if "*" in name else [name]
        fields += [(field, float(boost or 1)) for field in expanded]
    return fields


def _best(matches: Sequence[Match], boost: float) -> Match:
    def match(candidate: Candidate) -> float | None:
        scores = [score for one in matches if (score := one(candidate)) is not None]
        return boost * max(scores) if scores else None

    return match


def _multi_match(parameters: dict[str, Any]) -> Match:
    wanted, fields = parameters.pop("query", None), _fields("multi_match", parameters.pop("fields", ["*"]))
    every, minimum = _operator("multi_match", parameters), _minimum("multi_match", parameters)
    boost, kind = take_boost("multi_match", parameters), parameters.pop("type", "best_fields")
    refuse_rest("multi_match", parameters)
    if wanted is None:
        raise ParsingFailed("[multi_match] requires a [query]")
    if kind == "phrase":
        return _best([_phrase(field, wanted, weight) for field, weight in fields], boost)
    if kind not in ("best_fields", "most_fields"):
        raise ParsingFailed(f"[multi_match] query does not support [type] [{kind}]")
    return _best(
        [_one_field(field, wanted, every=every, minimum=minimum, boost=weight) for field, weight in fields], boost
    )


_CLAUSE = re.compile(r'\s*([+-]?)(?:([\w.*\\]+):)?("(?:[^"\\]|\\.)*"|[^\s"()]+)')


def _query_string(parameters: dict[str, Any]) -> Match:
    text = parameters.pop("query", None)
    default = parameters.pop("default_field", None)
    fields = _fields("query_string", parameters.pop("fields", default if default is not None else ["*"]))
    every, boost = _operator("query_string", parameters, "default_operator"), take_boost("query_string", parameters)
    refuse_rest("query_string", parameters)
    if not isinstance(text, str):
        raise ParsingFailed("[query_string] requires a [query]")
    must, should, must_not = _clauses(text, fields, every=every)

    def match(candidate: Candidate) -> float | None:
        if any(one(candidate) is not None for one in must_not):
            return None
        needed = [one(candidate) for one in must]
        if any(score is None for score in needed):
            return None
        extra = [score for one in should if (score := one(candidate)) is not None]
        if should and not must and not extra:
            return None
        return boost * (sum(score or 0.0 for score in needed) + sum(extra))

    return match


def _clauses(
    text: str, fields: list[tuple[str, float]], *, every: bool
) -> tuple[list[Match], list[Match], list[Match]]:
    """Return the clauses of a query string that must, should and must not match."""
    must: list[Match] = []
    should: list[Match] = []
    must_not: list[Match] = []
    position, joined, negated = 0, every, False
    text = text.strip()
    while position < len(text):
        found = _CLAUSE.match(text, position)
        if found is None:
            raise ParsingFailed(f"[query_string] cannot parse [{text}] at [{text[position:][:40]}]")
        position = found.end()
        sign, field, value = found.groups()
        if field is None and value in ("AND", "&&", "OR", "||", "NOT", "!"):
            if value in ("AND", "&&"):
                joined = True
                if should:
                    must.append(should.pop())
            elif value in ("OR", "||"):
                joined = False
            else:
                negated = True
            continue
        clause = _clause(value, [(field, 1.0)] if field else fields)
        if sign == "-" or negated:
            must_not.append(clause)
        elif sign == "+" or joined:
            must.append(clause)
        else:
            should.append(clause)
        joined, negated = every, False
    return must, should, must_not


def _clause(value: str, fields: list[tuple[str, float]]) -> Match:
    if value == "*" and len(fields) == 1:
        return LEAVES["exists"]({"field": fields[0][0]})
    if value == "*":
        return LEAVES["match_all"]({})
    if value.startswith('"'):
        phrase = value[1:-1].replace('\\"', '"')
        return _best([_phrase(field, phrase, weight) for field, weight in fields], 1.0)
    if any(character in value for character in "*?"):
        wildcard = [
            LEAVES["wildcard"]({field: {"value": value, "case_insensitive": is_text(field), "boost": weight}})
            for field, weight in fields
        ]
        return _best(wildcard, 1.0)
    if any(character in value for character in "~^[]{}/"):
        raise ParsingFailed(f"[query_string] query does not support [{value}]")
    return _best([_one_field(field, value, every=False, minimum=1, boost=weight) for field, weight in fields], 1.0)


FULL_TEXT: Mapping[str, Maker] = {
    "match": _match,
    "match_phrase": _match_phrase,
    "multi_match": _multi_match,
    "query_string": _query_string,
}

"""Lucene's query language, as the ``query_string`` query takes it.

Words, quoted phrases and wildcards, each perhaps with a field before it; ``AND``, ``OR``, ``NOT``, ``+``, ``-`` and
parentheses. As in Lucene, ``AND`` and ``OR`` do not bind, they only say which clauses must and which should match.
"""

import re
from typing import Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.compound import Clauses
from mlcommons_py.store.full_text import Weighted, across, any_word, boosted, phrase, take_fields, take_operator
from mlcommons_py.store.leaves import LEAVES
from mlcommons_py.store.parameters import Match, check_count, refuse_rest, take_boost

_MAX_DEPTH = 20
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<mark>&&|\|\||[()+!-])
      | (?P<phrase>"(?:[^"\\]|\\.)*")
      | (?P<field>(?:[^\s"()+!:\\-]|\\.)(?:[^\s"():\\]|\\.)*):
      | (?P<word>(?:[^\s"():\\]|\\.)+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_UNSUPPORTED = re.compile(r"(?<!\\)[~^\[\]{}/<>]")
_WILD = re.compile(r"(?<!\\)[*?]")


def query_string(parameters: dict[str, Any]) -> Match:
    """Return the match of a ``query_string`` query.

    Raises:
        ParsingFailed: a parameter is not supported, or the query's text is malformed or uses what this store cannot do:
            ranges, fuzziness, proximity, boosts and regular expressions.
    """
    text, default = parameters.pop("query", None), parameters.pop("default_field", None)
    if default is not None:
        if "fields" in parameters:
            raise ParsingFailed("[query_string] takes [default_field] or [fields], not both")
        parameters["fields"] = default if isinstance(default, list) else [default]
    fields = take_fields("query_string", parameters)
    every, boost = take_operator("query_string", parameters, "default_operator"), take_boost("query_string", parameters)
    refuse_rest("query_string", parameters)
    if not isinstance(text, str):
        raise ParsingFailed("[query_string] must be provided with a [query] that is a string")
    return boosted(_Parser(text, every=every).parse(fields), boost)


class _Parser:
    def __init__(self, text: str, *, every: bool) -> None:
        self._text = text.rstrip()
        self._every = every
        self._at = 0

    def parse(self, fields: Weighted) -> Match:
        match = self._clauses(fields, 0)
        if self._at < len(self._text):
            raise self._fault()
        return match

    def _fault(self) -> ParsingFailed:
        where = f"at [{self._text[self._at :].lstrip()[:40]}]" if self._at < len(self._text) else "at its end"
        return ParsingFailed(f"[query_string] Failed to parse query [{self._text[:200]}] {where}")

    def _peek(self) -> re.Match[str] | None:
        return _TOKEN.match(self._text, self._at)

    def _take(self, *spellings: str) -> str | None:
        """Take the next token if it is one of these."""
        token = self._peek()
        if token is None or (token["mark"] or token["word"]) not in spellings:
            return None
        self._at = token.end()
        return token["mark"] or token["word"]

    def _clauses(self, fields: Weighted, depth: int) -> Match:
        if depth > _MAX_DEPTH:
            raise ParsingFailed(f"[query_string] has parentheses nested deeper than {_MAX_DEPTH}")
        found: list[tuple[str, Match]] = []  # how it occurs: must, should or not
        while self._at < len(self._text):
            token = self._peek()
            if token is not None and token["mark"] == ")" and depth:
                break
            joint = self._take("AND", "&&", "OR", "||") or ""
            if joint and not found:
                raise self._fault()
            sign = self._take("NOT", "!", "+", "-") or ""
            clause = self._clause(fields, depth)
            both = joint in ("AND", "&&")
            if found and found[-1][0] != "not":
                # A joint speaks of the clause before it too.
                if both:
                    found[-1] = ("must", found[-1][1])
                elif joint and self._every:
                    found[-1] = ("should", found[-1][1])
            if sign in ("NOT", "!", "-"):
                occurs = "not"
            else:
                occurs = "must" if sign == "+" or both or (self._every and not joint) else "should"
            found.append((occurs, clause))
            check_count("query_string", len(found))
        if not found and depth:
            raise self._fault()
        if not found:
            return LEAVES["match_none"]({})
        must, should, must_not = (
            [clause for occurs, clause in found if occurs == kind] for kind in ("must", "should", "not")
        )
        return Clauses(must=must, should=should, must_not=must_not).match()

    def _clause(self, fields: Weighted, depth: int) -> Match:
        token = self._peek()
        if token is not None and token["field"] is not None:
            self._at = token.end()
            name = _unescape(token["field"])
            token = self._peek()
            if name == "_exists_" and token is not None and token["word"] is not None:
                self._at = token.end()
                return LEAVES["exists"]({"field": _unescape(token["word"])})
            fields = [(name, 1.0)]
        if token is None or token["field"] is not None or token["mark"] not in (None, "("):
            raise self._fault()
        self._at = token.end()
        if token["mark"] == "(":
            inner = self._clauses(fields, depth + 1)
            if self._take(")") is None:
                raise self._fault()
            return inner
        if token["phrase"] is not None:
            quoted = _unescape(token["phrase"][1:-1])
            return across(fields, lambda field: phrase(field, quoted))
        if token["word"] in ("AND", "OR", "NOT"):
            raise self._fault()
        return self._word(token["word"], fields)

    def _word(self, word: str, fields: Weighted) -> Match:
        if _UNSUPPORTED.search(word):
            raise ParsingFailed(f"[query_string] query does not support [{word[:200]}]; escape what is meant literally")
        if word == "*":
            return across(fields, lambda field: LEAVES["exists"]({"field": field}))
        if _WILD.search(word):
            return across(
                fields,
                lambda field: LEAVES["wildcard"]({field: word}),
            )
        literal, minimum = _unescape(word), "100%" if self._every else 1
        return across(fields, lambda field: any_word(field, literal, minimum=minimum))


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)

"""Searches that come from a client: none may see, or find out, what is in a concealed field.

A search can tell a field in many ways: it shows it, sorts or groups by it, or says whether a guess matches. So of the
query language only what is known here passes, with the fields it names looked at; scripts, look-ups in other indices
and whatever a newer OpenSearch adds are refused. The store behind may understand less.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument, ParsingFailed
from mlcommons_py.store.source_filter import source_filter

_KEYS = frozenset(
    "query post_filter from size sort _source aggs aggregations track_total_hits version seq_no_primary_term"
    " search_after min_score track_scores timeout terminate_after".split()
)
_NO_FIELDS = frozenset({"match_all", "match_none", "ids"})
_ONE_FIELD = frozenset(
    "term terms prefix wildcard regexp range fuzzy match match_phrase match_phrase_prefix match_bool_prefix".split()
)
_INNER: Mapping[str, tuple[str, ...]] = {
    "bool": ("must", "filter", "should", "must_not"),
    "constant_score": ("filter",),
    "dis_max": ("queries",),
    "boosting": ("positive", "negative"),
    "nested": ("query",),
}
_LISTING = frozenset({"multi_match", "query_string", "simple_query_string"})
_AGGREGATIONS = frozenset(
    "terms filter filters value_count cardinality min max avg sum stats extended_stats percentiles missing range"
    " date_range histogram date_histogram nested reverse_nested composite".split()
)
_IN_TEXT = re.compile(r"((?:\\.|[^\s\\\":()\[\]{}^~!/])+)\s*:", re.DOTALL)
_EXISTS = re.compile(r"_exists_\s*:\s*((?:\\.|[^\s\\:()])+)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_DEEPEST = 100


def conceal(body: Mapping[str, Any], concealed: Sequence[str], searched: Sequence[str]) -> dict[str, Any]:
    """Return a client's search body, with the concealed fields kept out of the hits.

    ``concealed`` are dotted paths and stand for what is below them too; ``searched`` are the fields that a query
    without fields looks at.

    Raises:
        IllegalArgument: it names a concealed field, or a pattern that one could match.
        ParsingFailed: it has a clause that could tell one and is not known here.
    """
    for key in body:
        if key not in _KEYS:
            raise ParsingFailed(f"Unknown key in a search: [{key}]; there are {', '.join(sorted(_KEYS))}")
    guard = _Guard(concealed, searched)
    shown = dict(body)
    for key in ("query", "post_filter"):
        if isinstance(body.get(key), Mapping):
            shown[key] = guard.query(body[key])
    for key in ("aggs", "aggregations"):
        if isinstance(body.get(key), Mapping):
            shown[key] = guard.aggregations(body[key])
    guard.sort(body.get("sort"))
    if concealed:
        shown["_source"] = _source(body.get("_source", True), concealed)
    return shown


def _source(given: Any, concealed: Sequence[str]) -> Any:
    """Return a ``_source`` with what is concealed excluded.

    Raises:
        ParsingFailed: it is of the wrong form.
    """
    keeps = source_filter(given)
    if keeps is None:
        return False
    return {"includes": list(keeps.includes), "excludes": [*keeps.excludes, *concealed]}


def reaches(pattern: str, field: str) -> bool:
    """Return whether a name, in which ``*`` and ``?`` stand for others, may mean a field or something below it.

    >>> reaches("cred*", "credential"), reaches("credential.key", "credential"), reaches("name*", "credential")
    (True, True, False)
    """
    states = {0}
    for character in field:
        states = {after for at in _open(pattern, states) for after in _step(pattern, at, character)}
    rest = {pattern[at : at + 1] for at in _open(pattern, states)}
    return bool(rest & {"", ".", "*", "?"})


def _open(pattern: str, states: Iterable[int]) -> set[int]:
    """Return the places in a pattern where one may be without reading more."""
    found = set(states)
    for at in sorted(found):
        while pattern[at : at + 1] == "*":
            at += 1
            found.add(at)
    return found


def _step(pattern: str, at: int, character: str) -> Iterable[int]:
    there = pattern[at : at + 1]
    if there == "*":
        yield at
    elif there in ("?", character):
        yield at + 1


class _Guard:
    def __init__(self, concealed: Sequence[str], searched: Sequence[str]) -> None:
        self._concealed = concealed
        self._searched = list(searched)

    def field(self, name: Any) -> None:
        """Refuse a name or a pattern that a concealed field could have."""
        if not isinstance(name, str):
            return  # of the wrong form, which the store says better
        if name.startswith("_field_names"):
            raise IllegalArgument("[_field_names] cannot be searched here; use an exists query")
        for field in self._concealed:
            if reaches(name, field):
                raise IllegalArgument(
                    f"[{name}] cannot be searched, sorted or aggregated by: [{field}] is never shown, nor is anything"
                    " that would tell it; name other fields"
                )

    def query(self, query: Any, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise ParsingFailed(f"queries are nested deeper than {_DEEPEST}")
        if not isinstance(query, Mapping) or len(query) != 1:
            return query  # refused by the store
        ((name, given),) = query.items()
        if not isinstance(given, Mapping) or name in _NO_FIELDS:
            self._known(name)
            return query
        if name in _INNER:
            return {name: self._compound(name, given, depth)}
        if name in _LISTING:
            return {name: self._listing(name, given)}
        self._known(name)
        if name == "exists":
            self.field(given.get("field"))
        elif name in _ONE_FIELD:
            self._one_field(name, given)
        return query

    def _known(self, name: Any) -> None:
        if name not in _NO_FIELDS | _ONE_FIELD | _LISTING | _INNER.keys() | {"exists"}:
            raise ParsingFailed(f"[{name}] queries are not supported here")

    def _one_field(self, name: str, given: Mapping[str, Any]) -> None:
        for field, wanted in given.items():
            self.field(field)
            if name == "terms" and isinstance(wanted, Mapping):
                raise ParsingFailed("[terms] takes its values here, not from another document")

    def _compound(self, name: str, given: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if name == "nested":
            self.field(given.get("path"))
        checked: dict[str, Any] = {}
        for key, inner in given.items():
            if key in _INNER[name]:
                checked[key] = self._each(lambda one: self.query(one, depth + 1), inner)
            elif isinstance(inner, Mapping | list):
                raise ParsingFailed(f"[{name}] does not support [{key}] here")
            else:
                checked[key] = inner
        return checked

    def _listing(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Check a query over several fields; without fields it is one over those that are searched."""
        checked = dict(given)
        named = [given[key] for key in ("fields", "default_field") if given.get(key) is not None]
        for listed in named:
            for field in listed if isinstance(listed, list) else [listed]:
                if isinstance(field, str) and field.partition("^")[0] == "*":
                    return self._listing(name, {key: value for key, value in given.items() if key not in _FIELDS})
                self.field(field.partition("^")[0] if isinstance(field, str) else field)
        if not named and self._concealed:
            checked["fields"] = self._searched
        if name == "query_string" and isinstance(given.get("query"), str):
            self._text(given["query"])
        return checked

    def _text(self, text: str) -> None:
        """Refuse a text in Lucene's query language that names a concealed field."""
        for match in _IN_TEXT.finditer(text):
            name = _unescape(match[1]).lstrip("+-&|")
            star = name == "*" and text[match.end() :].lstrip()[:1] == "*"
            if star or not self._concealed:
                continue
            if "*" in name or "?" in name or any(field.rpartition(".")[2] in name for field in self._concealed):
                self.field(name if "*" in name or "?" in name else self._concealed[0])
        for match in _EXISTS.finditer(text):
            self.field(_unescape(match[1]))

    def sort(self, given: Any) -> None:
        for one in given if isinstance(given, list) else [given]:
            for field, options in one.items() if isinstance(one, Mapping) else [(one, None)]:
                if field == "_script":
                    raise ParsingFailed("[_script] is not supported in [sort] here")
                self.field(field)
                if isinstance(options, Mapping):
                    for name, value in options.items():
                        if isinstance(value, Mapping | list):
                            raise ParsingFailed(f"[{name}] is not supported in [sort] here")

    def aggregations(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._aggregation(name, one) for name, one in given.items()}

    def _aggregation(self, name: str, one: Any) -> Any:
        if not isinstance(one, Mapping):
            return one
        checked = dict(one)
        for kind, given in one.items():
            if kind in ("aggs", "aggregations"):
                checked[kind] = self.aggregations(given) if isinstance(given, Mapping) else given
            elif kind in _AGGREGATIONS:
                checked[kind] = self._parameters(kind, given)
            elif kind != "meta":
                raise ParsingFailed(f"Unknown aggregation type [{kind}] of [{name}]")
        return checked

    def _parameters(self, kind: str, given: Any) -> Any:
        if kind == "filter":
            return self.query(given)
        if kind == "filters" and isinstance(given, Mapping):
            named = given.get("filters")
            inner = {n: self.query(one) for n, one in named.items()} if isinstance(named, Mapping) else named
            return {**given, "filters": self._each(self.query, inner) if isinstance(inner, list) else inner}
        self._names(given)
        return given

    def _names(self, given: Any, depth: int = 0) -> None:
        """Look at every field that an aggregation's parameters name, however deep."""
        if isinstance(given, list) and depth <= _DEEPEST:
            for inner in given:
                self._names(inner, depth + 1)
        if not isinstance(given, Mapping) or depth > _DEEPEST:
            return
        for key, value in given.items():
            if key == "script":
                raise ParsingFailed("[script] is not supported in aggregations here")
            if key in ("field", "path"):
                self.field(value)
            self._names(value, depth + 1)

    @staticmethod
    def _each(check: Callable[[Any], Any], given: Any) -> Any:
        return [check(one) for one in given] if isinstance(given, list) else check(given)


_FIELDS = ("fields", "default_field")


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text)

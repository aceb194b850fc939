"""``percolate``: documents that hold queries are found by a document that those queries find."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.fields import Candidate, every_field_text
from mlcommons_py.store.parameters import Maker, Match, refuse_rest, take_boost

NAME = "percolate"

_MOST_KEPT = 4096


def percolate(compile_query: Callable[[object], Match]) -> Maker:
    """Return the maker of the query; ``compile_query`` compiles the queries that documents hold.

    Every field of the document that is asked about counts as a text, as OpenSearch maps strings that are new to it.
    """

    @lru_cache(_MOST_KEPT)
    def compiled(query: bytes) -> Match:
        return compile_query(orjson.loads(query))

    def make(parameters: dict[str, Any]) -> Match:
        field, documents = parameters.pop("field", None), _documents(parameters)
        boost = take_boost(NAME, parameters)
        refuse_rest(NAME, parameters)
        if not isinstance(field, str):
            raise ParsingFailed("[percolate] query requires a [field] with the name of the field that holds queries")
        asked = [Candidate("", "", 0, 0, one) for one in documents]

        def match(candidate: Candidate) -> float | None:
            query = candidate.source.get(field)
            if not isinstance(query, Mapping):
                return None
            with every_field_text():
                found = compiled(orjson.dumps(query))
                scores = [score for one in asked if (score := found(one)) is not None]
            return boost * max(scores) if scores else None

        return match

    return make


def _documents(parameters: dict[str, Any]) -> list[Mapping[str, Any]]:
    given = [parameters.pop(name) for name in ("document", "documents") if name in parameters]
    if len(given) != 1:
        raise ParsingFailed(
            "[percolate] query requires either [document] or [documents]; stored ones are not supported"
        )
    listed = given[0] if isinstance(given[0], list | tuple) else given
    plain = [one.to_dict() if hasattr(one, "to_dict") else one for one in listed]
    if not plain or not all(isinstance(one, Mapping) for one in plain):
        raise ParsingFailed("[percolate] [document] must be an object")
    return plain


def check_stored(query: object, compile_query: Callable[[object], Match]) -> None:
    """Let a query pass that a document may hold.

    Raises:
        ParsingFailed: it is malformed, or of a kind that the embedded store cannot do.
    """
    if NAME in _names(query):
        raise ParsingFailed("[percolate] query is not allowed inside a percolator query")
    with every_field_text():
        compile_query(query)


def percolates(query: object) -> bool:
    """Return whether a query asks for stored queries anywhere.

    >>> percolates({"bool": {"filter": [{"percolate": {"field": "query", "document": {}}}]}})
    True
    """
    return NAME in _names(query)


def _names(query: object, depth: int = 0) -> Iterator[str]:
    """Yield the keys of a query, but for those of the documents that it asks about."""
    if depth > 100:  # deeper ones are refused
        return
    if isinstance(query, Mapping):
        for name, inner in query.items():
            yield name
            if name != NAME:
                yield from _names(inner, depth + 1)
    elif isinstance(query, list | tuple):
        for one in query:
            yield from _names(one, depth + 1)

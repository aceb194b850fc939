"""Searches of the API: what a request's body becomes before a store sees it, and reading hits."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.store import CONTENT
from mlcommons_py.store.concealed import conceal


def found(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the hits of a search's answer."""
    hits: Sequence[Mapping[str, Any]] = answer["hits"]["hits"]
    return hits


def exactly(field: str, value: object) -> dict[str, Any]:
    """Return the query for one value of one field."""
    return {"term": {field: {"value": value}}}


def api_body(
    body: Mapping[str, Any],
    *,
    hidden: Sequence[str] = (CONTENT, "content"),
    concealed: Sequence[str] = (),
    searched: Sequence[str] = ("*",),
) -> dict[str, Any]:
    """Return the search that a ``_search`` route runs for a client's body.

    Hits carry their version and sequence number, and documents marked ``is_hidden`` are left out. Without an explicit
    ``_source`` the fields ``hidden`` stay out of the hits. Fields ``concealed`` can neither be seen nor found out; a
    query without fields looks at those ``searched``.

    Raises:
        IllegalArgument, ParsingFailed: as :func:`~mlcommons_py.store.concealed.conceal`.
    """
    query = body.get("query", {"match_all": {}})
    visible = {"bool": {"must": [query], "must_not": [exactly("is_hidden", True)]}}
    shaped = {**body, "query": visible, "version": True, "seq_no_primary_term": True}
    if "_source" not in body:
        shaped["_source"] = {"excludes": list(hidden)}
    return conceal(shaped, concealed, searched)

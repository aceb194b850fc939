"""Indices of stop words for a service without a cluster: documents that hold queries, and nothing else.

Guardrails name indices whose documents have a query in the field ``query`` (``percolator`` in OpenSearch). In a cluster
anybody who may write there keeps such an index. Without one the service takes the few requests that it needs to be
created and filled, in OpenSearch's words.
"""

import re
from collections.abc import Mapping
from typing import Any

from mlcommons_py.errors import IllegalArgument, IndexNotFound
from mlcommons_py.store import Delete, Document, Put, Store, Written
from mlcommons_py.store.percolate import check_stored
from mlcommons_py.store.query import compile_query

INDICES = ".plugins-ml-stop-words-indices"
"""Names the indices that exist."""

SYSTEM = ".plugins-ml-stop-words"
"""The one index among those that begin with a dot that may hold stop words."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,254}")
_FIELD_TYPES = ("text", "percolator")
_EXAMPLE = '{"mappings": {"properties": {"query": {"type": "percolator"}, "title": {"type": "text"}}}}'


class StopWords:
    """The indices of stop words in an embedded store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an index, and return OpenSearch's answer.

        Raises:
            IllegalArgument: the name is wrong or taken, or the mapping is not that of an index of stop words.
        """
        _check_name(index)
        _check_mapping(body)
        if await self._store.get(INDICES, index) is not None:
            raise IllegalArgument(f"index [{index}] already exists")
        await self._store.put(INDICES, index, {"mappings": body["mappings"]}, create=True)
        # An index is there from its first write on; from now on it is there, and empty.
        await self._store.bulk([Put(index, "none", {}), Delete(index, "none")])
        return {"acknowledged": True, "shards_acknowledged": True, "index": index}

    async def describe(self, index: str) -> dict[str, Any]:
        """Return an index as OpenSearch shows it: aliases, mappings, settings.

        Raises:
            IndexNotFound: there is none of that name.
        """
        document = await self._check_exists(index)
        settings = {"number_of_shards": "1", "number_of_replicas": "0", "provided_name": index}
        return {index: {"aliases": {}, "mappings": document.source["mappings"], "settings": {"index": settings}}}

    async def delete(self, index: str) -> dict[str, Any]:
        """Delete an index with its documents. Guardrails that name it refuse everything until it is there again.

        Raises:
            IndexNotFound: there is none of that name.
        """
        await self._check_exists(index)
        await self._store.delete(INDICES, index)
        await self._store.delete_by_query(index, {"match_all": {}})
        return {"acknowledged": True}

    async def put(self, index: str, doc_id: str | None, body: Mapping[str, Any]) -> Written:
        """Store a document, which has to have a query that the embedded store can do.

        Raises:
            IndexNotFound: there is no such index.
            IllegalArgument, ParsingFailed: it has no query, or one that cannot be done; the text names the clause.
        """
        await self._check_exists(index)
        if "query" not in body:
            raise IllegalArgument(f"a document of [{index}] must have a [query]")
        check_stored(body["query"], compile_query)
        return await self._store.put(index, doc_id, body)

    async def get(self, index: str, doc_id: str) -> dict[str, Any]:
        """Return a document as OpenSearch shows it: with ``found`` false where there is none of that id.

        Raises:
            IndexNotFound: there is no such index.
        """
        await self._check_exists(index)
        document = await self._store.get(index, doc_id)
        if document is None:
            return {"_index": index, "_id": doc_id, "found": False}
        return {
            "_index": index,
            "_id": doc_id,
            "_version": document.version,
            "_seq_no": document.seq_no,
            "_primary_term": document.primary_term,
            "found": True,
            "_source": document.source,
        }

    async def remove(self, index: str, doc_id: str) -> Written:
        """Delete a document.

        Raises:
            IndexNotFound: there is no such index.
        """
        await self._check_exists(index)
        return await self._store.delete(index, doc_id)

    async def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what OpenSearch answers to a search.

        Raises:
            IndexNotFound: there is no such index.
        """
        await self._check_exists(index)
        return await self._store.search(index, body)

    async def _check_exists(self, index: str) -> Document:
        _check_name(index)
        document = await self._store.get(INDICES, index)
        if document is None:
            raise IndexNotFound(index)
        return document


def _check_name(index: str) -> None:
    if index != SYSTEM and not _NAME.fullmatch(index):
        raise IllegalArgument(
            f"Invalid index name [{index[:255]}], it must be lower case letters, digits, dots, hyphens and underscores,"
            f" and begin with a letter or digit; or be {SYSTEM}"
        )


def _check_mapping(body: Mapping[str, Any]) -> None:
    mappings = body.get("mappings")
    properties = mappings.get("properties") if isinstance(mappings, Mapping) else None
    if not isinstance(properties, Mapping) or _type(properties.get("query")) != "percolator":
        raise IllegalArgument(
            "without a cluster an index can hold stop words and nothing else: its mapping must have the field [query]"
            f" of type [percolator], as in {_EXAMPLE}"
        )
    for name, field in properties.items():
        if _type(field) not in _FIELD_TYPES:
            raise IllegalArgument(f"[{name}] must be of type {' or '.join(_FIELD_TYPES)}, as in {_EXAMPLE}")


def _type(field: object) -> object:
    return field.get("type") if isinstance(field, Mapping) else None

"""Where documents live.

A store keeps JSON documents in named indices, as OpenSearch does: each has an id, a ``_seq_no`` and a ``_version``, and
a write may demand the ``_seq_no`` it was based on. :class:`Store` is the seam; every implementation passes
``tests/store/contract.py``.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mlcommons_py.errors import MLCommonsError, VersionConflict

CONTENT = "model_content"
"""The field under which a document's binary content shows, base64-encoded, to whoever asks for it."""

Source = Mapping[str, Any]


def new_id() -> str:
    """Return a random id of 20 url-safe characters, which no command line takes for an option."""
    while (made := secrets.token_urlsafe(15)).startswith("-"):
        pass
    return made


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document as it was at one moment.

    Attributes:
        source: the JSON object, without its binary content.
        seq_no: grows by one with every write of the index; with ``primary_term`` it names this state of the document.
        version: 1 when created, one more with each change.
    """

    index: str
    id: str
    source: dict[str, Any]
    seq_no: int
    primary_term: int
    version: int


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did."""

    index: str
    id: str
    result: Literal["created", "updated", "deleted", "noop", "not_found"]
    version: int
    seq_no: int
    primary_term: int

    def to_json(self) -> dict[str, Any]:
        """Return the body that OpenSearch's document APIs answer with."""
        return {
            "_index": self.index,
            "_id": self.id,
            "_version": self.version,
            "result": self.result,
            "forced_refresh": True,
            "_shards": {"total": 1, "successful": 1, "failed": 0},
            "_seq_no": self.seq_no,
            "_primary_term": self.primary_term,
        }


@dataclass(frozen=True, slots=True)
class Put:
    """One write of a :meth:`Store.bulk` call: store ``source`` whole under ``id``."""

    index: str
    id: str
    source: Source
    create: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """One deletion of a :meth:`Store.bulk` call."""

    index: str
    id: str


Operation = Put | Delete


class Store(Protocol):
    """Documents in indices. A missing index is an empty one; it appears with the first write.

    What was written is visible to every read and search that begins then, whoever wrote it, also where a reader knows
    of it before the writer was answered; but for what :meth:`put` was told may wait. Every method may raise
    :class:`~mlcommons_py.errors.MLCommonsError`.
    """

    async def exists(self, index: str) -> bool:
        """Return whether an index is there, be it empty; what was seen may be believed for half a minute."""

    async def get(self, index: str, doc_id: str) -> Document | None:
        """Return a document, or None where there is none."""

    async def put(
        self,
        index: str,
        doc_id: str | None,
        source: Source,
        *,
        create: bool = False,
        if_seq_no: int | None = None,
        if_primary_term: int | None = None,
        content: bytes | None = None,
        at_once: bool = True,
    ) -> Written:
        """Store a whole document; without an id it gets a new one of 20 url-safe characters.

        ``content`` is binary content kept beside the document (a model's chunk); a document that is stored again
        without it loses it. With ``create`` an existing document is a conflict. Not ``at_once``, a read by id may
        miss it for a second or so, and :meth:`settle` is not for it; searches find it.

        Raises:
            VersionConflict: the document is not in the state that ``if_seq_no`` and ``if_primary_term`` name, or
                exists although ``create`` was asked for.
        """

    async def update(
        self,
        index: str,
        doc_id: str,
        changes: Source,
        *,
        if_seq_no: int | None = None,
        if_primary_term: int | None = None,
    ) -> Written | None:
        """Merge ``changes`` into a document as OpenSearch's update does: objects key by key, all else replaced.

        Content stays. Returns None where there is no such document.

        Raises:
            VersionConflict: as :meth:`put`.
        """

    async def delete(
        self, index: str, doc_id: str, *, if_seq_no: int | None = None, if_primary_term: int | None = None
    ) -> Written:
        """Delete a document and its content; the result is ``not_found`` where there was none.

        Raises:
            VersionConflict: as :meth:`put`.
        """

    async def content(self, index: str, doc_id: str) -> bytes | None:
        """Return a document's binary content, or None where it has none."""

    async def search(self, index: str, body: Mapping[str, Any], *, latest: bool = True) -> dict[str, Any]:
        """Return what OpenSearch answers to a search body.

        That is ``took``, ``timed_out``, ``_shards``, ``hits`` and, where asked for, ``aggregations``.

        Content shows in a hit only where ``_source`` names :data:`CONTENT`, base64-encoded. Not ``latest``, as where
        the service may do nothing but read, it may miss what was written within the last second.

        Raises:
            ParsingFailed: the body has a clause that this store cannot do; the text names it.
            ResourceNotFound: it looks for stored queries (``percolate``), and there is no such index.
        """

    async def bulk(self, operations: Sequence[Operation]) -> list[Written | MLCommonsError]:
        """Do many writes; each succeeds or fails by itself, in order."""

    async def delete_by_query(self, index: str, query: Mapping[str, Any]) -> int:
        """Delete every document that a query finds; return how many."""

    async def settle(self) -> None:
        """Have everybody see what was written, also who searches the indices without the service.

        Where the store cannot do that now they see it after a second or so.
        """

    async def nodes_with(self, plugin: str) -> frozenset[str]:
        """Return the ids of the store's own nodes that have a plugin, none where the service may not ask.

        Raises:
            Unavailable: not all of its nodes answer.
        """

    async def close(self) -> None:
        """Write out what is pending and let go of files and connections."""


__all__ = [
    "CONTENT",
    "Delete",
    "Document",
    "Operation",
    "Put",
    "Source",
    "Store",
    "VersionConflict",
    "Written",
    "new_id",
]

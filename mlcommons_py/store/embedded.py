"""The embedded store: one SQLite file, for a service without a cluster."""

import asyncio
import base64
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import orjson

from mlcommons_py.errors import MLCommonsError, VersionConflict
from mlcommons_py.store import Delete, Document, Operation, Source, Written, new_id
from mlcommons_py.store.answers import NOWHERE
from mlcommons_py.store.database import Database
from mlcommons_py.store.encoding import Expected, encode, merge, required, same
from mlcommons_py.store.encoding import expected as expected_state
from mlcommons_py.store.fields import Candidate
from mlcommons_py.store.search import Search
from mlcommons_py.store.searching import check_shown, refuse_missing

PRIMARY_TERM = 1
_MAX_IDS = 500


class EmbeddedStore:
    """Documents in a SQLite file, their binary content beside them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, path: Path) -> "EmbeddedStore":
        """Open a file, creating it where there is none.

        Raises:
            Unavailable: another process has it open, it is no database of this service, or it cannot be written.
        """
        return cls(await asyncio.to_thread(Database.open, path))

    async def exists(self, index: str) -> bool:
        """Return whether an index is there, be it empty."""
        return await self._database.read(lambda connection: _exists(connection, index))

    async def get(self, index: str, doc_id: str) -> Document | None:
        """Return a document, or None where there is none."""
        return await self._database.read(lambda connection: _read(connection, index, doc_id))

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
        """Store a whole document; reads know it at once in any case."""
        del at_once
        expected = expected_state(if_seq_no, if_primary_term)
        chosen = doc_id if doc_id is not None else new_id()
        return await self._database.write(
            lambda connection: _put(
                connection, index, chosen, source, create=create, expected=expected, content=content
            )
        )

    async def update(
        self,
        index: str,
        doc_id: str,
        changes: Source,
        *,
        if_seq_no: int | None = None,
        if_primary_term: int | None = None,
    ) -> Written | None:
        """Merge changes into a document."""
        expected = expected_state(if_seq_no, if_primary_term)
        return await self._database.write(lambda connection: _update(connection, index, doc_id, changes, expected))

    async def delete(
        self, index: str, doc_id: str, *, if_seq_no: int | None = None, if_primary_term: int | None = None
    ) -> Written:
        """Delete a document and its content."""
        expected = expected_state(if_seq_no, if_primary_term)
        return await self._database.write(lambda connection: _delete(connection, index, doc_id, expected), shrinks=True)

    async def content(self, index: str, doc_id: str) -> bytes | None:
        """Return a document's binary content, or None where it has none."""
        return await self._database.read(lambda connection: _content(connection, index, doc_id))

    async def search(self, index: str, body: Mapping[str, Any], *, latest: bool = True) -> dict[str, Any]:
        """Return what OpenSearch answers to a search body.

        Raises:
            IllegalArgument: the hits would show more than too many bytes of content.
            ResourceNotFound: stored queries are looked for, and there is no such index.
        """
        del latest

        def read(connection: sqlite3.Connection) -> dict[str, Any]:
            shown = 0

            def packed(one: Candidate) -> str | None:
                nonlocal shown
                content = _content(connection, index, one.id)
                if content is None:
                    return None
                shown += len(content)
                check_shown(shown)
                return base64.b64encode(content).decode()

            search = Search(body)
            if not _exists(connection, index):
                refuse_missing(index, body)
            # Closed at once, for a statement that is left half-way holds the state it reads.
            with closing(_candidates(connection, index, search.ids)) as candidates:
                return search.run(candidates, packed)

        return await self._database.read(read)

    async def bulk(self, operations: Sequence[Operation]) -> list[Written | MLCommonsError]:
        """Do many writes, all in one transaction; one that fails leaves the others."""
        return await self._database.write(
            lambda connection: [_attempt(connection, operation) for operation in operations],
            shrinks=any(isinstance(one, Delete) for one in operations),
        )

    async def delete_by_query(self, index: str, query: Mapping[str, Any]) -> int:
        """Delete every document that a query finds; return how many."""

        def write(connection: sqlite3.Connection) -> int:
            search = Search({"query": query})
            with closing(_candidates(connection, index, search.ids)) as candidates:
                found = [one.id for _, one in search.matches(candidates)]
            for doc_id in found:
                _delete(connection, index, doc_id, None)
            return len(found)

        return await self._database.write(write, shrinks=True)

    async def settle(self) -> None:
        """Do nothing: everybody sees what was written."""

    async def nodes_with(self, plugin: str) -> frozenset[str]:  # noqa: ARG002 - a file has no plugins
        """Return nothing: a file has no nodes."""
        return frozenset()

    async def close(self) -> None:
        """Finish what is being written, and let go of the file."""
        await asyncio.to_thread(self._database.close)


def _read(connection: sqlite3.Connection, index: str, doc_id: str) -> Document | None:
    row = connection.execute(
        "SELECT seq_no, version, source FROM documents WHERE idx = ? AND id = ?", (index, doc_id)
    ).fetchone()
    if row is None:
        return None
    return Document(index, doc_id, orjson.loads(row[2]), row[0], PRIMARY_TERM, row[1])


def _exists(connection: sqlite3.Connection, index: str) -> bool:
    """Return whether anything was ever written to an index."""
    return connection.execute("SELECT 1 FROM sequences WHERE idx = ?", (index,)).fetchone() is not None


def _content(connection: sqlite3.Connection, index: str, doc_id: str) -> bytes | None:
    row = connection.execute("SELECT rowid FROM contents WHERE idx = ? AND id = ?", (index, doc_id)).fetchone()
    if row is None:
        return None
    # A SELECT of the content itself would hold it twice, once for SQLite and once for us.
    with connection.blobopen("contents", "content", row[0], readonly=True) as blob:
        return blob.read()


def _candidates(
    connection: sqlite3.Connection, index: str, ids: frozenset[str] | None
) -> Generator[Candidate, None, None]:
    sql, values = "SELECT id, seq_no, version, source FROM documents WHERE idx = ?", [index]
    if ids is not None and len(ids) <= _MAX_IDS:
        sql, values = f"{sql} AND id IN ({', '.join('?' * len(ids))})", [index, *sorted(ids)]
    with closing(connection.execute(sql, values)) as rows:
        for doc_id, seq_no, version, source in rows:
            yield Candidate(index, doc_id, seq_no, version, orjson.loads(source))


def _check(index: str, doc_id: str, before: Document | None, expected: Expected) -> None:
    if expected is None:
        return
    if before is None:
        raise VersionConflict(index, doc_id, f"{required(expected)} but no document was found")
    if (before.seq_no, before.primary_term) != expected:
        current = f"seqNo [{before.seq_no}] and primary term [{before.primary_term}]"
        raise VersionConflict(index, doc_id, f"{required(expected)} current document has {current}")


def _next(connection: sqlite3.Connection, index: str) -> int:
    (number,) = connection.execute(
        "INSERT INTO sequences VALUES (?, 1) ON CONFLICT (idx) DO UPDATE SET next = next + 1 RETURNING next - 1",
        (index,),
    ).fetchone()
    return int(number)


def _store(connection: sqlite3.Connection, index: str, doc_id: str, source: bytes, before: Document | None) -> Written:
    seq_no, version = _next(connection, index), 1 if before is None else before.version + 1
    connection.execute(
        "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)", (index, doc_id, seq_no, version, source)
    )
    result: Literal["created", "updated"] = "created" if before is None else "updated"
    return Written(index, doc_id, result, version, seq_no, PRIMARY_TERM)


def _put(
    connection: sqlite3.Connection,
    index: str,
    doc_id: str,
    source: Source,
    *,
    create: bool,
    expected: Expected,
    content: bytes | None,
) -> Written:
    before, encoded = _read(connection, index, doc_id), encode(doc_id, source)
    if create and before is not None:
        raise VersionConflict(index, doc_id, f"document already exists (current version [{before.version}])")
    _check(index, doc_id, before, expected)
    written = _store(connection, index, doc_id, encoded, before)
    if content is not None:
        connection.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", (index, doc_id, content))
    elif before is not None:
        connection.execute("DELETE FROM contents WHERE idx = ? AND id = ?", (index, doc_id))
    return written


def _update(
    connection: sqlite3.Connection, index: str, doc_id: str, changes: Source, expected: Expected
) -> Written | None:
    before = _read(connection, index, doc_id)
    if before is None:
        return None
    _check(index, doc_id, before, expected)
    after = merge(before.source, changes)
    if same(doc_id, after, before.source):
        return Written(index, doc_id, "noop", before.version, before.seq_no, PRIMARY_TERM)
    return _store(connection, index, doc_id, encode(doc_id, after), before)


def _delete(connection: sqlite3.Connection, index: str, doc_id: str, expected: Expected) -> Written:
    before = _read(connection, index, doc_id)
    _check(index, doc_id, before, expected)
    if before is None and not _exists(connection, index):
        return Written(index, doc_id, "not_found", 1, NOWHERE, 0)
    seq_no = _next(connection, index)
    if before is None:
        return Written(index, doc_id, "not_found", 1, seq_no, PRIMARY_TERM)
    connection.execute("DELETE FROM documents WHERE idx = ? AND id = ?", (index, doc_id))
    connection.execute("DELETE FROM contents WHERE idx = ? AND id = ?", (index, doc_id))
    return Written(index, doc_id, "deleted", before.version + 1, seq_no, PRIMARY_TERM)


def _attempt(connection: sqlite3.Connection, operation: Operation) -> Written | MLCommonsError:
    try:
        if isinstance(operation, Delete):
            return _delete(connection, operation.index, operation.id, None)
        index, doc_id, source = operation.index, operation.id, operation.source
        return _put(connection, index, doc_id, source, create=operation.create, expected=None, content=None)
    except MLCommonsError as fault:
        return fault

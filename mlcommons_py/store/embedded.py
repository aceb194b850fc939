"""The embedded store: one SQLite file, for a service without a cluster."""

import asyncio
import base64
import fcntl
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import orjson

from mlcommons_py.errors import MLCommonsError, Unavailable, VersionConflict
from mlcommons_py.store import Delete, Document, Operation, Source, Written
from mlcommons_py.store.fields import Candidate
from mlcommons_py.store.search import Search

T = TypeVar("T")

SCHEMA_VERSION = 1
PRIMARY_TERM = 1
_READERS = 4

_SCHEMA = """
CREATE TABLE documents (
    idx TEXT NOT NULL, id TEXT NOT NULL, seq_no INTEGER NOT NULL, version INTEGER NOT NULL, source BLOB NOT NULL,
    PRIMARY KEY (idx, id)
);
CREATE TABLE contents (idx TEXT NOT NULL, id TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (idx, id));
CREATE TABLE sequences (idx TEXT PRIMARY KEY, next INTEGER NOT NULL);
"""


class EmbeddedStore:
    """Documents in a SQLite file in WAL mode, their binary content beside them.

    One process owns a file. Writes go through one connection, in one thread, each in a transaction; reads run beside
    them in threads of their own.
    """

    def __init__(self, path: Path, lock: IO[bytes], writer: sqlite3.Connection) -> None:
        self._path = path
        self._lock = lock
        self._writer = writer
        self._writing = ThreadPoolExecutor(1, "store-write")
        self._reading = ThreadPoolExecutor(_READERS, "store-read")
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []

    @classmethod
    async def open(cls, path: Path) -> "EmbeddedStore":
        """Open a file, creating it where there is none.

        Raises:
            Unavailable: another process has it open, it is no database of this service, or it cannot be written.
        """
        return await asyncio.to_thread(cls._open, path)

    @classmethod
    def _open(cls, path: Path) -> "EmbeddedStore":
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_suffix(".lock").open("ab")
        except OSError as fault:
            raise Unavailable(f"the store {path} cannot be opened: {fault}") from fault
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            lock.close()
            raise Unavailable(
                f"the store {path} is in use by another process; stop that one, or choose another --data directory"
            ) from fault
        try:
            return cls(path, lock, _writer(path))
        except (sqlite3.Error, Unavailable) as fault:
            lock.close()
            reason = fault.reason if isinstance(fault, Unavailable) else str(fault)
            raise Unavailable(f"the store {path} cannot be opened: {reason}") from fault

    async def get(self, index: str, doc_id: str) -> Document | None:
        """Return a document, or None where there is none."""

        def read(connection: sqlite3.Connection) -> Document | None:
            return _read(connection, index, doc_id)

        return await self._read(read)

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
    ) -> Written:
        """Store a whole document."""
        expected = _expected(if_seq_no, if_primary_term)
        chosen = doc_id if doc_id is not None else _new_id()

        def write(connection: sqlite3.Connection) -> Written:
            return _put(connection, index, chosen, source, create=create, expected=expected, content=content)

        return await self._write(write)

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
        expected = _expected(if_seq_no, if_primary_term)

        def write(connection: sqlite3.Connection) -> Written | None:
            before = _read(connection, index, doc_id)
            _check(index, doc_id, before, expected)
            if before is None:
                return None
            after = merge(before.source, changes)
            if after == before.source:
                return Written(index, doc_id, "noop", before.version, before.seq_no, PRIMARY_TERM)
            return _store(connection, index, doc_id, after, before)

        return await self._write(write)

    async def delete(
        self, index: str, doc_id: str, *, if_seq_no: int | None = None, if_primary_term: int | None = None
    ) -> Written:
        """Delete a document and its content."""
        expected = _expected(if_seq_no, if_primary_term)

        def write(connection: sqlite3.Connection) -> Written:
            return _delete(connection, index, doc_id, expected)

        return await self._write(write, shrinks=True)

    async def content(self, index: str, doc_id: str) -> bytes | None:
        """Return a document's binary content, or None where it has none."""

        def read(connection: sqlite3.Connection) -> bytes | None:
            return _content(connection, index, doc_id)

        return await self._read(read)

    async def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what OpenSearch answers to a search body."""

        def read(connection: sqlite3.Connection) -> dict[str, Any]:
            def packed(one: Candidate) -> str | None:
                content = _content(connection, index, one.id)
                return None if content is None else base64.b64encode(content).decode()

            return Search(body).run(_candidates(connection, index), packed)

        return await self._read(read)

    async def bulk(self, operations: Sequence[Operation]) -> list[Written | MLCommonsError]:
        """Do many writes, all in one transaction; one that fails leaves the others."""

        def write(connection: sqlite3.Connection) -> list[Written | MLCommonsError]:
            return [_attempt(connection, operation) for operation in operations]

        return await self._write(write, shrinks=any(isinstance(one, Delete) for one in operations))

    async def delete_by_query(self, index: str, query: Mapping[str, Any]) -> int:
        """Delete every document that a query finds; return how many."""

        def write(connection: sqlite3.Connection) -> int:
            body = {"query": query, "size": 10_000, "_source": False}
            deleted = 0
            while hits := Search(body).run(_candidates(connection, index), lambda _: None)["hits"]["hits"]:
                for hit in hits:
                    _delete(connection, index, hit["_id"], None)
                deleted += len(hits)
            return deleted

        return await self._write(write, shrinks=True)

    async def close(self) -> None:
        """Finish what is being written, and let go of the file."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writing.shutdown()
        self._reading.shutdown()
        for connection in (*self._readers, self._writer):
            connection.close()
        self._lock.close()

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = _connect(self._path)
                connection.execute("PRAGMA query_only = ON")
                self._readers.append(connection)
            return work(connection)

        return await _run(self._reading, run)

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, shrinks: bool = False) -> T:
        def run() -> T:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                done = work(self._writer)
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")
            if shrinks:
                self._writer.executescript("PRAGMA incremental_vacuum")  # execute() would free a single page
            return done

        # A caller that is cancelled must not take its write with it half-way: the thread finishes either way.
        return await asyncio.shield(asyncio.ensure_future(_run(self._writing, run)))


async def _run(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
    except sqlite3.Error as fault:
        raise Unavailable(f"the embedded store failed: {fault}") from fault


def merge(before: Source, changes: Source) -> dict[str, Any]:
    """Return a document with changes: objects key by key, all else replaced.

    >>> merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [2]})
    {'a': {'b': 3, 'c': 2}, 'd': [2]}
    """
    after = dict(before)
    for key, value in changes.items():
        kept = after.get(key)
        after[key] = merge(kept, value) if isinstance(kept, Mapping) and isinstance(value, Mapping) else value
    return after


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA cache_size = -4000")
    return connection


def _writer(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version > SCHEMA_VERSION or (version == 0 and tables):
        connection.close()
        raise Unavailable(f"it has schema version {version}, this version of the service knows up to {SCHEMA_VERSION}")
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # What a client was told is done survives the loss of power, not only of the process.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {32 << 20}")
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    return connection


Expected = tuple[int, int] | None


def _new_id() -> str:
    """Return a random id of 20 characters that no command line takes for an option."""
    while (made := secrets.token_urlsafe(15)).startswith("-"):
        pass
    return made


def _expected(seq_no: int | None, primary_term: int | None) -> Expected:
    if (seq_no is None) != (primary_term is None):
        raise ValueError("if_seq_no and if_primary_term are given together or not at all")
    return None if seq_no is None or primary_term is None else (seq_no, primary_term)


def _read(connection: sqlite3.Connection, index: str, doc_id: str) -> Document | None:
    row = connection.execute(
        "SELECT seq_no, version, source FROM documents WHERE idx = ? AND id = ?", (index, doc_id)
    ).fetchone()
    if row is None:
        return None
    return Document(index, doc_id, orjson.loads(row[2]), row[0], PRIMARY_TERM, row[1])


def _content(connection: sqlite3.Connection, index: str, doc_id: str) -> bytes | None:
    row = connection.execute("SELECT content FROM contents WHERE idx = ? AND id = ?", (index, doc_id)).fetchone()
    return None if row is None else row[0]


def _candidates(connection: sqlite3.Connection, index: str) -> Iterator[Candidate]:
    rows = connection.execute("SELECT id, seq_no, version, source FROM documents WHERE idx = ?", (index,))
    for doc_id, seq_no, version, source in rows:
        yield Candidate(index, doc_id, seq_no, version, orjson.loads(source))


def _check(index: str, doc_id: str, before: Document | None, expected: Expected) -> None:
    if expected is None:
        return
    required = f"seqNo [{expected[0]}], primary term [{expected[1]}]"
    if before is None:
        raise VersionConflict(index, doc_id, required, "no seqNo: it does not exist")
    if (before.seq_no, before.primary_term) != expected:
        raise VersionConflict(
            index, doc_id, required, f"seqNo [{before.seq_no}] and primary term [{before.primary_term}]"
        )


def _next(connection: sqlite3.Connection, index: str) -> int:
    (number,) = connection.execute(
        "INSERT INTO sequences VALUES (?, 1) ON CONFLICT (idx) DO UPDATE SET next = next + 1 RETURNING next - 1",
        (index,),
    ).fetchone()
    return int(number)


def _store(connection: sqlite3.Connection, index: str, doc_id: str, source: Source, before: Document | None) -> Written:
    seq_no, version = _next(connection, index), 1 if before is None else before.version + 1
    connection.execute(
        "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)",
        (index, doc_id, seq_no, version, orjson.dumps(source)),
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
    before = _read(connection, index, doc_id)
    if create and before is not None:
        raise VersionConflict(index, doc_id, "that it does not exist", f"version [{before.version}]")
    _check(index, doc_id, before, expected)
    written = _store(connection, index, doc_id, source, before)
    if content is not None:
        connection.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", (index, doc_id, content))
    elif before is not None:
        connection.execute("DELETE FROM contents WHERE idx = ? AND id = ?", (index, doc_id))
    return written


def _delete(connection: sqlite3.Connection, index: str, doc_id: str, expected: Expected) -> Written:
    before = _read(connection, index, doc_id)
    _check(index, doc_id, before, expected)
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
        return _put(
            connection,
            operation.index,
            operation.id,
            operation.source,
            create=operation.create,
            expected=None,
            content=None,
        )
    except MLCommonsError as fault:
        return fault

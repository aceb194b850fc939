"""The SQLite file under the embedded store: who owns it, which threads touch it, how it is kept small."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TypeVar

from mlcommons_py.errors import Unavailable
from mlcommons_py.held_file import held

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

SCHEMA_VERSION = 1
_READERS = 4
_VACUUM_PAGES = 1000
_SCHEMA = """
CREATE TABLE documents (
    idx TEXT NOT NULL, id TEXT NOT NULL, seq_no INTEGER NOT NULL, version INTEGER NOT NULL, source BLOB NOT NULL,
    PRIMARY KEY (idx, id)
);
CREATE TABLE contents (idx TEXT NOT NULL, id TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (idx, id));
CREATE TABLE sequences (idx TEXT PRIMARY KEY, next INTEGER NOT NULL);
"""
_TABLES = {"documents", "contents", "sequences"}


def lock_of(path: Path) -> Path:
    """Return the file whose lock says that a process has the store open."""
    return path.with_name(f"{path.name}.lock")


class Database:
    """A SQLite file in WAL mode that this process alone has open.

    Writes run one at a time, in one thread, each in a transaction; reads run beside them in threads of their own, each
    over one unchanging state of the file.
    """

    def __init__(self, path: Path, lock: IO[bytes], writer: sqlite3.Connection) -> None:
        self._path = path
        self._lock = lock
        self._writer = writer
        self._writing = ThreadPoolExecutor(1, "store-write")
        self._reading = ThreadPoolExecutor(_READERS, "store-read")
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._writing.submit(self._vacuum)  # what a process that died had not given back yet

    @classmethod
    def open(cls, path: Path) -> "Database":
        """Open a file, creating it where there is none; not to be called on the event loop.

        Raises:
            Unavailable: another process has it open, it is no database of this service, or it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = held(lock_of(path))
        except BlockingIOError as fault:
            raise Unavailable(
                f"the store {path} is in use by another process; stop that one, or choose another --data directory"
            ) from fault
        except OSError as fault:
            raise Unavailable(f"the store {path} cannot be opened: {fault}") from fault
        try:
            return cls(path, lock, _connect_writer(path))
        except (sqlite3.Error, Unavailable) as fault:
            lock.close()
            reason = fault.reason if isinstance(fault, Unavailable) else str(fault)
            raise Unavailable(f"the store {path} cannot be opened: {reason}") from fault

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` in a reader's thread; all that it reads is of one moment."""
        return await self._run(self._reading, lambda: self._read(work))

    async def write(self, work: Work[T], *, shrinks: bool = False) -> T:
        """Run ``work`` in the writer's thread, in a transaction: all of it happens, or nothing.

        With ``shrinks`` the space that becomes free is given back to the file system soon after.
        """
        # A caller that is cancelled must not take its write with it half-way: the thread finishes either way.
        run = asyncio.ensure_future(self._run(self._writing, lambda: self._write(work)))
        try:
            return await asyncio.shield(run)
        finally:
            if shrinks:
                self._submit_vacuum()

    def close(self) -> None:
        """Finish what is under way, and let go of the file; not to be called on the event loop."""
        self._closed = True
        self._writing.shutdown()
        self._reading.shutdown()
        for connection in (*self._readers, self._writer):
            connection.close()
        self._lock.close()

    async def _run(self, pool: ThreadPoolExecutor, run: Callable[[], T]) -> T:
        if self._closed:
            raise Unavailable(f"the store {self._path} is closed")
        try:
            running = asyncio.get_running_loop().run_in_executor(pool, run)
        except RuntimeError as fault:  # closed since we looked
            raise Unavailable(f"the store {self._path} is closed") from fault
        try:
            return await running
        except sqlite3.Error as fault:
            raise Unavailable(f"the store {self._path} failed: {fault}") from fault

    def _read(self, work: Work[T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self._path)
            connection.execute("PRAGMA query_only = ON")
            self._readers.append(connection)
        with _transaction(connection, "DEFERRED"):
            return work(connection)

    def _write(self, work: Work[T]) -> T:
        with _transaction(self._writer, "IMMEDIATE"):
            return work(self._writer)

    def _submit_vacuum(self) -> None:
        with contextlib.suppress(RuntimeError):  # the store is being closed; the next one to open it goes on
            self._writing.submit(self._vacuum)

    def _vacuum(self) -> None:
        """Give some free pages back, and come again for more, so that writes get their turn between."""
        with contextlib.suppress(sqlite3.Error):  # a full disk, say: the pages stay, to be used again
            # execute() would free a single page.
            self._writer.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
            (free,) = self._writer.execute("PRAGMA freelist_count").fetchone()
            if free:
                self._submit_vacuum()


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # After some faults, such as a full disk, SQLite has rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    # Small caches bound the memory: a longer transaction spills into the write-ahead log.
    connection.execute("PRAGMA cache_size = -4000")
    return connection


def _connect_writer(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    with closing(connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")) as rows:
        tables = {name for (name,) in rows}
    if version > SCHEMA_VERSION and tables >= _TABLES:
        raise Unavailable(
            f"it has schema version {version}, and this version of the service knows up to {SCHEMA_VERSION};"
            " start the version that wrote it, or a newer one"
        )
    if not (version == SCHEMA_VERSION and tables >= _TABLES) and (version or tables):
        raise Unavailable("it is a SQLite file of another program; choose another --data directory")
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # With NORMAL a kill loses nothing either, but a power cut may take the last commits back; a client that was told
    # "Uploaded" does not send that chunk again.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {32 << 20}")
    # Some distributions build SQLite so that it overwrites what is deleted: gigabytes of zeros for a model.
    connection.execute("PRAGMA secure_delete = FAST")
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

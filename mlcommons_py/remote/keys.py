"""The keys that credentials are encrypted with: the cluster's master key, and those that the operator gives.

The cluster's key is the document ``master_key`` of ``.plugins-ml-config``, as ML Commons makes and reads it
(``EncryptorImpl.java``), so that either can take over from the other.
"""

import base64
import binascii
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mlcommons_py.errors import CredentialUnreadable, IllegalArgument, Unavailable, VersionConflict
from mlcommons_py.settings import Operator
from mlcommons_py.store import Document, Store
from mlcommons_py.store.record import now

CONFIG = ".plugins-ml-config"
MASTER_KEY = "master_key"
"""Id of the document of the cluster's key, and its field that has it."""

PREVIOUS = "master_key_previous"
"""Id of the document of the key that was the cluster's before, as long as some credentials may need it."""

_SIZES = (16, 24, 32)


@dataclass(frozen=True)
class Key:
    """An AES key.

    Attributes:
        material: 16, 24 or 32 bytes.
    """

    material: bytes = field(repr=False)

    @cached_property
    def id(self) -> str:
        """A name for it that does not tell it: 16 hex digits of its SHA-256."""
        return hashlib.sha256(b"mlcommons-py master key" + self.material).hexdigest()[:16]

    @property
    def text(self) -> str:
        """The key in base64, as ML Commons stores it."""
        return base64.b64encode(self.material).decode()

    @classmethod
    def random(cls) -> "Key":
        """Return a new key of 32 bytes."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: object, where: str) -> "Key":
        """Return the key that a text stands for in base64.

        Raises:
            IllegalArgument: it is none; the text says where it was found, and not what it is.
        """
        try:
            material = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        except (binascii.Error, ValueError):
            material = b""
        if len(material) not in _SIZES:
            raise IllegalArgument(
                f"{where} has no key: 32 random bytes in base64 are wanted, as `openssl rand -base64 32` makes them"
            )
        return cls(material)


def keys_of(operator: Operator) -> list[Key]:
    """Return the keys that the operator gives, the one to encrypt with first; none where the cluster's is to be used.

    Raises:
        IllegalArgument: the file cannot be read, or a key is none.
    """
    given = [("[master_key]", text) for text in re.split(r"[,\s]+", operator.master_key) if text]
    if operator.master_key_file is not None:
        given += _read(operator.master_key_file)
    return list(dict.fromkeys(Key.parse(text, where) for where, text in given))


def _read(file: Path) -> list[tuple[str, str]]:
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as fault:
        raise IllegalArgument(f"[master_key_file] {file} cannot be read: {type(fault).__name__}") from fault
    found = [(f"line {n} of {file}", line) for n, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if not found:
        raise IllegalArgument(f"[master_key_file] {file} has no key: a line is a key in base64, the first encrypts")
    return found


@dataclass(frozen=True, slots=True)
class Holder:
    """An index whose documents have encrypted credentials.

    Attributes:
        path: the keys that lead to the credential in a document.
        kind: what such a document is, ``connector`` or ``model``.
    """

    index: str
    path: tuple[str, ...]
    kind: str

    def owner(self, doc_id: str) -> str:
        """Return the name under which the credentials of a document are bound to it."""
        return f"{self.kind}/{doc_id}"


class Keys:
    """The keys of a service.

    Args:
        given: by the operator; the first of them encrypts. Without them the cluster's key does.
        holders: where credentials are; while there are some, a missing key of the cluster is lost, not yet to be made.
        ttl: returns for how many seconds the cluster's keys may be used without reading them again.
    """

    def __init__(self, store: Store, given: Sequence[Key], holders: Sequence[Holder], ttl: Callable[[], float]) -> None:
        self._store = store
        self.given = tuple(given)
        self.holders = tuple(holders)
        self._ttl = ttl
        self._kept: tuple[float, tuple[Key, ...]] | None = None

    async def current(self) -> Key:
        """Return the key to encrypt with; the cluster's is made where it is missing and was never used.

        It is read anew each time: what is encrypted after a rotation must be so with the new key.

        Raises:
            CredentialUnreadable: the cluster's key is lost.
        """
        return self.given[0] if self.given else await self.of_cluster()

    async def of_cluster(self, *, make: bool = False) -> Key:
        """Return the cluster's key; where it is missing it is made, if nothing was encrypted yet or ``make`` says so.

        Raises:
            CredentialUnreadable: it is lost.
        """
        key = await self._stored(MASTER_KEY)
        if key is None:
            if not make and await self.in_use():
                raise CredentialUnreadable(
                    f"the master key is lost: there are encrypted credentials, but no [{MASTER_KEY}] in [{CONFIG}]. No"
                    " new one is made, for it could not read them. Restore that document; or give the key that"
                    " encrypted them as master_key_file; or give a new one so, and PUT every connector with its"
                    " credential again"
                )
            key = await self._make()
        return key

    async def _make(self) -> Key:
        key = Key.random()
        try:
            await self._store.put(CONFIG, MASTER_KEY, {"master_key": key.text, "create_time": now()}, create=True)
        except VersionConflict:  # somebody was faster; there is one key for all
            stored = await self._stored(MASTER_KEY)
            if stored is None:
                raise Unavailable(f"[{MASTER_KEY}] in [{CONFIG}] comes and goes; try again") from None
            return stored
        return key

    async def all(self, *, anew: bool = False) -> tuple[Key, ...]:
        """Return every key that may have encrypted something; the cluster's as read at most ``ttl`` seconds ago.

        While the store does not answer they are those last read.
        """
        kept = self._kept
        if not anew and kept is not None and time.monotonic() - kept[0] < self._ttl():
            return kept[1]
        began = time.monotonic()
        try:
            stored = [await self._stored(MASTER_KEY), await self._stored(PREVIOUS)]
        except Unavailable:
            if kept is None:
                raise
            return kept[1]
        keys = tuple(dict.fromkeys((*self.given, *(key for key in stored if key is not None))))
        self._kept = began, keys
        return keys

    async def previous(self) -> Key | None:
        """Return the key that was the cluster's before, while a rotation is not finished."""
        return await self._stored(PREVIOUS)

    async def _stored(self, doc_id: str) -> Key | None:
        document = await self._store.get(CONFIG, doc_id)
        return None if document is None else self.read(document)

    @staticmethod
    def read(document: Document) -> Key:
        """Return the key that a document has.

        Raises:
            CredentialUnreadable: it has none.
        """
        try:
            return Key.parse(document.source.get("master_key"), f"[{document.id}] in [{CONFIG}]")
        except IllegalArgument as fault:
            raise CredentialUnreadable(fault.reason) from fault

    async def in_use(self) -> bool:
        """Return whether anything is encrypted."""
        for holder in self.holders:
            query = {"exists": {"field": ".".join(holder.path)}}
            if (await self._store.search(holder.index, {"query": query, "size": 1, "_source": False}))["hits"]["hits"]:
                return True
        return False

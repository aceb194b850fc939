"""A stored document as a frozen dataclass that keeps what it does not know."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, TypeVar

from mlcommons_py.errors import VersionConflict
from mlcommons_py.store import Document, Store, Written


def now() -> int:
    """Return the time in milliseconds since the epoch, as documents have it."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base of the documents that the service reads and writes.

    Attributes:
        other: stored keys that this version has no field for; they are written back as they were.
    """

    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, source: Mapping[str, Any]) -> Self:
        """Return the record that a stored document holds."""
        known = {one.name for one in fields(cls)} - {"other"}
        named = {key: value for key, value in source.items() if key in known}
        return cls(**named, other={key: value for key, value in source.items() if key not in known})

    def to_json(self) -> dict[str, Any]:
        """Return the document to store; a field that is None is left out."""
        named = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "other"}
        return {key: value for key, value in {**named, **self.other}.items() if value is not None}


R = TypeVar("R", bound=Record)


async def change(
    store: Store,
    index: str,
    doc_id: str,
    kind: type[R],
    make: Callable[[R], R | None],
    *,
    known: Document | None = None,
) -> tuple[R, Written] | None:
    """Replace a document by what ``make`` makes of it, again until no other writer comes between.

    ``known`` is the document as it was read a moment ago, where it was. Returns what was stored, or None where there is
    no such document, or ``make`` declined by returning None.
    """
    document = known or await store.get(index, doc_id)
    while document is not None:
        record = make(kind.from_json(document.source))
        if record is None:
            return None
        try:
            written = await store.put(
                index, doc_id, record.to_json(), if_seq_no=document.seq_no, if_primary_term=document.primary_term
            )
        except VersionConflict:
            document = await store.get(index, doc_id)
        else:
            return record, written
    return None

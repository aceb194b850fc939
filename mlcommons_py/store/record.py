"""A stored document as a frozen dataclass that keeps what it does not know."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


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

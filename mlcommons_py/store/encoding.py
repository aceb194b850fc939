"""What every store does with a document before it writes it."""

from collections.abc import Mapping
from typing import Any

import orjson

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.store import Source

Expected = tuple[int, int] | None
"""The sequence number and the primary term that a document must have; None if any will do."""


def encode(doc_id: str, source: Source, option: int | None = None) -> bytes:
    """Return a document as JSON; ``option`` is one of orjson's.

    Raises:
        IllegalArgument: JSON cannot hold it; the text names the document.
    """
    try:
        return orjson.dumps(source, option=option)
    except TypeError as fault:  # nested deeper than 254 levels, a whole number beyond 64 bits, a lone surrogate
        raise IllegalArgument(f"the document [{doc_id}] cannot be stored: {fault}") from fault


def same(doc_id: str, one: Source, other: Source) -> bool:
    """Return whether two documents are the same JSON, in which, unlike in Python, 1 is not true."""
    return encode(doc_id, one, orjson.OPT_SORT_KEYS) == encode(doc_id, other, orjson.OPT_SORT_KEYS)


def expected(seq_no: int | None, primary_term: int | None) -> Expected:
    """Return the condition that a caller put on a write.

    Raises:
        IllegalArgument: it is half a condition.
    """
    if seq_no is None and primary_term is None:
        return None
    if seq_no is None or primary_term is None:
        raise IllegalArgument("[if_seq_no] and [if_primary_term] are given together or not at all")
    return seq_no, primary_term


def required(condition: tuple[int, int]) -> str:
    """Return how a version conflict says which state a document had to be in."""
    return f"required seqNo [{condition[0]}], primary term [{condition[1]}]."


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

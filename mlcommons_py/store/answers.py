"""What a write did, read from OpenSearch's answer."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.store import Written

NOWHERE = -2
"""The sequence number that OpenSearch gives to what was not written."""


def written_of(body: Mapping[str, Any]) -> Written:
    """Return what a write did, as the document APIs and the items of a bulk tell it."""
    return Written(
        body["_index"], body["_id"], body["result"], body["_version"], body["_seq_no"], body["_primary_term"]
    )


def not_deleted(index: str, doc_id: str, body: Mapping[str, Any], *, repeated: bool) -> Written:
    """Return what a deletion did that found nothing; ``body`` is empty where there is no such index.

    A deletion that is ``repeated`` after a lost answer finds what its first try left: the trace of a document that was
    there, whose versions it continues.
    """
    version = body.get("_version", 1)
    state = body.get("_seq_no", NOWHERE), body.get("_primary_term", 0)
    if repeated and version > 1:
        return Written(index, doc_id, "deleted", version - 1, *state)
    return Written(index, doc_id, "not_found", version, *state)

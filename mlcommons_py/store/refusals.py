"""What the cluster refuses, and as which error a caller hears of it."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from opensearchpy.exceptions import TransportError

from mlcommons_py.errors import (
    CircuitBreaking,
    ContentTooLong,
    Forbidden,
    IllegalArgument,
    MLCommonsError,
    ParseFailed,
    ParsingFailed,
    StoreBusy,
    Unavailable,
    VersionConflict,
)

_BLOCKED = "cluster_block_exception"
_CLOSED = "index_closed_exception"
_GONE = "index_not_found_exception"
_PASSING = (429, 502, 503, 504)


class Refusal(Exception):
    """An answer of the cluster that is no success.

    Attributes:
        type: OpenSearch's name for it; empty where the answer is none of OpenSearch's.
        body: the whole answer, if it is a JSON object.
    """

    def __init__(self, status: int, body: Mapping[str, Any] | None) -> None:
        self.status = status
        self.body = body or {}
        error = self.body.get("error")
        cause = _cause(error) if isinstance(error, Mapping) else {}
        self.type = str(cause.get("type") or "")
        self.reason = str(cause.get("reason") or error or f"HTTP status {status}")
        super().__init__(self.reason)

    @property
    def passes(self) -> bool:
        """Whether it may be otherwise the next moment."""
        flooded = self.type == _BLOCKED and self.status == 429
        return self.status in _PASSING and not flooded

    @property
    def of_missing_index(self) -> bool:
        """Whether there is no such index."""
        return self.status == 404 and self.type == _GONE

    @property
    def of_missing_document(self) -> bool:
        """Whether the index is there, and has no such document."""
        missing = self.body.get("found") is False or self.body.get("result") == "not_found"
        return self.status == 404 and (missing or self.type == "document_missing_exception")

    def fault(self, index: str, doc_id: str = "") -> MLCommonsError:
        """Return the error that a caller hears of."""
        if self.type == _BLOCKED and self.status in (403, 429):
            return _blocked(self, index)
        if self.type == _CLOSED:
            return Unavailable(f"the index [{index}] is closed; open it: POST /{index}/_open")
        if self.status == 409:
            return VersionConflict(index, doc_id, self.reason.partition("version conflict, ")[2] or self.reason)
        return _FAULTS.get(self.status, _other)(self)


def read_refusal(fault: TransportError) -> Refusal:
    """Return the refusal that opensearch-py raised an error for."""
    status = fault.status_code if isinstance(fault.status_code, int) else 500
    body = fault.info
    if body is None:  # opensearch-py did not find it to be JSON
        try:
            body = orjson.loads(fault.error)
        except (orjson.JSONDecodeError, TypeError):
            body = None
    return Refusal(status, body if isinstance(body, Mapping) else None)


def refusal_of_item(item: Mapping[str, Any]) -> Refusal | None:
    """Return why one write of a bulk was refused; None if it was done."""
    status = int(item["status"])
    return Refusal(status, item) if "error" in item else None


def _cause(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the innermost cause that names what was wrong."""
    roots = error.get("root_cause")
    root = roots[0] if isinstance(roots, list) and roots and isinstance(roots[0], Mapping) else error
    inner = error.get("caused_by")
    if str(root.get("reason", "")).startswith("failed to parse") and isinstance(inner, Mapping):
        return {**root, "reason": f"{root['reason']}: {inner.get('reason')}"}
    return root


def _blocked(refusal: Refusal, index: str) -> MLCommonsError:
    if "read-only-allow-delete" in refusal.reason or "read-only / allow delete" in refusal.reason:
        return CircuitBreaking(
            f"the index [{index}] takes no writes, for a disk of the cluster is full ({refusal.reason}); free disk"
            f' space, and if the block stays: PUT /{index}/_settings {{"index.blocks.read_only_allow_delete": null}}'
        )
    return Forbidden(
        f"the index [{index}] is blocked ({refusal.reason}); lift the block:"
        f' PUT /{index}/_settings {{"index.blocks.read_only": null, "index.blocks.write": null}}'
    )


def _malformed(refusal: Refusal) -> MLCommonsError:
    if refusal.type in ("parsing_exception", "x_content_parse_exception", "named_object_not_found_exception"):
        return ParsingFailed(refusal.reason)
    return ParseFailed(refusal.reason) if refusal.type == "parse_exception" else IllegalArgument(refusal.reason)


def _too_much(refusal: Refusal) -> MLCommonsError:
    kind = CircuitBreaking.type if refusal.type == CircuitBreaking.type else StoreBusy.type
    return StoreBusy(f"the cluster has too much to do: {refusal.reason}", kind)


def _other(refusal: Refusal) -> MLCommonsError:
    return Unavailable(f"the cluster failed with status {refusal.status}: {refusal.reason}")


_FAULTS: Mapping[int, Callable[[Refusal], MLCommonsError]] = {
    400: _malformed,
    401: lambda _: Unavailable(
        "the cluster does not accept the service's credentials (401); check store_user and its password, store_token"
        " or store_client_cert"
    ),
    403: lambda refusal: Unavailable(
        f"the cluster forbids it to the service's user ({refusal.reason}); give that user's role the permission"
    ),
    413: lambda refusal: ContentTooLong(f"the cluster takes no body so long: {refusal.reason}"),
    429: _too_much,
}

"""The header fields of requests to providers.

The rules and the texts are those of ``AbstractConnector.java`` (``substituteHeadersWithRuntimeParameters``,
``validateConnectorHeaders``) and ``ConnectorUtils.validateSubstitutedHeaders``.
"""

import re
from collections.abc import Mapping

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import template
from mlcommons_py.remote.filling import Filling

_GUARDED = frozenset(
    "authorization proxy-authorization cookie x-api-key x-auth-token x-auth-header x-forwarded-for x-real-ip"
    " x-client-ip cf-connecting-ip true-client-ip x-originating-ip host x-forwarded-host x-forwarded-server"
    " forwarded".split()
)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LARGEST = 8192
_LARGEST_OF_ALL = 65536


def check(headers: Mapping[str, str] | None) -> None:
    """Check the header fields of an action, as the connector has them.

    Raises:
        IllegalArgument: a name is none, or a field that tells who asks is to be filled from parameters.
    """
    for name, value in (headers or {}).items():
        if not _NAME.fullmatch(name):
            raise IllegalArgument(f"[{name!r}] is not a name of a header field")
        if name.lower() in _GUARDED and "${parameters." in (value or ""):
            raise IllegalArgument(
                f"Header '{name}' cannot use ${{parameters.*}} placeholders for security reasons."
                " Use ${credential.*} instead."
            )


def fill(headers: Mapping[str, str] | None, filling: Filling, credential: Mapping[str, str]) -> dict[str, str]:
    """Return the header fields to send, with a ``Content-Type``.

    A credential's value is put in as it is; nothing in it is expanded.

    Raises:
        IllegalArgument: a field is refused, has no value for a placeholder, or is too large.
    """
    check(headers)
    filled: dict[str, str] = {}
    for name, value in (headers or {}).items():
        if value is not None:
            filled[name] = _value(name, value, filling, credential)
    _check_sizes(filled)
    if not any(name.lower() == "content-type" for name in filled):
        filled["Content-Type"] = "application/json"
    return filled


def lacking_credential(name: str, key: str) -> IllegalArgument:
    """Return the error for a header field with a ``${credential.x}`` that the connector has no credential for."""
    return IllegalArgument(
        f"Header '{name}' contains unresolved placeholder. Required credential is missing: give [credential.{key}]."
    )


def content_type(headers: Mapping[str, str] | None) -> str:
    """Return the media type that an action's header fields name, in lower case and without parameters."""
    for name, value in (headers or {}).items():
        if name.lower() == "content-type" and value:
            return value.partition(";")[0].strip().lower()
    return "application/json"


def _value(name: str, value: str, filling: Filling, credential: Mapping[str, str]) -> str:
    missing = len(filling.missing)
    filled = ""
    for piece in template.of_text(value):
        if isinstance(piece, str):
            filled += piece
        elif piece.kind == "credential":
            if piece.name not in credential:
                raise lacking_credential(name, piece.name)
            filled += credential[piece.name]
        else:
            filled += filling.hole(piece)
    if len(filling.missing) > missing:
        raise IllegalArgument(f"Header '{name}' contains unresolved placeholder. Required parameter is missing.")
    if _CONTROL.search(filled):
        raise IllegalArgument("Header value contains invalid control character")
    return filled


def _check_sizes(headers: Mapping[str, str]) -> None:
    sizes = [len(name) + len(value) for name, value in headers.items()]
    if max(sizes, default=0) > _LARGEST:
        raise IllegalArgument("Header size (key + value) exceeds 8KB limit")
    if sum(sizes) > _LARGEST_OF_ALL:
        raise IllegalArgument("Total headers size (key + value) exceeds 64KB limit")

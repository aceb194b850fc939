"""Reads what a provider answered.

The order of things, and the texts, are those of ``MLSdkAsyncHttpResponseHandler.java`` and
``ConnectorUtils.processOutput``.
"""

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import orjson

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument, MLCommonsError, RemoteFailed
from mlcommons_py.remote import charsets, paths, processors, tensors
from mlcommons_py.remote.documents import ActionType
from mlcommons_py.remote.exchange import Incoming
from mlcommons_py.remote.payload import Prepared
from mlcommons_py.remote.provider import PostProcess, Tensor

_ERROR = "Error from remote service: "
_THROTTLED = (
    f"{_ERROR}The request was denied due to remote server throttling. To change the retry policy and behavior, please"
    " update the connector client_config."
)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';]+)", re.IGNORECASE)
_TYPE_IN_FILTER = re.compile(
    r"\.(FLOAT32|FLOAT64|FLOAT16|UINT8|INT32|INT8|INT64|BOOLEAN|STRING|BINARY|UBINARY)\b", re.IGNORECASE
)
_LONGEST = 64_000
"""Characters of an error's body that are shown."""

_BEGINNING = 100


def check_answer(incoming: Incoming, prepared: Prepared | None = None) -> None:
    """Refuse an answer that is none.

    Raises:
        RemoteFailed: the provider refused or failed, with its status, text, and what it says of trying again; or what
            it answered is empty.
    """
    if 200 <= incoming.status <= 300:
        kind = ActionType.PREDICT if prepared is None else prepared.action_type
        if (not incoming.body or incoming.body.isspace()) and kind != ActionType.CANCEL_BATCH_PREDICT:
            raise RemoteFailed("Remote service returned empty response body", 502, remote=_remote(incoming))
        return
    remote = _remote(incoming)
    retry_after = incoming.headers.get("retry-after")
    if incoming.headers.get("x-amzn-errortype", "").startswith("ThrottlingException"):
        raise RemoteFailed(_THROTTLED, incoming.status, remote=remote, retry_after=retry_after)
    text = text_of(incoming, prepared)
    if not text.strip():
        reason = f"Remote service returned error status {incoming.status} with empty body"
        raise RemoteFailed(reason, incoming.status, remote=remote, retry_after=retry_after)
    text = hide(text, prepared)
    reason = _ERROR + (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
    raise RemoteFailed(reason, incoming.status, remote=remote, retry_after=retry_after)


def text_of(incoming: Incoming, prepared: Prepared | None = None) -> str:
    """Return the body of an answer as a text; what is not of its character set becomes U+FFFD."""
    said = _CHARSET.search(incoming.headers.get("content-type", ""))
    asked = "utf-8" if prepared is None else prepared.outgoing.charset
    for charset in (said[1] if said else asked, asked):
        name = charsets.named(charset)
        if name is not None:
            with contextlib.suppress(ValueError):
                return incoming.body.decode(name, "replace")
    return incoming.body.decode("utf-8", "replace")


def hide(text: str, prepared: Prepared | None) -> str:
    """Return a text without the values of the credential, which a provider may have sent back."""
    return text if prepared is None else prepared.hidden.hide(text)


def beginning(incoming: Incoming, prepared: Prepared | None = None) -> str:
    """Return what an answer that cannot be read looks like: its content type and first characters."""
    kind = hide(incoming.headers.get("content-type", "none"), prepared)
    text = hide(text_of(incoming, prepared), prepared).strip()
    shown = text if len(text) <= _BEGINNING else f"{text[:_BEGINNING]}…"
    return f"its content type is [{kind[:_BEGINNING]}], and it begins with [{shown}]"


def outputs(prepared: Prepared, incoming: Incoming) -> dict[str, Any]:
    """Return the entry of ``inference_results`` that an answer makes: ``output`` and ``status_code``.

    The answer is one that :func:`check_answer` let pass.

    Values of the credential that the provider sent back become ``***``. Numbers that are passed on keep their digits:
    write the entry with :func:`mlcommons_py.exact.default`.

    Raises:
        RemoteFailed: it has nothing where the function looks.
        IllegalArgument: the post-process function refuses it, or the filter is no JSONPath.
    """
    try:
        made = None if prepared.post is None else _of_function(prepared, incoming)
        if made is None:
            made = [_of_answer(prepared, incoming)]
    except IllegalArgument as fault:  # it may quote the answer
        raise IllegalArgument(hide(fault.reason, prepared)) from None
    for tensor in made:
        if "dataAsMap" in tensor and not exact.fits(tensor["dataAsMap"]):
            raise _unreadable(prepared, incoming, "values that nest too deep")
    return {"output": prepared.hidden.without(made, incoming.body), "status_code": incoming.status}


def _of_function(prepared: Prepared, incoming: Incoming) -> Sequence[Tensor] | None:
    assert prepared.post is not None
    function = prepared.post.function
    wanted = None if function.whole or prepared.post.is_script else prepared.parameters.text("response_filter")
    value = _loaded(prepared, incoming) if function.path == "$" else _quickly(prepared, incoming)
    if value is paths.MISSING:
        reason = f"Fail to execute {prepared.action_type.upper()} in aws connector: the answer of the remote service"
        raise RemoteFailed(f"{reason} is no JSON: {beginning(incoming, prepared)}", 502, remote=_remote(incoming))
    found = paths.read(value, wanted or function.path)
    if found is paths.MISSING or found is None:
        raise _unreadable(prepared, incoming, f"nothing at {wanted or function.path}")
    if isinstance(found, list):
        found = tensors.in_order(found, paths.entries(value, wanted or function.path))
    made = _made(function, found)
    _check_number(prepared, incoming, made)
    if made is None or wanted is None or (named := _TYPE_IN_FILTER.search(wanted)) is None:
        return made
    return [{**one, "data_type": named[1].upper()} if "data_type" in one else one for one in made]


def _quickly(prepared: Prepared, incoming: Incoming) -> Any:
    """Return the value of an answer whose numbers are those of vectors: floats, whatever they look like."""
    try:
        return orjson.loads(incoming.body)
    except orjson.JSONDecodeError:
        return _loaded(prepared, incoming)


def _made(function: PostProcess, found: Any) -> Sequence[Tensor] | None:
    try:
        return function.make(found)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as fault:
        raise IllegalArgument(f"[{function.name}] cannot read the answer of the remote service: {fault!r}") from fault


def _check_number(prepared: Prepared, incoming: Incoming, made: Sequence[Tensor] | None) -> None:
    """Refuse vectors that are not one for each text: nobody could tell which is whose."""
    if made is None or prepared.vectors is None:
        return
    vectors = sum(1 for one in made if one.get("name") == "sentence_embedding")
    if vectors == len(made) != prepared.vectors:
        raise _unreadable(prepared, incoming, f"{vectors} vectors for {prepared.vectors} texts")


def _unreadable(prepared: Prepared, incoming: Incoming, what: str) -> MLCommonsError:
    reason = f"Fail to execute {prepared.action_type.upper()} in aws connector"
    return RemoteFailed(f"{reason}: the answer of the remote service has {what}", 502, remote=_remote(incoming))


def _remote(incoming: Incoming) -> dict[str, str | int]:
    remote: dict[str, str | int] = {"status": incoming.status, "attempts": incoming.attempts}
    if incoming.request_id is not None:
        remote["request_id"] = incoming.request_id
    return remote


def _loaded(prepared: Prepared, incoming: Incoming) -> Any:
    """Return the value of an answer that is JSON, each number with its digits, or MISSING."""
    try:
        return exact.loads(incoming.body)
    except ValueError:
        pass
    try:
        return exact.loads(text_of(incoming, prepared).removeprefix("\ufeff"))  # a byte order mark, as of .NET
    except ValueError:
        return paths.MISSING


def _of_answer(prepared: Prepared, incoming: Incoming) -> Tensor:
    """Return the answer itself as a tensor, filtered and processed as the connector wants it."""
    value = _loaded(prepared, incoming)
    # A text, a number or a literal is passed on as it was written; so is what is no JSON.
    whole = value if isinstance(value, dict | list) else text_of(incoming, prepared)
    wanted = prepared.parameters.text("response_filter")
    found = whole
    if wanted is not None and isinstance(value, dict | list):
        found = paths.read(value, wanted)
        if found is paths.MISSING or found is None:
            found = whole
    steps = processors.chain(prepared.parameters.value("output_processors"))
    return _response(processors.apply(found, steps))


def _response(found: Any) -> Tensor:
    if isinstance(found, str) and found.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(ValueError):
            found = exact.loads(found)
    if isinstance(found, dict):
        return {"name": "response", "dataAsMap": found}
    return {"name": "response", "dataAsMap": {"response": found}}

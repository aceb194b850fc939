"""The body of a request to a provider: an action's template filled, and what is done to it as a value."""

from collections.abc import Callable
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import charsets, headers, processors, structured_output, template
from mlcommons_py.remote.documents import Action
from mlcommons_py.remote.filling import Filling
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.parameters import Parameters
from mlcommons_py.remote.step import as_text


def request_body(action: Action, parameters: Parameters, filling: Filling, functions: Functions) -> bytes | str:
    """Return the body: JSON in UTF-8, or a text that is none.

    Raises:
        IllegalArgument: a placeholder has no value, or it is no JSON once it is filled.
    """
    source = action.request_body
    if source is None:
        return _unfilled(parameters)
    read = template.of_json(source)
    encode = None if read.is_json else charsets.writing(headers.content_type(action.headers))
    if encode is not None:
        payload: bytes | str = filling.text(source, encode)
        _refuse_missing(filling, parameters)
        return payload
    body = filling.body(read)
    _refuse_missing(filling, parameters)
    if filling.is_unsure or filling.missing:
        text = body.decode("utf-8", "replace")
        if not exact.is_json(text) and not exact.is_lines(text):
            raise IllegalArgument(f"Invalid payload: {text}")
    return _processed(_shaped(body, action, parameters, functions), parameters)


def _shaped(body: bytes, action: Action, parameters: Parameters, functions: Functions) -> bytes:
    """Return a body with what is still to be done to it as a value."""
    changes: list[Callable[[Any], Any]] = []
    if action.supports_structured_output:
        changes.append(lambda value: structured_output.asked(value, parameters))
    model = parameters.text("model")
    if model is not None and (make := functions.body(model)) is not None:
        changes.append(make)
    if not changes:
        return body
    try:
        value = exact.loads(body)
    except ValueError:
        return body  # several documents
    for change in changes:
        value = change(value)
    return exact.dumps(value)


def _processed(body: bytes, parameters: Parameters) -> bytes:
    chain = processors.chain(parameters.value("input_processors"))
    if not chain:
        return body
    return as_text(processors.apply(body.decode(), chain)).encode()


def _unfilled(parameters: Parameters) -> bytes | str:
    """Return the body of an action that has no template: the parameter ``http_body``."""
    body = parameters.value("http_body")
    if body is None:
        return b""
    return body if isinstance(body, str) else exact.dumps(body)


def _refuse_missing(filling: Filling, parameters: Parameters) -> None:
    if filling.missing and not parameters.flag("skip_validating_missing_parameters"):
        raise IllegalArgument(f"Some parameter placeholder not filled in payload: {', '.join(filling.missing)}")

"""JSON schemas of inputs and answers of remote models, put together of their parts (``ModelInterfaceUtils.java``)."""

from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

string: Schema = {"type": "string"}
number: Schema = {"type": "number"}
integer: Schema = {"type": "integer"}


def record(needed: Sequence[str] = (), /, **properties: Schema) -> Schema:
    """Return the schema of an object; ``needed`` are the names that it must have."""
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(needed)} if needed else schema


def array(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def parameters(needed: Sequence[str] = (), /, **properties: Schema) -> Schema:
    """Return the schema of an input whose parameters, if it has any, have the properties."""
    return record(parameters=record(needed, **properties))


def with_parameters(needed: Sequence[str] = (), /, **properties: Schema) -> Schema:
    """Return the schema of an input that must have parameters, with the properties."""
    return record(("parameters",), parameters=record(needed, **properties))


def output(as_map: Schema, *, strict: bool = True) -> Schema:
    """Return the schema of an answer whose tensors have a map; ``strict``: nothing of it may be missing."""
    tensor = record(("name", "dataAsMap") if strict else (), name=string, dataAsMap=as_map)
    return _results(tensor, strict=strict)


def _results(tensor: Schema, *, strict: bool) -> Schema:
    result = record(("output", "status_code") if strict else (), output=array(tensor), status_code=integer)
    return record(("inference_results",) if strict else (), inference_results=array(result))


CONVERSATION_INPUT = with_parameters(("inputs",), inputs=string)
EMBEDDING_INPUT = parameters(("texts",), texts=array(string))
TEXT_OUTPUT = output(record(("response",), response=string))
EMBEDDING_OUTPUT = _results(
    record(
        ("name", "data_type", "shape", "data"), name=string, data_type=string, shape=array(integer), data=array(number)
    ),
    strict=True,
)

"""A model's ``interface``: the JSON schemas of what goes in and what comes out."""

from collections.abc import Mapping
from typing import Any

import orjson

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.models import fields

SIDES = ("input", "output")


def interface(body: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the ``interface`` of a body as it is stored: each schema as compact JSON text; None where there is none.

    Raises:
        IllegalArgument: it has another key than ``input`` and ``output``, or a schema is neither an object nor a text.
    """
    given = fields.mapping(body, "interface")
    if given is None:
        return None
    if unknown := sorted(given.keys() - set(SIDES)):
        raise IllegalArgument(f"[interface] has the unknown field [{unknown[0]}]; it may have {' and '.join(SIDES)}")
    return {side: _text(side, given[side]) for side in SIDES if given.get(side) is not None}


def _text(side: str, schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    if not isinstance(schema, Mapping):
        raise IllegalArgument(f"[interface.{side}] must be a JSON schema, an object or its text")
    return orjson.dumps(schema).decode()

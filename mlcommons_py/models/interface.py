"""A model's ``interface``: the JSON schemas of what goes in and what comes out, and what holds requests to them."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from mlcommons_py import exact
from mlcommons_py.errors import BadRequest, IllegalArgument
from mlcommons_py.models import fields
from mlcommons_py.models.schema import Schema

SIDES = ("input", "output")
BIG = 16 << 10
"""Bytes of JSON from which on an instance is validated in a thread: it would hold up the event loop."""

_MOST_KEPT = 1000


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


class Interface:
    """What a model takes and gives, as far as it says."""

    def __init__(self, sides: Mapping[str, Schema]) -> None:
        self._sides = sides

    async def check_input(self, instance: Mapping[str, Any]) -> None:
        """Let an input pass: an object with ``algorithm``, ``parameters`` or texts, and perhaps ``action_type``.

        Raises:
            BadRequest: the schema does not allow it; the text has the JSON pointer and the reason.
        """
        await self._check("input", instance)

    async def check_output(self, instance: Mapping[str, Any]) -> None:
        """Let an answer pass: ``{"inference_results": [...]}``, whose vectors may be arrays of numpy.

        Raises:
            BadRequest: the schema does not allow it; the text has the JSON pointer and the reason.
        """
        await self._check("output", instance)

    async def _check(self, side: str, instance: Mapping[str, Any]) -> None:
        schema = self._sides.get(side)
        if schema is None:
            return
        sent = orjson.dumps(instance, default=exact.default, option=orjson.OPT_SERIALIZE_NUMPY)
        found = await asyncio.to_thread(_faults, schema, side, sent) if len(sent) > BIG else _faults(schema, side, sent)
        if found:
            raise BadRequest(
                f"Error validating {side} schema, if you think this is expected, please update your '{side}' field in"
                f" the 'interface' field for this model: Validation failed: [{'; '.join(found)}]"
            )


def _faults(schema: Schema, side: str, sent: bytes) -> list[str]:
    try:
        instance = orjson.loads(sent)
    except orjson.JSONDecodeError:  # numbers that no float can hold
        instance = exact.plain(exact.loads(sent))
    return schema.faults(schema.restored(instance) if side == "input" else instance)


class Interfaces:
    """The interfaces of all models, each schema compiled once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Schema] = {}

    def of(self, stored: Mapping[str, Any] | None) -> Interface | None:
        """Return a model's interface; None where it has none.

        Raises:
            IllegalArgument: a schema of it, which another service may have stored, cannot be used.
        """
        if not stored:
            return None
        return Interface({side: self._schema(side, stored[side]) for side in SIDES if stored.get(side) is not None})

    async def check(self, body: Mapping[str, Any]) -> None:
        """Let the ``interface`` of a body pass that can be used, if there is one.

        Raises:
            IllegalArgument: a schema is no JSON schema, refers to another one, or has a pattern that cannot be run.
        """
        given = interface(body)
        if given is not None:
            await asyncio.to_thread(self.of, given)

    def _schema(self, side: str, given: Any) -> Schema:
        text = _text(side, given)
        key = (side, text)
        if key not in self._kept:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = Schema(text, f"interface.{side}")
        return self._kept[key]

"""A model's ``interface``: the JSON schemas of what goes in and what comes out, and what holds requests to them."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from mlcommons_py import exact, fields
from mlcommons_py.errors import BadRequest, IllegalArgument
from mlcommons_py.models.schema import Schema

SIDES = ("input", "output")
BIG = 16 << 10
"""Characters and values from which on an instance is validated in a thread: it would hold up the event loop."""

_SOON = 0.01
"""Seconds that a validation may hold up the event loop: a schema can be costly whatever the instance."""

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


class Interfaces:
    """The interfaces of all models, each schema compiled once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Schema] = {}

    def of(self, stored: Mapping[str, Any] | None) -> "Interface | None":
        """Return a model's interface; None where it has none."""
        return Interface(self, stored) if stored else None

    async def check(self, body: Mapping[str, Any]) -> None:
        """Let the ``interface`` of a body pass that can be used, if there is one.

        Raises:
            IllegalArgument: a schema is no JSON schema, refers to another one, or has a pattern that cannot be run.
        """
        for side, schema in (interface(body) or {}).items():
            await self.schema(side, schema)

    async def schema(self, side: str, given: Any) -> Schema:
        """Return a schema, compiled in a thread where it is new.

        Raises:
            IllegalArgument: it cannot be used.
        """
        text = _text(side, given)
        key = (side, text)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            found = self._kept[key] = await asyncio.to_thread(Schema, text, f"interface.{side}")
        return found


class Interface:
    """What a model takes and gives, as far as it says."""

    def __init__(self, interfaces: Interfaces, stored: Mapping[str, Any]) -> None:
        self._interfaces = interfaces
        self._stored = stored

    async def check_input(self, instance: Mapping[str, Any]) -> None:
        """Let an input pass: an object with ``algorithm``, ``parameters`` or texts, and perhaps ``action_type``.

        Raises:
            BadRequest: the schema does not allow it; the text has the JSON pointer and the reason.
            IllegalArgument: the schema, which another service may have stored, cannot be used.
        """
        await self._check("input", instance)

    async def check_output(self, instance: Mapping[str, Any]) -> None:
        """Let an answer pass: ``{"inference_results": [...]}``, whose vectors may be arrays of numpy.

        Raises:
            BadRequest, IllegalArgument: as :meth:`check_input`.
        """
        await self._check("output", instance)

    async def _check(self, side: str, instance: Mapping[str, Any]) -> None:
        given = self._stored.get(side)
        if given is None:
            return
        schema = await self._interfaces.schema(side, given)
        found = schema.soon(_sent(schema, side, instance), _SOON) if _is_small(instance) else None
        if found is None:
            found = await asyncio.to_thread(lambda: schema.faults(_sent(schema, side, instance)))
        if found:
            raise BadRequest(
                f"Error validating {side} schema, if you think this is expected, please update your '{side}' field in"
                f" the 'interface' field for this model: Validation failed: [{'; '.join(found)}]"
            )


def _is_small(instance: Any) -> bool:
    """Return whether an instance has less than about :data:`BIG` characters and values."""
    size, waiting = 0, [instance]
    while waiting and size < BIG:
        one = waiting.pop()
        size += len(one) if isinstance(one, str | list | Mapping) else getattr(one, "size", 1)
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list) and size < BIG:
            waiting += one
    return size < BIG


def _sent(schema: Schema, side: str, instance: Mapping[str, Any]) -> Any:
    """Return an instance as the client sends or gets it: numbers of JSON, and lists in place of arrays."""
    sent = orjson.dumps(instance, default=exact.default, option=orjson.OPT_SERIALIZE_NUMPY)
    try:
        plain = orjson.loads(sent)
    except orjson.JSONDecodeError:  # numbers that no float can hold
        plain = exact.plain(exact.loads(sent))
    return schema.restored(plain) if side == "input" else plain

"""One JSON schema (draft 2020-12), compiled so that nothing it says can fetch, or take for ever.

Patterns are run by RE2, references lead nowhere outside of the schema, and a validation that takes longer than
:data:`SECONDS` fails.
"""

import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import orjson

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.expressions import compiled
from mlcommons_py.models.keywords import TooLong, bundled, until, validator

MAX_SCHEMA = 256 << 10
"""Most bytes of a schema."""

MAX_DEPTH = 100
"""How deep a schema, and what is validated, may nest objects and arrays."""

SECONDS = 2.0
"""How long one validation may take."""

_SHOWN_FAULTS = 5
_SHOWN_CHARS = 200
_TYPES: Mapping[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


class Schema:
    """A schema, ready to validate."""

    def __init__(self, text: str, field: str = "interface") -> None:
        """Compile a schema; ``field`` is how errors name it.

        Raises:
            IllegalArgument: it is no JSON, no JSON schema, too large, refers to what it does not have, or has a pattern
                that RE2 has not.
        """
        schema = _parsed(text, field)
        _check(schema, field)
        self._validator = validator()(schema, registry=bundled())
        parameters = _under(schema, "properties", "parameters", "properties")
        self._texts = frozenset(name for name, one in parameters.items() if _is_text(one))

    def restored(self, instance: Mapping[str, Any]) -> dict[str, Any]:
        """Return an input with its parameters as they were meant.

        Clients send parameters as texts, and ML Commons makes texts of them all: a text that is JSON counts as what it
        says, unless the schema says that the parameter is a text; then what is none counts as its JSON.
        """
        parameters = instance.get("parameters")
        if not isinstance(parameters, Mapping):
            return dict(instance)
        meant = {name: self._meant(name, value) for name, value in parameters.items()}
        return {**instance, "parameters": meant}

    def _meant(self, name: str, value: Any) -> Any:
        if name in self._texts:
            return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
        if not isinstance(value, str):
            return value
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value

    def faults(self, instance: Any) -> list[str]:
        """Return what is wrong with an instance, each with the JSON pointer of where; empty where nothing is."""
        found = self.soon(instance, SECONDS)
        return [f": validation takes longer than {SECONDS:.0f} s"] if found is None else found

    def soon(self, instance: Any, seconds: float) -> list[str] | None:
        """Return what :meth:`faults` does, or None where that takes longer."""
        if _too_deep(instance):
            return [f": objects and arrays nest more than {MAX_DEPTH} deep"]
        token = until.set(time.monotonic() + seconds)
        try:
            errors = islice(self._validator.iter_errors(instance), _SHOWN_FAULTS)
            return [f"{_pointer(error.absolute_path)}: {_reason(error)}" for error in errors]
        except TooLong:
            return None
        except RecursionError:
            return [": the schema refers to itself without end"]
        except ArithmeticError:
            return [": a number is too large"]
        finally:
            until.reset(token)


def _parsed(text: str, field: str) -> Any:
    if len(text) > MAX_SCHEMA:
        raise IllegalArgument(f"[{field}] has {len(text)} characters, {MAX_SCHEMA} are allowed")
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise IllegalArgument(f"[{field}] is no valid JSON: {fault}") from fault
    if _too_deep(schema):
        raise IllegalArgument(f"[{field}] nests objects and arrays more than {MAX_DEPTH} deep")
    return schema


def _check(schema: Any, field: str) -> None:
    from jsonschema import FormatChecker
    from jsonschema.exceptions import SchemaError

    # Whether a pattern is one RE2 says, below; Python's opinion does not count.
    token = until.set(time.monotonic() + SECONDS)
    try:
        validator().check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as fault:
        raise IllegalArgument(
            f"[{field}] is no JSON schema (draft 2020-12): {_pointer(fault.absolute_path)}: {_reason(fault)}"
        ) from fault
    except TooLong as fault:
        raise IllegalArgument(f"[{field}] is too large a schema") from fault
    finally:
        until.reset(token)
    _check_references(schema, field)


def _check_references(schema: Any, field: str) -> None:
    """Refuse references that lead out of the schema, and patterns that RE2 has not."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = DRAFT202012.create_resource(schema)
    resolver = bundled().with_resource(root.id() or "", root).resolver(root.id() or "")
    waiting = [(resolver, root)]
    while waiting:
        resolver, resource = waiting.pop()
        part = resource.contents
        if not isinstance(part, Mapping):
            continue
        for keyword in ("$ref", "$dynamicRef"):
            if keyword not in part:
                continue
            try:
                resolver.lookup(part[keyword])
            except Unresolvable as fault:
                raise IllegalArgument(
                    f"[{field}] refers to [{part[keyword][:_SHOWN_CHARS]}], which it does not have; nothing is fetched:"
                    " put it under [$defs]"
                ) from fault
        _check_patterns(part, field)
        waiting += [(resolver.in_subresource(one), one) for one in resource.subresources()]


def _check_patterns(part: Mapping[str, Any], field: str) -> None:
    patterns = part.get("patternProperties", {})
    if "pattern" in part:
        compiled(part["pattern"], f"{field}.pattern")
    for pattern in patterns:
        compiled(pattern, f"{field}.patternProperties")
    if patterns and "unevaluatedProperties" in part:
        raise IllegalArgument(
            f"[{field}] has [patternProperties] beside [unevaluatedProperties]; use [additionalProperties] instead"
        )


def _under(schema: Any, *path: str) -> Mapping[str, Any]:
    for name in path:
        schema = schema.get(name) if isinstance(schema, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def _is_text(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "string"


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def _pointer(path: Iterable[str | int]) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join("/" + str(one).replace("~", "~0").replace("/", "~1") for one in path)[:_SHOWN_CHARS]


def _reason(error: Any) -> str:
    """Return what is wrong, without the schema, and without what the client sent."""
    if error.validator == "type":
        wanted = error.validator_value
        expected = wanted if isinstance(wanted, str) else " or ".join(wanted)
        return f"{_TYPES.get(type(error.instance), 'value')} found, {expected} expected"
    if error.validator is None:  # the schema is just false
        return "nothing is allowed here"
    if error.validator in _OWN:
        return str(error.message)[:_SHOWN_CHARS]
    value = orjson.dumps(error.validator_value).decode()
    return f"does not hold to [{error.validator}]" + (f" of {value}" if len(value) <= _SHOWN_CHARS else "")


_OWN = ("required", "pattern", "additionalProperties", "uniqueItems")

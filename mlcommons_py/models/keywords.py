"""The keywords of JSON schema (draft 2020-12), with patterns run by RE2 and with an eye on the clock."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Any

import orjson

from mlcommons_py.expressions import compiled

until: ContextVar[float] = ContextVar("until")
"""When (``time.monotonic()``) the validation under way has to be done."""

Keyword = Callable[[Any, Any, Any, Any], Iterable[Any] | None]

_SHOWN_NAMES = 5


class TooLong(Exception):
    """A validation takes too long; no error of the service, for it never leaves the schema's module."""


@cache
def bundled() -> Any:
    """Return the schemas that a reference may lead to beside those of the schema itself: JSON schema's own."""
    from jsonschema_specifications import REGISTRY

    return REGISTRY


@lru_cache(1024)
def _expression(pattern: str) -> Any:
    return compiled(pattern, "pattern")


@cache
def validator() -> Any:
    """Return the class of validators."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    keywords = {
        **Draft202012Validator.VALIDATORS,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    return extend(Draft202012Validator, {name: _timed(keyword) for name, keyword in keywords.items()})


def _timed(keyword: Keyword) -> Keyword:
    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[Any] | None:
        if time.monotonic() > until.get():
            raise TooLong
        return keyword(validator, value, instance, schema)

    return run


def _fault(reason: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(reason)


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and _expression(pattern).search(instance) is None:
        yield _fault(f"does not match the pattern {pattern}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, Mapping):
        for pattern, inner in patterns.items():
            for name, value in instance.items():
                if _expression(pattern).search(name) is not None:
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rest: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, Mapping):
        return
    known, patterns = schema.get("properties", {}), [_expression(one) for one in schema.get("patternProperties", {})]
    extra = [name for name in instance if name not in known and not any(one.search(name) for one in patterns)]
    if isinstance(rest, Mapping):
        for name in extra:
            yield from validator.descend(instance[name], rest, path=name)
    elif not rest and extra:
        yield _fault(f"additional properties are not allowed: {', '.join(extra[:_SHOWN_NAMES])}")


def _unique_items(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if wanted and isinstance(instance, list):
        texts = {orjson.dumps(_plain(one), option=orjson.OPT_SORT_KEYS) for one in instance}
        if len(texts) < len(instance):
            yield _fault("has the same item twice")


def _plain(value: Any) -> Any:
    """Return a value in which equal numbers are spelled alike."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 63 else value

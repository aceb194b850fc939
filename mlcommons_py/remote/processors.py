"""Processors: small steps that change a request's body, or an answer, one after the other.

Names, fields and texts are those of ML Commons' ``org.opensearch.ml.engine.processor``. A step that cannot do its work
leaves what it was given; only its configuration can be wrong. Regular expressions run in RE2, and what a chain may cost
is bounded: chains come with requests, too.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import path_steps, paths, text_steps
from mlcommons_py.remote.step import Config, Step, Work, as_text

Chain = tuple[Step, ...]

_KEPT = 16_000
"""Characters of the longest text whose steps are remembered: texts come with requests, too."""


def chain(config: object) -> Chain:
    """Return the steps of a parameter: a list of objects, one object, or either as JSON text.

    Raises:
        IllegalArgument: a step is not known, or lacks something.
    """
    if not isinstance(config, str):
        return _steps(config)
    text = config.strip()
    return _read(text) if len(text) <= _KEPT else _read.__wrapped__(text)


def apply(value: Any, through: Chain, work: Work | None = None) -> Any:
    """Return what becomes of a value.

    Raises:
        IllegalArgument: it takes too much work.
    """
    if not through:
        return value
    work = Work(value) if work is None else work
    for step in through:
        work.step()
        value = step(value, work)
    return value


@lru_cache(256)
def _read(config: str) -> Chain:
    if not config:
        return ()
    try:
        return _steps(exact.loads(config))
    except ValueError as fault:
        raise IllegalArgument(f"processors must be a JSON list of objects: {fault}") from fault


def _steps(config: object) -> Chain:
    if config is None:
        return ()
    configs = [config] if isinstance(config, Mapping) else config
    if not isinstance(configs, list) or not all(isinstance(one, Mapping) for one in configs):
        raise IllegalArgument("processors must be a list of objects, each with a [type]")
    return tuple(_step(one) for one in configs)


def _step(config: Config) -> Step:
    kind = config.get("type")
    make = _KINDS.get(kind.lower()) if isinstance(kind, str) else None
    if make is None:
        raise IllegalArgument(f"Invalid ML processor type: {kind}; there are {', '.join(_KINDS)}")
    return make(config)


def _nested(config: Config, kind: str) -> Chain:
    if "processors" not in config:
        raise IllegalArgument(f"'processors' is required for {kind} processor")
    inner = _steps(config["processors"])
    if not inner:
        raise IllegalArgument(f"'processors' list cannot be empty for {kind} processor")
    return inner


def _process_and_set(config: Config) -> Step:
    path, inner = path_steps.path_of(config, "process_and_set"), _nested(config, "process_and_set")
    return lambda value, work: path_steps.with_value(value, path, apply(value, inner, work), work)


def _for_each(config: Config) -> Step:
    path, inner = path_steps.path_of(config, "for_each"), _nested(config, "for_each")

    def each(value: Any, work: Work) -> Any:
        document = path_steps.document_of(value)
        found = paths.places(document, path)
        if paths.of(path).is_definite:
            array = path_steps.value_at(document, found[0]) if found else None
            found = [(*found[0], at) for at in range(len(array))] if isinstance(array, list) else []
        for place in found:
            inside = path_steps.holder(document, place)
            if inside is not None:
                element = inside[place[-1]]
                inside[place[-1]] = apply(element, inner, work.on(element))
        return document if found else value

    return each


def _conditional(config: Config) -> Step:
    path = path_steps.path_of(config, "conditional") if config.get("path") else None
    routes = config.get("routes")
    if routes is None:
        raise IllegalArgument("'routes' is required for conditional processor")
    if not isinstance(routes, list) or not all(isinstance(one, Mapping) for one in routes):
        raise IllegalArgument("'routes' must be a list of objects for conditional processor")
    ways = [(_condition(text), _steps(inner)) for route in routes for text, inner in route.items()]
    if not ways:
        raise IllegalArgument("'routes' must contain at least one route for conditional processor")
    otherwise = _steps(config.get("default"))

    def route(value: Any, work: Work) -> Any:
        looked_at = value if path is None else path_steps.look_up(value, path)
        for holds, inner in ways:
            if holds(looked_at):
                return apply(value, inner, work)
        return apply(value, otherwise, work)

    return route


def _condition(text: str) -> Callable[[Any], bool]:
    if text.startswith("regex:"):
        return partial(_holds, text, text_steps.regex(text.removeprefix("regex:")))
    return partial(_holds, text, None)


def _holds(condition: str, pattern: Any, value: Any) -> bool:
    if value is None or value is paths.MISSING or value == []:
        return condition in ("null", "not_exists")
    text = as_text(value)
    if condition in ("exists", text):
        return True
    comparison = re.fullmatch(r"(>=|<=|>|<|==)(.*)", condition, re.DOTALL)
    if comparison is not None and (number := _number(text)) is not None:
        limit = _number(comparison[2])
        return limit is not None and _COMPARED[comparison[1]](number, limit)
    if pattern is not None:
        return pattern.fullmatch(text) is not None
    return condition.startswith("contains:") and condition.removeprefix("contains:") in text


_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    ">=": lambda one, other: one >= other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    "<": lambda one, other: one < other,
    "==": lambda one, other: abs(one - other) < 1e-10,
}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_KINDS: Mapping[str, Callable[[Config], Step]] = {
    "conditional": _conditional,
    "extract_json": text_steps.extract_json,
    "for_each": _for_each,
    "jsonpath_filter": path_steps.jsonpath_filter,
    "process_and_set": _process_and_set,
    "regex_capture": text_steps.regex_capture,
    "regex_replace": text_steps.regex_replace,
    "remove_jsonpath": path_steps.remove_jsonpath,
    "set_field": path_steps.set_field,
    "to_string": text_steps.to_string,
}

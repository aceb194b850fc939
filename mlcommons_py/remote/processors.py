"""Processors: small steps that change a request's body, or an answer, one after the other.

Names, fields and texts are those of ML Commons' ``org.opensearch.ml.engine.processor``. A step that cannot do its work
leaves what it was given; only its configuration can be wrong. Regular expressions run in RE2.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import exact, paths

Step = Callable[[Any], Any]
Config = Mapping[str, Any]
Chain = tuple[Step, ...]

_REFERENCE = re.compile(r"\\(.)|\$\{(\w+)\}|\$(\d)", re.DOTALL)


def chain(config: object) -> Chain:
    """Return the steps of a parameter: a list of objects, one object, or either as JSON text.

    Raises:
        IllegalArgument: a step is not known, or lacks something.
    """
    return _read(config) if isinstance(config, str) else _steps(config)


def apply(value: Any, steps: Chain) -> Any:
    """Return what becomes of a value."""
    for step in steps:
        value = step(value)
    return value


def as_text(value: Any) -> str:
    """Return a value as ML Commons writes it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else exact.dumps(value).decode()


@lru_cache(256)
def _read(config: str) -> Chain:
    if not config.strip():
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


def _text(config: Config, field: str, kind: str) -> str:
    if field not in config:
        raise IllegalArgument(f"'{field}' is required for {kind} processor")
    value = config[field]
    if not isinstance(value, str) or not value.strip():
        raise IllegalArgument(f"'{field}' cannot be empty for {kind} processor")
    return value


def _path(config: Config, kind: str, field: str = "path") -> str:
    path = _text(config, field, kind)
    paths.of(path)
    return path


def _nested(config: Config, kind: str) -> Chain:
    if "processors" not in config:
        raise IllegalArgument(f"'processors' is required for {kind} processor")
    steps = _steps(config["processors"])
    if not steps:
        raise IllegalArgument(f"'processors' list cannot be empty for {kind} processor")
    return steps


def _regex(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as fault:
        said = fault.args[0].decode() if fault.args and isinstance(fault.args[0], bytes) else str(fault)
        raise IllegalArgument(f"Invalid regex pattern: {pattern} ({said}; regular expressions run in RE2)") from fault


def _document(value: Any) -> Any:
    """Return a value to look into and to change: a text is read as JSON, and is itself where it is none."""
    if not isinstance(value, str):
        return copy.deepcopy(value)
    try:
        return exact.loads(value)
    except ValueError:
        return value


def _found(value: Any, path: str) -> Any:
    try:
        return paths.read(_document(value), path)
    except IllegalArgument:
        return paths.MISSING


def _to_string(config: Config) -> Step:
    if config.get("escape_json", False) is True:
        return lambda value: exact.quoted(as_text(value)).decode()
    return as_text


def _extract_json(config: Config) -> Step:
    wanted = config.get("extract_type", "auto")
    if not isinstance(wanted, str) or wanted.lower() not in ("auto", "object", "array"):
        raise IllegalArgument(f"'extract_type' must be 'auto', 'object', or 'array', got: {wanted}")
    begins = {"auto": "{[", "object": "{", "array": "["}[wanted.lower()]
    fallback = config.get("default")

    def extract(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        start = re.search(f"[{re.escape(begins)}]", value)
        try:
            found = None if start is None else exact.first(value, start.start())
        except ValueError:
            found = None
        if found is not None:
            return found
        return value if fallback is None else fallback

    return extract


def _jsonpath_filter(config: Config) -> Step:
    path, fallback = _path(config, "jsonpath_filter"), config.get("default")

    def select(value: Any) -> Any:
        found = _found(value, path)
        if found is not paths.MISSING:
            return found
        return value if fallback is None else fallback

    return select


def _regex_replace(config: Config) -> Step:
    pattern = _regex(_text(config, "pattern", "regex_replace"))
    replacement = str(config.get("replacement", ""))
    count = 0 if config.get("replace_all", True) is True else 1
    for reference in _REFERENCE.finditer(replacement):
        group = reference[2] or reference[3]
        if group and not (int(group) <= pattern.groups if group.isdigit() else group in pattern.groupindex):
            raise IllegalArgument(
                f"'replacement' of regex_replace processor refers to group {group}, which is not there"
            )

    def expanded(match: Any) -> str:
        return _REFERENCE.sub(lambda part: part[1] or _group(match, part[2] or part[3]), replacement)

    return lambda value: pattern.sub(expanded, as_text(value), count)


def _group(match: Any, name: str) -> str:
    return match.group(int(name) if name.isdigit() else name) or ""


def _regex_capture(config: Config) -> Step:
    pattern = _regex(_text(config, "pattern", "regex_capture"))
    groups = _groups(config.get("groups", "1"))

    def capture(value: Any) -> Any:
        match = pattern.search(as_text(value))
        found = [] if match is None else [match.group(one) for one in groups if 0 <= one <= pattern.groups]
        if not found:
            return value
        return found[0] if len(found) == 1 else found

    return capture


def _groups(given: object) -> list[int]:
    listed = given if isinstance(given, list) else str(given).strip().removeprefix("[").removesuffix("]").split(",")
    texts = [str(one).strip() for one in listed if str(one).strip()]
    if not all(re.fullmatch(r"-?[0-9]{1,4}", one) for one in texts):
        raise IllegalArgument(f"Invalid 'groups' format: {given}. Expected a number or array like '[1,2,3]'")
    if not texts:
        raise IllegalArgument("'groups' must contain at least one group index")
    return [int(one) for one in texts]


def _remove_jsonpath(config: Config) -> Step:
    listed = config.get("paths")
    if "paths" not in config:
        raise IllegalArgument("'paths' is required for remove_jsonpath processor")
    if not isinstance(listed, list):
        raise IllegalArgument("'paths' must be a list for remove_jsonpath processor")
    if not listed:
        raise IllegalArgument("'paths' cannot be empty for remove_jsonpath processor")
    if not all(isinstance(one, str) and one.strip() for one in listed):
        raise IllegalArgument("Each path in 'paths' must be a non-empty string")
    for one in listed:
        paths.of(one)
    return lambda value: _without(_document(value), listed)


def _without(document: Any, listed: Sequence[str]) -> Any:
    for path in listed:
        for place in reversed(paths.places(document, path)):
            if place and (inner := _holder(document, place)) is not None:
                del inner[place[-1]]
    return document


def _holder(document: Any, place: Sequence[str | int]) -> Any:
    """Return the object or list that a place is in, or None where it is no longer there."""
    try:
        for part in place[:-1]:
            document = document[part]
        document[place[-1]]
    except (KeyError, IndexError, TypeError):
        return None
    return document


def _set_field(config: Config) -> Step:
    path = _path(config, "set_field")
    has_value, has_source = "value" in config, "source_path" in config
    if has_value and has_source:
        raise IllegalArgument("Cannot specify both 'value' and 'source_path' for set_field processor")
    if not has_value and not has_source:
        raise IllegalArgument("Either 'value' or 'source_path' is required for set_field processor")
    if "default" in config and not has_source:
        raise IllegalArgument("'default' can only be used with 'source_path' for set_field processor")
    if has_value:
        return lambda value: _with(value, path, config["value"])
    source = _path(config, "set_field", "source_path")

    def set_from(value: Any) -> Any:
        found = _found(value, source)
        if found is not paths.MISSING:
            return _with(value, path, found)
        return _with(value, path, config["default"]) if "default" in config else value

    return set_from


def _with(value: Any, path: str, new: Any) -> Any:
    """Return a value with something else at a path, which its last name may be new in."""
    document = _document(value)
    places = paths.places(document, path)
    if not places:
        parent, _, name = path.strip().rpartition(".")
        if not parent or "[" in name or "]" in name:
            return value
        places = [(*place, name) for place in paths.places(document, parent) if isinstance(_at(document, place), dict)]
        if not places:
            return value
    for place in places:
        if not place:
            return copy.deepcopy(new)
        _at(document, place[:-1])[place[-1]] = copy.deepcopy(new)
    return document


def _at(document: Any, place: Sequence[str | int]) -> Any:
    for part in place:
        document = document[part]
    return document


def _process_and_set(config: Config) -> Step:
    path, steps = _path(config, "process_and_set"), _nested(config, "process_and_set")
    return lambda value: _with(value, path, apply(value, steps))


def _for_each(config: Config) -> Step:
    path, steps = _path(config, "for_each"), _nested(config, "for_each")

    def each(value: Any) -> Any:
        document = _document(value)
        found = paths.places(document, path)
        if paths.of(path).is_definite:
            array = _at(document, found[0]) if found else None
            found = [(*found[0], at) for at in range(len(array))] if isinstance(array, list) else []
        for place in found:
            _at(document, place[:-1])[place[-1]] = apply(_at(document, place), steps)
        return document if found else value

    return each


def _conditional(config: Config) -> Step:
    path = _path(config, "conditional") if config.get("path") else None
    routes = config.get("routes")
    if routes is None:
        raise IllegalArgument("'routes' is required for conditional processor")
    if not isinstance(routes, list) or not all(isinstance(one, Mapping) for one in routes):
        raise IllegalArgument("'routes' must be a list of objects for conditional processor")
    ways = [(_condition(text), _steps(steps)) for route in routes for text, steps in route.items()]
    if not ways:
        raise IllegalArgument("'routes' must contain at least one route for conditional processor")
    otherwise = _steps(config.get("default"))

    def route(value: Any) -> Any:
        looked_at = value if path is None else _found(value, path)
        for holds, steps in ways:
            if holds(looked_at):
                return apply(value, steps)
        return apply(value, otherwise)

    return route


def _condition(text: str) -> Callable[[Any], bool]:
    if text.startswith("regex:"):
        return partial(_holds, text, _regex(text.removeprefix("regex:")))
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
    "extract_json": _extract_json,
    "for_each": _for_each,
    "jsonpath_filter": _jsonpath_filter,
    "process_and_set": _process_and_set,
    "regex_capture": _regex_capture,
    "regex_replace": _regex_replace,
    "remove_jsonpath": _remove_jsonpath,
    "set_field": _set_field,
    "to_string": _to_string,
}

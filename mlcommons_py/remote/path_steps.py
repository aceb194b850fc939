"""Steps of :mod:`~mlcommons_py.remote.processors` that look at, set or remove what is at a path."""

from collections.abc import Sequence
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import paths
from mlcommons_py.remote.step import Config, Step, Work, copied, required


def path_of(config: Config, kind: str, field: str = "path") -> str:
    """Return a JSONPath that a step must have.

    Raises:
        IllegalArgument: it is missing, or no path.
    """
    path = required(config, field, kind)
    paths.of(path)
    return path


def document_of(value: Any) -> Any:
    """Return a value to look into and to change: a text is read as JSON, and is itself where it is none."""
    if not isinstance(value, str):
        return copied(value)
    try:
        return exact.loads(value)
    except ValueError:
        return value


def look_up(value: Any, path: str) -> Any:
    """Return what a path finds in a value, or :data:`~mlcommons_py.remote.paths.MISSING`."""
    try:
        return paths.read(document_of(value) if isinstance(value, str) else value, path)
    except IllegalArgument:
        return paths.MISSING


def jsonpath_filter(config: Config) -> Step:
    """Make the step that takes what a path finds.

    Raises:
        IllegalArgument: the configuration is wrong.
    """
    path, fallback = path_of(config, "jsonpath_filter"), config.get("default")

    def select(value: Any, _: Work) -> Any:
        found = look_up(value, path)
        if found is not paths.MISSING:
            return found
        return value if fallback is None else fallback

    return select


def remove_jsonpath(config: Config) -> Step:
    """Make the step that removes what paths find.

    Raises:
        IllegalArgument: the configuration is wrong.
    """
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
    return lambda value, work: _without(document_of(value), listed, work)


def _without(document: Any, listed: Sequence[str], work: Work) -> Any:
    for path in listed:
        work.step()
        for place in reversed(paths.places(document, path)):
            if place and (inner := holder(document, place)) is not None:
                del inner[place[-1]]
    return document


def holder(document: Any, place: Sequence[str | int]) -> Any:
    """Return the object or list that a place is in; None where a change before this one has left nothing there."""
    try:
        for part in place[:-1]:
            document = document[part]
        document[place[-1]]
    except (KeyError, IndexError, TypeError):
        return None
    return document if isinstance(document, dict | list) else None


def set_field(config: Config) -> Step:
    """Make the step that sets a field to a value, or to what is elsewhere.

    Raises:
        IllegalArgument: the configuration is wrong.
    """
    path = path_of(config, "set_field")
    has_value, has_source = "value" in config, "source_path" in config
    if has_value and has_source:
        raise IllegalArgument("Cannot specify both 'value' and 'source_path' for set_field processor")
    if not has_value and not has_source:
        raise IllegalArgument("Either 'value' or 'source_path' is required for set_field processor")
    if "default" in config and not has_source:
        raise IllegalArgument("'default' can only be used with 'source_path' for set_field processor")
    if has_value:
        return lambda value, work: with_value(value, path, config["value"], work)
    source = path_of(config, "set_field", "source_path")

    def set_from(value: Any, work: Work) -> Any:
        found = look_up(value, source)
        if found is not paths.MISSING:
            return with_value(value, path, found, work)
        return with_value(value, path, config["default"], work) if "default" in config else value

    return set_from


def with_value(value: Any, path: str, new: Any, work: Work) -> Any:
    """Return a value with something else at a path, which its last name may be new in."""
    document = document_of(value)
    places = paths.places(document, path)
    is_new = not places
    if is_new:
        parent, _, name = path.strip().rpartition(".")
        if not parent or "[" in name or "]" in name:
            return value
        places = [
            (*place, name) for place in paths.places(document, parent) if isinstance(value_at(document, place), dict)
        ]
        if not places:
            return value
    for place in places:
        work.grow(new)
        if not place:
            return copied(new)
        inside = value_at(document, place[:-1]) if is_new else holder(document, place)
        if inside is not None:
            inside[place[-1]] = copied(new)
    return document


def value_at(document: Any, place: Sequence[str | int]) -> Any:
    """Return what is at a place, see :func:`~mlcommons_py.remote.paths.places`."""
    for part in place:
        document = document[part]
    return document

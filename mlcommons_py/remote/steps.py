"""The single steps of :mod:`~mlcommons_py.remote.processors`, and what they may cost."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import paths

Step = Callable[[Any, "Work"], Any]


Config = Mapping[str, Any]


_REFERENCE = re.compile(r"\\(.)|\$\{(\w+)\}|\$(\d)", re.DOTALL)


_MOST_WORK = 64 << 20

_SECONDS = 5.0
"""How long all steps on a value may take: what one costs cannot be told from its size alone."""


_A_STEP = 2000
"""What a step costs however small the value is."""


@dataclass(slots=True)
class _Left:
    """What may still be spent: characters, and the time until some moment of ``time.monotonic()``."""

    characters: int
    until: float


class Work:
    """What the steps on a value cost, in characters that they look at or write, and in time."""

    def __init__(self, value: Any, left: _Left | None = None) -> None:
        """Begin with a value; ``left`` is shared with the work that this one is part of."""
        self._left = _Left(_MOST_WORK, time.monotonic() + _SECONDS) if left is None else left
        self._size = len(as_text(value))

    def on(self, value: Any) -> "Work":
        """Return the work on a part."""
        return Work(value, self._left)

    def step(self) -> None:
        """Count a step.

        Raises:
            IllegalArgument: it is too much.
        """
        self.spend(self._size + _A_STEP)

    def grow(self, new: Any) -> None:
        """Count what a value grows by.

        Raises:
            IllegalArgument: it is too much.
        """
        more = len(as_text(new))
        self._size += more
        self.spend(more)

    def spend(self, characters: int) -> None:
        """Count characters.

        Raises:
            IllegalArgument: they are too many, or the time is up.
        """
        self._left.characters -= characters
        if self._left.characters < 0:
            raise IllegalArgument(f"the processors would look at or write more than {_MOST_WORK} characters in all")
        if time.monotonic() > self._left.until:
            raise IllegalArgument(f"the processors take longer than {_SECONDS:.0f} s")


def as_text(value: Any) -> str:
    """Return a value as ML Commons writes it: a text as it is, anything else as JSON.

    Raises:
        IllegalArgument: it nests too deep.
    """
    return value if isinstance(value, str) else _dumped(value).decode()


def _dumped(value: Any) -> bytes:
    try:
        return exact.dumps(value)
    except ValueError as fault:
        raise IllegalArgument(f"the processors make a value that cannot be written: {fault}") from fault


def _copy(value: Any) -> Any:
    # It takes a third of the time of the copy module's.
    try:
        return exact.loads(_dumped(value))
    except ValueError as fault:
        raise IllegalArgument(f"the processors make a value that cannot be written: {fault}") from fault


def required(config: Config, field: str, kind: str) -> str:
    """Return a text that a step must have.

    Raises:
        IllegalArgument: it is missing or blank.
    """
    if field not in config:
        raise IllegalArgument(f"'{field}' is required for {kind} processor")
    value = config[field]
    if not isinstance(value, str) or not value.strip():
        raise IllegalArgument(f"'{field}' cannot be empty for {kind} processor")
    return value


def path_of(config: Config, kind: str, field: str = "path") -> str:
    """Return a JSONPath that a step must have.

    Raises:
        IllegalArgument: it is missing, or no path.
    """
    path = required(config, field, kind)
    paths.of(path)
    return path


def regex(pattern: str) -> Any:
    """Return a regular expression, in which a dot stands for line ends, too.

    Raises:
        IllegalArgument: it is none of RE2.
    """
    import re2

    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as fault:
        said = fault.args[0].decode() if fault.args and isinstance(fault.args[0], bytes) else str(fault)
        raise IllegalArgument(f"Invalid regex pattern: {pattern} ({said}; regular expressions run in RE2)") from fault


def document_of(value: Any) -> Any:
    """Return a value to look into and to change: a text is read as JSON, and is itself where it is none."""
    if not isinstance(value, str):
        return _copy(value)
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


def to_string(config: Config) -> Step:
    """Make the step that writes a value as JSON text."""
    if config.get("escape_json", False) is True:
        return lambda value, _: exact.quoted(as_text(value)).decode()
    return lambda value, _: as_text(value)


def extract_json(config: Config) -> Step:
    """Make the step that reads the first JSON in a text.

    Raises:
        IllegalArgument: the configuration is wrong.
    """
    wanted = config.get("extract_type", "auto")
    if not isinstance(wanted, str) or wanted.lower() not in ("auto", "object", "array"):
        raise IllegalArgument(f"'extract_type' must be 'auto', 'object', or 'array', got: {wanted}")
    begins = {"auto": "{[", "object": "{", "array": "["}[wanted.lower()]
    fallback = config.get("default")

    def extract(value: Any, _: Work) -> Any:
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


def regex_replace(config: Config) -> Step:
    """Make the step that replaces what a pattern matches.

    Raises:
        IllegalArgument: the configuration is wrong.
    """
    pattern = regex(required(config, "pattern", "regex_replace"))
    replacement = str(config.get("replacement", ""))
    count = 0 if config.get("replace_all", True) is True else 1
    for reference in _REFERENCE.finditer(replacement):
        group = reference[2] or reference[3]
        if group and not (int(group) <= pattern.groups if group.isdigit() else group in pattern.groupindex):
            raise IllegalArgument(
                f"'replacement' of regex_replace processor refers to group {group}, which is not there"
            )

    def replace(value: Any, work: Work) -> str:
        def expanded(match: Any) -> str:
            text = _REFERENCE.sub(lambda part: part[1] or _group(match, part[2] or part[3]), replacement)
            work.grow(text)
            return text

        made: str = pattern.sub(expanded, as_text(value), count)
        return made

    return replace


def _group(match: Any, name: str) -> str:
    return match.group(int(name) if name.isdigit() else name) or ""


def regex_capture(config: Config) -> Step:
    """Make the step that takes groups of the first match.

    Raises:
        IllegalArgument: the configuration is wrong.
    """
    pattern = regex(required(config, "pattern", "regex_capture"))
    groups = _groups(config.get("groups", "1"))

    def capture(value: Any, _: Work) -> Any:
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
            return _copy(new)
        inside = value_at(document, place[:-1]) if is_new else holder(document, place)
        if inside is not None:
            inside[place[-1]] = _copy(new)
    return document


def value_at(document: Any, place: Sequence[str | int]) -> Any:
    """Return what is at a place, see :func:`~mlcommons_py.remote.paths.places`."""
    for part in place:
        document = document[part]
    return document

"""Steps of :mod:`~mlcommons_py.remote.processors` that read and write texts."""

import re
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.step import Config, Step, Work, as_text, required

_REFERENCE = re.compile(r"\\(.)|\$\{(\w+)\}|\$(\d)", re.DOTALL)


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

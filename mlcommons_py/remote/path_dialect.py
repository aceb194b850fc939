"""The library for JSONPath with what Jayway's dialect has beside the standard's, and with an end to what a path costs.

Regular expressions run in RE2.
"""

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonpath import JSONPathEnvironment

_until: ContextVar[float] = ContextVar("until", default=math.inf)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Have paths find what they find within so many seconds, or raise :class:`TimeoutError`."""
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


@cache
def environment() -> "JSONPathEnvironment":
    """Return what compiles paths; a path that it compiled raises :class:`TimeoutError` where its time is up."""
    import re2
    from jsonpath import JSONPathEnvironment
    from jsonpath.function_extensions import ExpressionType, FilterFunction

    @lru_cache(256)
    def compiled(pattern: str) -> Any:
        options = re2.Options()
        options.log_errors = False
        return re2.compile(pattern, options)

    def matches(value: object, pattern: object, how: str) -> bool:
        if not isinstance(value, str) or not isinstance(pattern, str):
            return False
        try:
            return getattr(compiled(pattern), how)(value) is not None
        except re2.error:
            return False

    class _Regex(FilterFunction):
        arg_types = [ExpressionType.VALUE, ExpressionType.VALUE]  # noqa: RUF012
        return_type = ExpressionType.LOGICAL

        def __init__(self, how: str) -> None:
            self._how = how

        def __call__(self, value: object, pattern: object) -> bool:
            return matches(value, pattern, self._how)

    class _Environment(JSONPathEnvironment):
        # The library asks for these at each value that it descends to, or that a filter is tried on.
        @property
        def max_recursion_depth(self) -> int:  # type: ignore[override]
            _look_at_the_clock()
            return 100

        def is_truthy(self, obj: object) -> bool:
            _look_at_the_clock()
            return super().is_truthy(obj)

        def setup_function_extensions(self) -> None:
            super().setup_function_extensions()
            self.function_extensions["match"] = _Regex("fullmatch")
            self.function_extensions["search"] = _Regex("search")

        def compare(self, left: object, operator: str, right: object) -> bool:
            if operator == "=~":
                return isinstance(right, re.Pattern) and matches(left, _flagged(right), "fullmatch")
            return super().compare(left, operator, right)

    return _Environment()


def _look_at_the_clock() -> None:
    if time.monotonic() > _until.get():
        raise TimeoutError


def _flagged(pattern: "re.Pattern[str]") -> str:
    flags = "".join(
        letter for letter, flag in (("i", re.IGNORECASE), ("m", re.MULTILINE), ("s", re.DOTALL)) if pattern.flags & flag
    )
    return f"(?{flags}){pattern.pattern}" if flags else pattern.pattern

"""What a step of :mod:`~mlcommons_py.remote.processors` is, how its configuration is read, and what it may cost."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument

Step = Callable[[Any, "Work"], Any]
"""Returns what becomes of a value."""

Config = Mapping[str, Any]

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


def copied(value: Any) -> Any:
    """Return a copy of a JSON value.

    Raises:
        IllegalArgument: it nests too deep.
    """
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

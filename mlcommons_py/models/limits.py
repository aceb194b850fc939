"""Rate limits: how they are given, and the bucket of tokens that enforces one."""

import math
import re
import time
from collections.abc import Mapping
from typing import Any

from mlcommons_py import fields
from mlcommons_py.errors import IllegalArgument, ParseFailed

_SECONDS = {
    "NANOSECONDS": 1e-9,
    "MICROSECONDS": 1e-6,
    "MILLISECONDS": 1e-3,
    "SECONDS": 1.0,
    "MINUTES": 60.0,
    "HOURS": 3600.0,
    "DAYS": 86_400.0,
}

_NUMBER = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def rate_limiter(body: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the ``rate_limiter`` of a body as it is stored, its limit as text as given; None where there is none.

    Raises:
        ParseFailed: the limit is no number of at least 0.
        IllegalArgument: the unit is not a Java ``TimeUnit``, or there is an unknown field.
    """
    given = fields.mapping(body, "rate_limiter")
    if given is None:
        return None
    for name in given:
        if name not in ("limit", "unit"):
            raise IllegalArgument(f"[rate_limiter] has the unknown field [{name}]; there are [limit] and [unit]")
    stored: dict[str, str] = {}
    if (limit := given.get("limit")) is not None:
        text = str(limit)
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            raise ParseFailed("Limit field must be a positive number.")
        stored["limit"] = text
    if (unit := fields.text(given, "unit")) is not None:
        if unit not in _SECONDS:
            raise IllegalArgument(f"No enum constant java.util.concurrent.TimeUnit.{unit}")
        stored["unit"] = unit
    return stored


def check_whole(limiter: Mapping[str, Any], field: str) -> None:
    """Refuse half a limit, which would limit nothing; an empty object is no limit.

    Raises:
        IllegalArgument: the limit or its unit is missing; ``field`` is where.
    """
    missing = [name for name in ("limit", "unit") if name not in limiter]
    if len(missing) == 1:
        raise IllegalArgument(
            f"[{field}.{missing[0]}] is missing; a limit has [limit] and [unit], such as 4 and MINUTES"
        )


class TokenBucket:
    """Lets through ``limit`` requests a ``unit``, at most ``limit`` (at least one) at once.

    Of ``nodes`` that share the limit each lets its part of it through.
    """

    def __init__(self, limit: str, unit: str, nodes: int = 1) -> None:
        self.limit, self.unit = limit, unit
        self._at = time.monotonic()
        self.divide(nodes)
        self._tokens = self._burst

    def divide(self, nodes: int) -> None:
        """Share the limit among so many nodes from now on; what was let through stays counted."""
        share = float(self.limit) / max(nodes, 1)
        self._rate = share / _SECONDS[self.unit]
        self._burst = max(share, 1.0)

    def take(self) -> bool:
        """Return whether one more request may go through now."""
        at = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (at - self._at) * self._rate)
        self._at = at
        if self._rate == 0 or self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def wait(self) -> float:
        """Seconds until one more request may go through, as of the last :meth:`take`; infinite where none ever may."""
        if self._rate == 0:
            return math.inf
        return max(0.0, (1 - self._tokens) / self._rate)

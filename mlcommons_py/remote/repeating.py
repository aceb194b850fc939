"""When a call is made again, and after how long: ``client_config``'s ``max_retry_times`` and what belongs to it.

Backoff is the AWS SDK's, as ML Commons uses it (``RetryBackoffPolicy.java``).
"""

import email.utils
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlcommons_py.remote import faults
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.exchange import Headers

if TYPE_CHECKING:
    import tenacity

BACKOFF_MILLIS = 200
TIMEOUT_SECONDS = 30
MAX_PAUSE = 20.0
"""Longest pause in seconds that a policy makes; ``Retry-After`` may ask for more."""


def _constant(base: float, _attempt: int) -> float:
    return base


def _ceiling(base: float, attempt: int) -> float:
    return min(MAX_PAUSE, base * float(2 ** min(attempt - 1, 30)))


def _equal_jitter(base: float, attempt: int) -> float:
    half = _ceiling(base, attempt) / 2
    return half + random.uniform(0, half)  # noqa: S311 - it spreads calls, and keeps no secret


def _full_jitter(base: float, attempt: int) -> float:
    return random.uniform(0, _ceiling(base, attempt))  # noqa: S311


POLICIES: dict[str, Callable[[float, int], float]] = {
    "constant": _constant,
    "exponential_equal_jitter": _equal_jitter,
    "exponential_full_jitter": _full_jitter,
}
"""The seconds before the next attempt, by ``retry_backoff_policy``, of the first pause and the attempts so far."""


def repeats(config: ClientConfig) -> bool:
    """Return whether a call may be made more than once."""
    return bool(config.max_retry_times)


def is_passing(status: int) -> bool:
    """Return whether what an answer's status says may be over soon."""
    return status == 429 or status >= 500


def retry_after(headers: Headers) -> float | None:
    """Return how many seconds a provider asks to wait (RFC 9110, section 10.2.3), or None where it does not.

    >>> retry_after({"retry-after": "2"})
    2.0
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def repeating(
    config: ClientConfig,
    may_pass: Callable[[Any], bool],
    asked: Callable[[Any], float | None],
    drop: Callable[[Any], None],
) -> "tenacity.AsyncRetrying":
    """Return what makes an attempt again and again, until it succeeds or enough is enough.

    Args:
        config: how often and with which pauses.
        may_pass: whether an attempt's result is a failure that may be over soon; a :class:`RemoteFailed` is
            where :func:`~mlcommons_py.remote.faults.may_pass` says so.
        asked: how long the result asks to wait, in seconds.
        drop: lets go of a result that will not be used.
    """
    import tenacity

    base = (config.retry_backoff_millis or BACKOFF_MILLIS) / 1000
    policy = POLICIES[config.retry_backoff_policy or "constant"]
    times = config.max_retry_times or 0

    def wait(state: "tenacity.RetryCallState") -> float:
        assert state.outcome is not None
        failed = state.outcome.exception()
        wanted = None if failed is not None else asked(state.outcome.result())
        return max(policy(base, state.attempt_number), wanted or 0.0)

    def forget(state: "tenacity.RetryCallState") -> None:
        assert state.outcome is not None
        if not state.outcome.failed:
            drop(state.outcome.result())

    def last(state: "tenacity.RetryCallState") -> Any:
        assert state.outcome is not None
        return state.outcome.result()

    stop = tenacity.stop_before_delay(config.retry_timeout_seconds or TIMEOUT_SECONDS)
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_result(may_pass) | tenacity.retry_if_exception(faults.may_pass),
        stop=stop if times < 0 else tenacity.stop_after_attempt(times + 1) | stop,
        wait=wait,
        before_sleep=forget,
        retry_error_callback=last,
    )

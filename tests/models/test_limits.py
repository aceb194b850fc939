"""Rate limits."""

import pytest

from mlcommons_py.errors import IllegalArgument, MLCommonsError, ParseFailed
from mlcommons_py.models.limits import TokenBucket, rate_limiter


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"limit": 4, "unit": "MINUTES"}, {"limit": "4", "unit": "MINUTES"}),
        ({"limit": "0.5", "unit": "SECONDS"}, {"limit": "0.5", "unit": "SECONDS"}),
        ({"limit": 1e-3}, {"limit": "0.001"}),
        ({"limit": 1e20}, {"limit": "1e+20"}),
        ({"unit": "DAYS"}, {"unit": "DAYS"}),
    ],
)
def test_stored_as_given(given: dict[str, object], stored: dict[str, str]) -> None:
    """A limit is stored as text, as it was given."""
    assert rate_limiter({"rate_limiter": given}) == stored


@pytest.mark.parametrize(
    ("given", "kind", "reason"),
    [
        ({"limit": -1}, ParseFailed, "Limit field must be a positive number."),
        ({"limit": "many"}, ParseFailed, "Limit field must be a positive number."),
        ({"limit": "nan"}, ParseFailed, "Limit field must be a positive number."),
        ({"limit": True}, ParseFailed, "Limit field must be a positive number."),
        ({"limit": "1_0"}, ParseFailed, "Limit field must be a positive number."),
        ({"limit": " 5 "}, ParseFailed, "Limit field must be a positive number."),
        ({"limit": "٣"}, ParseFailed, "Limit field must be a positive number."),
        ({"limit": "1e999"}, ParseFailed, "Limit field must be a positive number."),
        ({"limit": [1]}, ParseFailed, "Limit field must be a positive number."),
        (
            {"limits": 1, "unit": "DAYS"},
            IllegalArgument,
            "[rate_limiter] has the unknown field [limits]; there are [limit] and [unit]",
        ),
        ({"limit": 1, "unit": "minutes"}, IllegalArgument, "No enum constant java.util.concurrent.TimeUnit.minutes"),
    ],
)
def test_refused(given: dict[str, object], kind: type[MLCommonsError], reason: str) -> None:
    """A limit below zero, a limit that is no number, a unit in lower case and unknown fields are refused."""
    with pytest.raises(kind) as caught:
        rate_limiter({"rate_limiter": given})

    assert caught.value.reason == reason


def test_bucket_lets_through_its_limit() -> None:
    """As many requests as the limit says go through at once, and not one more."""
    bucket = TokenBucket("3", "DAYS")

    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]


def test_bucket_of_nothing() -> None:
    """A limit of zero lets nothing through."""
    assert not TokenBucket("0", "SECONDS").take()


def test_bucket_fills_again() -> None:
    """A bucket fills with time."""
    bucket = TokenBucket("1", "MICROSECONDS")
    assert bucket.take()

    while not bucket.take():
        pass

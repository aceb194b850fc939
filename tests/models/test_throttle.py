"""Limits of models and of their users."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlcommons_py.errors import StatusError, Throttled
from mlcommons_py.models.controllers import CONTROLLERS, Controllers
from mlcommons_py.models.documents import Model
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.limits import TokenBucket
from mlcommons_py.models.registry import Models
from mlcommons_py.models.throttle import Throttle
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.store.embedded import EmbeddedStore

MODEL = Model(name="m", rate_limiter={"limit": "4", "unit": "DAYS"}, is_controller_enabled=True)
FREE = replace(MODEL, rate_limiter=None)
AT_USER = "Request is throttled at user level. If you think there's an issue, please contact your cluster admin."


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """A store with the controller of one model."""
    made = await EmbeddedStore.open(tmp_path / "store.db")
    limits = {"ann": {"limit": "2", "unit": "DAYS"}, "bob": {"limit": "0", "unit": "DAYS"}, "cy": {"limit": "1"}}
    await made.put(CONTROLLERS, "m", {"model_id": "m", "user_rate_limiter": limits})
    yield made
    await made.close()


@pytest.fixture
def throttle(store: EmbeddedStore) -> Throttle:
    """The limits of that store's models."""
    return Throttle(Controllers(store, Models(store, Groups(store)), PluginSettings()))


async def passed(throttle: Throttle, model: Model, *users: str | None, nodes: int = 1) -> list[str]:
    """Return for each request, by its user, ``ok`` or the reason of its refusal."""
    outcomes = []
    for user in users:
        try:
            await throttle.check("m", model, user, nodes)
            outcomes.append("ok")
        except StatusError as fault:
            assert fault.status == 429  # noqa: PT017
            outcomes.append(fault.reason)
    return outcomes


async def test_model(throttle: Throttle) -> None:
    """A model lets through as many requests as its limit says, whoever asks."""
    at_model = "Request is throttled at model level."
    assert await passed(throttle, MODEL, None, "x", None, "y", "x", None) == ["ok"] * 4 + [at_model] * 2


async def test_user(throttle: Throttle) -> None:
    """A user with a limit has it to themselves; users without one, or with half of one, have none."""
    users = ("ann", "bob", "ann", "cy", "ann", "dan", "cy", None)
    assert await passed(throttle, FREE, *users) == ["ok", AT_USER, "ok", "ok", AT_USER, "ok", "ok", "ok"]


async def test_controller_that_is_off(throttle: Throttle) -> None:
    """A controller counts only where the model says that it has one."""
    assert await passed(throttle, replace(FREE, is_controller_enabled=None), "bob") == ["ok"]


async def test_nodes_share(throttle: Throttle) -> None:
    """Each of two nodes lets half of the limit through."""
    assert (await passed(throttle, MODEL, *[None] * 5, nodes=2)).count("ok") == 2
    assert (await passed(throttle, FREE, *["ann"] * 3, nodes=2)).count("ok") == 1


async def test_node_that_leaves(throttle: Throttle) -> None:
    """When a node leaves or joins, what was let through stays counted."""
    assert (await passed(throttle, MODEL, *[None] * 4)).count("ok") == 4
    assert (await passed(throttle, MODEL, *[None] * 2, nodes=2)).count("ok") == 0
    assert (await passed(throttle, MODEL, *[None] * 2, nodes=1)).count("ok") == 0


@pytest.mark.parametrize(
    ("limiter", "user", "low", "high"),
    [
        ({"limit": "4", "unit": "DAYS"}, None, 21_590, 21_600),
        ({"limit": "4", "unit": "SECONDS"}, None, 1, 1),
        ({"limit": "4", "unit": "MINUTES"}, None, 14, 15),
        (None, "ann", 43_190, 43_200),
    ],
)
async def test_when_to_try_again(
    throttle: Throttle, limiter: dict[str, str] | None, user: str | None, low: int, high: int
) -> None:
    """A refusal says, in whole seconds, when the next request may pass."""
    model = replace(MODEL, rate_limiter=limiter)
    for _ in range(4 if user is None else 2):
        await throttle.check("m", model, user)

    with pytest.raises(Throttled) as caught:
        await throttle.check("m", model, user)

    assert low <= int(caught.value.headers["Retry-After"]) <= high


async def test_never(throttle: Throttle) -> None:
    """A limit of zero does not say when to try again: no request will ever pass."""
    with pytest.raises(Throttled) as caught:
        await throttle.check("m", FREE, "bob")

    assert caught.value.headers == {}


async def test_new_limit(throttle: Throttle) -> None:
    """A changed limit holds from the next request on, and starts anew."""
    assert (await passed(throttle, MODEL, *[None] * 5)).count("ok") == 4
    more = replace(MODEL, rate_limiter={"limit": "6", "unit": "DAYS"})
    assert (await passed(throttle, more, *[None] * 8)).count("ok") == 6
    assert (await passed(throttle, FREE, *[None] * 8)).count("ok") == 8


def test_share_below_one() -> None:
    """A share of less than one request still lets one through, as ML Commons does."""
    bucket = TokenBucket("2", "DAYS", nodes=4)
    assert [bucket.take(), bucket.take()] == [True, False]

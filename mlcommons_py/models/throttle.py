"""Holding requests to the rate limits of models and of their users."""

import math
from collections.abc import Mapping

from mlcommons_py.errors import Throttled
from mlcommons_py.models.controllers import Controllers
from mlcommons_py.models.documents import Model
from mlcommons_py.models.limits import TokenBucket

_MOST_BUCKETS = 100_000


class Throttle:
    """A bucket of tokens for each model, and for each user of a model, that has a limit.

    A limit holds over all nodes that serve the model: each has an equal share of it.
    """

    def __init__(self, controllers: Controllers) -> None:
        self._controllers = controllers
        self._buckets: dict[tuple[str, str | None], TokenBucket] = {}

    async def check(self, model_id: str, model: Model, user: str | None = None, nodes: int = 1) -> None:
        """Count a request, and let it pass.

        ``user`` is who asks, None where nobody knows; ``nodes`` is over how many nodes the limit is divided.

        Raises:
            Throttled: the limit of the model is reached, or that of the user.
        """
        of_model = self._take((model_id, None), model.rate_limiter, nodes)
        if of_model is not None:
            raise _throttled("Request is throttled at model level.", of_model)
        if user is None or not model.is_controller_enabled:
            return
        controller = await self._controllers.recent(model_id)
        limiter = None if controller is None else controller.limiter(user)
        of_user = self._take((model_id, user), limiter, nodes)
        if of_user is not None:
            raise _throttled(
                "Request is throttled at user level. If you think there's an issue, please contact your cluster admin.",
                of_user,
            )

    def _take(self, key: tuple[str, str | None], limiter: Mapping[str, str] | None, nodes: int) -> float | None:
        """Count a request; return None where it may pass, or else in how many seconds the next one may."""
        limit, unit = (limiter or {}).get("limit"), (limiter or {}).get("unit")
        if limit is None or unit is None:
            self._buckets.pop(key, None)
            return None
        bucket = self._buckets.get(key)
        if bucket is None or (bucket.limit, bucket.unit) != (limit, unit):
            if len(self._buckets) >= _MOST_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = TokenBucket(limit, unit, nodes)
        bucket.divide(nodes)
        return None if bucket.take() else bucket.wait


def _throttled(reason: str, seconds: float) -> Throttled:
    return Throttled(reason, None if math.isinf(seconds) else max(1, math.ceil(seconds)))

"""Holding requests to the rate limits of models and of their users."""

from collections.abc import Mapping

from mlcommons_py.errors import StatusError
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
            StatusError: 429, the limit of the model is reached, or that of the user.
        """
        if not self._takes((model_id, None), model.rate_limiter, nodes):
            raise StatusError("Request is throttled at model level.", 429)
        if user is None or not model.is_controller_enabled:
            return
        controller = await self._controllers.recent(model_id)
        limiter = None if controller is None else controller.limiter(user)
        if not self._takes((model_id, user), limiter, nodes):
            raise StatusError(
                "Request is throttled at user level. If you think there's an issue, please contact your cluster admin.",
                429,
            )

    def _takes(self, key: tuple[str, str | None], limiter: Mapping[str, str] | None, nodes: int) -> bool:
        limit, unit = (limiter or {}).get("limit"), (limiter or {}).get("unit")
        if limit is None or unit is None:
            self._buckets.pop(key, None)
            return True
        bucket = self._buckets.get(key)
        if bucket is None or (bucket.limit, bucket.unit) != (limit, unit):
            if len(self._buckets) >= _MOST_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = TokenBucket(limit, unit, nodes)
        bucket.divide(nodes)
        return bucket.take()

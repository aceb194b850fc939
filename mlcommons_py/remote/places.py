"""How many requests of a model may be under way at one origin: ``client_config.max_connection``."""

import asyncio
from dataclasses import dataclass, field

from mlcommons_py.errors import Rejected

CONNECTIONS = 30
"""``max_connection`` where the connector has none."""

WAIT_SECONDS = 10.0
"""How long a request waits for a place; the AWS SDK's limit for taking a connection out of its pool."""

Place = tuple[str, str, int]
"""Model, origin and how many places there are."""


@dataclass(slots=True)
class _Places:
    free: asyncio.Semaphore
    users: int = field(default=0)


class Places:
    """The places of every model and origin that has requests under way, and of no other."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self._wait = wait_seconds
        self._places: dict[Place, _Places] = {}

    def __len__(self) -> int:
        """Return how many models and origins have requests under way."""
        return len(self._places)

    async def enter(self, place: Place) -> None:
        """Take a place; whoever took one leaves it.

        Raises:
            Rejected: there was none for too long.
        """
        model_id, origin, most = place
        places = self._places.get(place)
        if places is None:
            places = self._places[place] = _Places(asyncio.Semaphore(most))
        places.users += 1
        try:
            if not places.free.locked():
                await places.free.acquire()
                return
            async with asyncio.timeout(self._wait):
                await places.free.acquire()
        except TimeoutError as fault:
            self._forget(place, places)
            raise Rejected(
                "Error communicating with remote model: Acquire operation took longer than the configured maximum time:"
                f" {most} requests of model {model_id} are under way at {origin};"
                " raise [client_config.max_connection] of its connector, or send fewer at a time"
            ) from fault
        except BaseException:
            self._forget(place, places)
            raise

    def leave(self, place: Place) -> None:
        """Give a place back."""
        places = self._places[place]
        places.free.release()
        self._forget(place, places)

    def _forget(self, place: Place, places: _Places) -> None:
        places.users -= 1
        if not places.users:
            del self._places[place]

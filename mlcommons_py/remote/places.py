"""How many requests of a model may be under way at one origin: ``client_config.max_connection``."""

import asyncio
from collections import deque
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
    """The requests of one model at one origin: how many are under way, and those that wait to be."""

    under_way: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Places:
    """The places of every model and origin that has requests under way, and of no other."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self._wait = wait_seconds
        self._places: dict[Place, _Places] = {}

    def __len__(self) -> int:
        """Return how many models and origins have requests under way."""
        return len(self._places)

    def entered(self, place: Place) -> bool:
        """Take a place, if there is one; whoever took one leaves it."""
        places = self._places.get(place)
        if places is None:
            places = self._places[place] = _Places()
        elif places.under_way >= place[2]:
            return False
        places.under_way += 1
        return True

    async def enter(self, place: Place) -> None:
        """Wait for a place where there is none, and take it.

        Raises:
            Rejected: there was none for too long.
        """
        turn = asyncio.get_running_loop().create_future()
        self._places[place].waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait):
                await turn
        except BaseException as fault:
            if turn.done() and not turn.cancelled():
                self.leave(place)  # it came at the same moment
            if not isinstance(fault, TimeoutError):
                raise
            model_id, origin, most = place
            raise Rejected(
                "Error communicating with remote model: Acquire operation took longer than the configured maximum time:"
                f" {most} requests of model {model_id} are under way at {origin};"
                " raise [client_config.max_connection] of its connector, or send fewer at a time"
            ) from fault

    def leave(self, place: Place) -> None:
        """Give a place back, to who has waited longest for one."""
        places = self._places[place]
        while places.waiting:
            if not (turn := places.waiting.popleft()).done():
                turn.set_result(None)
                return
        places.under_way -= 1
        if not places.under_way:
            del self._places[place]

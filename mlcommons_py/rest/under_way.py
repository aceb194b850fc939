"""The requests of a connection that are not answered yet."""

from collections import deque
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mlcommons_py.errors import MLCommonsError
from mlcommons_py.gateway.exchange import Exchange
from mlcommons_py.rest.waiting import waiting_for

Cycle = RequestResponseCycle | Exchange


class Way(Protocol):
    """The way to another server."""

    def pass_on(self, exchange: Exchange) -> None:
        """Pass a request on; the exchange is driven from then on."""


class UnderWay:
    """Requests whose answers are not complete, in the order they came in; the first is being answered."""

    __slots__ = ("_all", "_passing", "_starting")

    def __init__(self) -> None:
        self._all: deque[Cycle] = deque()
        self._passing: Exchange | None = None
        self._starting: tuple[Exchange, Way] | None = None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._all)

    def add(self, one: Cycle) -> None:
        """Add the one whose head came last."""
        self._all.append(one)

    def done(self) -> None:
        """Take out the first, whose answer is complete."""
        done = self._all.popleft()
        if not isinstance(done, Exchange):
            done.scope["extensions"].clear()  # they refer to it, and only a look for garbage would find them
        self._passing = None

    def replace(self, cycle: RequestResponseCycle, exchange: Exchange) -> None:
        """Have the first passed on after all, by whoever drives the exchange from now on."""
        if self._all and self._all[0] is cycle:
            self._all[0] = self._passing = exchange

    def start(self, exchange: Exchange, way: Way) -> None:
        """Have a request passed on as soon as something :meth:`came`, or the client :meth:`resumed`."""
        self._starting = exchange, way

    def pass_on(self, exchange: Exchange, way: Way, *, paused: bool) -> None:
        """Pass a request on, unless the client is ``paused``, that is, does not read what is written already.

        Nobody holds up an answer that comes whole: a client that does not read could ask for any number of them.
        """
        if paused:
            self._starting = exchange, way
            return
        self._passing = exchange
        way.pass_on(exchange)

    def came(self, *, paused: bool) -> None:
        """Go on: something came from the client."""
        if not self._started(paused=paused) and self._passing is not None and self._passing.driven is not None:
            self._passing.driven.came()

    def resumed(self) -> None:
        """Go on: the client reads again."""
        if not self._started(paused=False) and self._passing is not None and self._passing.driven is not None:
            self._passing.driven.resumed()

    def _started(self, *, paused: bool) -> bool:
        """Pass on what waited to be, and return whether there was anything."""
        if self._starting is None:
            return False
        starting, self._starting = self._starting, None
        self.pass_on(*starting, paused=paused)
        return True

    def give_up(self, fault: MLCommonsError) -> bool:
        """Begin no more of them, and end what is passed on with a fault; return whether anything is."""
        for one in self._all:
            one.keep_alive = False
        if self._passing is None or self._passing.driven is None:
            return False
        self._passing.driven.give_up(fault)
        return True

    def lose(self) -> None:
        """Tell who works on them that the client is gone."""
        for one in self._all:
            if isinstance(one, Exchange):
                one.lose()
            else:
                one.disconnected = True
                one.message_event.set()
                if (client := waiting_for(one)) is not None:
                    client.leave()

    def is_answered(self) -> bool:
        """Return whether the answer to the first has begun."""
        one = self._all[0]
        return one.started if isinstance(one, Exchange) else bool(one.response_started)

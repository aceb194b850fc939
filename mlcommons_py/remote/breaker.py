"""Leaving a provider alone that fails call after call.

A model's breaker opens after so many faults in a row: answers of status 5xx and faults of the network, never 4xx.
Calls are refused then, until a pause is over; one call is let through to see, and its success closes the breaker.
What is known of a provider says nothing of another: who corrects a connector's URL need not wait.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from mlcommons_py.errors import Unavailable

FAULTS = 10
"""Faults in a row that open a breaker."""

PAUSE_SECONDS = 5.0
"""How long calls are refused at first; twice as long after each probe that fails."""

LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Suspension:
    """That calls of a model are refused, as one process of the service tells the others.

    Attributes:
        origin: of the provider.
        faults: how many there were in a row.
        last: the last of them.
        pause: seconds of the pause, which the next one doubles; 0 where calls are not refused any more.
        left: seconds of it from now on.
    """

    model_id: str
    origin: str
    faults: int
    last: str
    pause: float
    left: float


@dataclass(slots=True)
class _State:
    origin: str
    faults: int = 0
    last: str = ""
    until: float = 0.0
    pause: float = 0.0
    probing: bool = False


class Breaker:
    """The breakers of all models. A model without faults takes no memory."""

    def __init__(
        self,
        faults: int = FAULTS,
        pause: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[str, bool], None] | None = None,
        forgotten: Callable[[str], None] | None = None,
        found: Callable[[Suspension], None] | None = None,
    ) -> None:
        """Take the limits, the clock, and who is told.

        ``changed`` is told of each breaker that opens or closes, ``forgotten`` of each model that is forgotten, and
        ``found`` of what calls of this process found out, for other processes to :meth:`hear`.
        """
        self._faults = faults
        self._pause = pause
        self._clock = clock
        self._changed = _ignore if changed is None else changed
        self._forgotten = forgotten
        self._found = found
        self._states: dict[str, _State] = {}

    def open(self) -> list[str]:
        """Return the models whose calls are refused."""
        return sorted(model_id for model_id, state in self._states.items() if state.pause)

    def suspensions(self) -> list[Suspension]:
        """Return what a process has to hear that has heard nothing yet."""
        now = self._clock()
        return [
            Suspension(model_id, state.origin, state.faults, state.last, state.pause, max(0.0, state.until - now))
            for model_id, state in self._states.items()
            if state.pause
        ]

    def hear(self, told: Suspension) -> None:
        """Refuse calls, or let them through again, as another process found out that it should be."""
        state = self._states.get(told.model_id)
        if not told.pause:
            if state is not None and state.origin == told.origin:
                self._drop(told.model_id)
            return
        if state is None or state.origin != told.origin:
            self._drop(told.model_id)
            state = self._states[told.model_id] = _State(told.origin)
        was_open, state.faults, state.last = bool(state.pause), told.faults, told.last
        state.pause, state.until = told.pause, self._clock() + told.left
        if not was_open:
            self._changed(told.model_id, True)

    def forget(self, model_id: str) -> None:
        """Forget what is known of a model, as of one that is undeployed or has another connector now."""
        self._drop(model_id)
        if self._forgotten is not None:
            self._forgotten(model_id)

    def _drop(self, model_id: str) -> None:
        state = self._states.pop(model_id, None)
        if state is not None and state.pause:
            self._changed(model_id, False)

    def call(self, model_id: str, origin: str = "") -> "Verdict":
        """Return the block of a call to an origin; what its caller writes into the verdict counts.

        Entering it raises:
            Unavailable: the breaker is open; the text names the model and the last fault.
        """
        return Verdict(self, model_id, origin)

    def begin(self, model_id: str, origin: str) -> bool:
        """Let a call through; return whether it is the probe.

        Raises:
            Unavailable: the breaker is open.
        """
        state = self._states.get(model_id)
        if state is not None and state.origin != origin:
            self._drop(model_id)
            if state.pause:
                self._tell(model_id, state, 0.0)
            return False
        if state is None or not state.pause:
            return False
        left = state.until - self._clock()
        if left > 0 or state.probing:
            again = f"it is tried again in {left:.1f} s" if left > 0 else "it is being tried again"
            raise Unavailable(
                f"Calls of model {model_id} are suspended after {state.faults} faults of its provider in a row,"
                f" the last: {state.last}; {again}",
                max(1, math.ceil(left)),
            )
        state.probing = True
        return True

    def end(self, model_id: str, origin: str, fault: str | None, *, probe: bool) -> None:
        """Note how a call ended, as :class:`Verdict` has it."""
        state = self._states.get(model_id)
        if state is not None and state.origin != origin:
            return
        if state is not None and probe:
            state.probing = False
        if fault is None:
            return
        if not fault:
            if state is not None and (probe or not state.pause):
                self._drop(model_id)
                if state.pause:
                    self._tell(model_id, state, 0.0)
            return
        state = self._states.setdefault(model_id, _State(origin))
        state.faults += 1
        state.last = fault
        if probe and state.pause:
            state.pause = min(2 * state.pause, LONGEST_PAUSE_SECONDS)
        elif not state.pause and state.faults >= self._faults:
            state.pause = self._pause
            self._changed(model_id, True)
        else:
            return
        state.until = self._clock() + state.pause
        self._tell(model_id, state, state.pause)

    def _tell(self, model_id: str, state: _State, pause: float) -> None:
        if self._found is not None:
            self._found(Suspension(model_id, state.origin, state.faults, state.last, pause, pause))


class Verdict:
    """A call's block, and how it ended, as its caller says.

    Attributes:
        fault: what went wrong; empty where nothing did; None where it is not known, as of a call that was cancelled.
    """

    __slots__ = ("_breaker", "_call", "_probe", "fault")

    def __init__(self, breaker: Breaker, model_id: str, origin: str) -> None:
        self.fault: str | None = None
        self._breaker = breaker
        self._call = (model_id, origin)
        self._probe = False

    def __enter__(self) -> "Verdict":
        self._probe = self._breaker.begin(*self._call)
        return self

    def __exit__(self, *_: object) -> None:
        self._breaker.end(*self._call, self.fault, probe=self._probe)


def _ignore(_model_id: str, _is_open: bool) -> None:
    return

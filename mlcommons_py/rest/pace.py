"""How slowly a body may come in: who sends one byte a minute keeps a place, or memory, from others."""

BODY_SECONDS = 60.0
"""How long a body may pause, where enough came before."""


class Pace:
    """A time limit that bytes put off and silence does not, as ``MinRate`` of Apache's ``mod_reqtimeout`` has it.

    Unlike there no more than the first ``patience`` is ever in hand: a body that came fast may not trickle afterwards.

    Attributes:
        due: until when more has to come, by the clock that :meth:`came` is told the time of.

    >>> pace = Pace(60.0, 1000, now=0.0)
    >>> pace.came(5000, now=10.0)
    >>> pace.due
    65.0
    >>> pace.came(1_000_000, now=20.0)
    >>> pace.due
    80.0
    """

    __slots__ = ("_patience", "_slowest", "due")

    def __init__(self, patience: float, slowest: float, now: float) -> None:
        """Begin; ``slowest`` is bytes a second."""
        self._patience = patience
        self._slowest = slowest
        self.due = now + patience

    def came(self, count: int, now: float) -> None:
        """Note that so many bytes came."""
        self.due = min(now + self._patience, self.due + count / self._slowest)

    def rested(self, seconds: float) -> None:
        """Note that nobody took what would have come for so long."""
        self.due += seconds

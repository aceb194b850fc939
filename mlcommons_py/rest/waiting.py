"""Who waits for the answer of a request."""

from collections.abc import Callable

EXTENSION = "mlcommons.client"
"""Where a scope's ``extensions`` has, under ``client``, the :class:`Client`.

ASGI's own way to know would cost a task for each request."""


class Client:
    """The client of one request.

    Attributes:
        has_sent: whether its request is here, the body too; nobody need wait for any of it.
        is_gone: whether it hung up.
    """

    __slots__ = ("_told", "has_sent", "is_gone")

    def __init__(self) -> None:
        self.has_sent = False
        self.is_gone = False
        self._told: Callable[[], object] | None = None

    def tell(self, told: Callable[[], object] | None) -> None:
        """Say who is to be told, at once if it has gone already; None for nobody any more."""
        self._told = told
        if told is not None and self.is_gone:
            told()

    def leave(self) -> None:
        """Note that it hung up."""
        self.is_gone = True
        if self._told is not None:
            self._told()

"""A streamed answer under a guardrail: nothing goes out before it was judged together with all that came before it."""

from collections.abc import Awaitable, Callable

HELD = 128
"""Characters kept back behind what was judged: what is forbidden, and no longer than that, never begins to show."""

_SHARE = 16


class GuardedStream:
    """The pieces of a text on their way to the client.

    Every beginning of the text that was released has been judged, at its own length, and passed, and the last
    :data:`HELD` characters of it were kept back. A longer text is judged in longer steps, a sixteenth of what is there,
    so that the work grows with the length of the text and not with its square. The whole is judged at the end.
    """

    def __init__(self, check: Callable[[str], Awaitable[None]] | None, *, whole: bool = False) -> None:
        """Guard a stream; without ``check`` everything passes, with ``whole`` nothing does before the end."""
        self._check = check
        self._whole = whole
        self._text = ""
        self._pieces: list[str] = []
        self._waiting = 0
        self._released = 0

    @property
    def keeps(self) -> bool:
        """Whether the text is kept, to be judged as a whole."""
        return self._check is not None

    async def feed(self, piece: str) -> str:
        """Take the next piece; return the text that may go out now, which may be empty.

        Raises:
            IllegalArgument: the guardrail refuses what has come so far; nothing more may go out.
        """
        if self._check is None:
            return piece
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._whole or self._waiting < max(HELD // 2, len(self._text) // _SHARE):
            return ""
        self._join()
        await self._check(self._text)
        return self._release(max(self._released, len(self._text) - HELD))

    async def end(self) -> str:
        """Return the rest of the text.

        Raises:
            IllegalArgument: the guardrail refuses the text as a whole.
        """
        if self._check is None:
            return ""
        self._join()
        await self._check(self._text)
        return self._release(len(self._text))

    def _join(self) -> None:
        self._text += "".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0

    def _release(self, until: int) -> str:
        freed, self._released = self._text[self._released : until], until
        return freed

"""When a client has not read its answer for too long."""

import asyncio


class Unread:
    """Hangs up on a client that reads nothing of its answer for so many seconds."""

    __slots__ = ("_before", "_look", "_seconds", "_transport")

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._await()

    def _await(self) -> None:
        self._before = self._transport.get_write_buffer_size()
        self._look = asyncio.get_running_loop().call_later(self._seconds, self._looked)

    def _looked(self) -> None:
        if self._transport.get_write_buffer_size() < self._before:
            self._await()
        else:
            self._transport.abort()

    def cancel(self) -> None:
        """Look no more: it read all there was."""
        self._look.cancel()

"""Writing an answer: what belongs together goes out together."""

import asyncio


class Gathered:
    """The transport of one answer, whose head goes out with the beginning of its body.

    uvicorn writes them one after another, and each write is a packet, and a round of the event loop at the client.
    """

    __slots__ = ("_begun", "_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._begun = False
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Write on; what is written first waits until the event loop's next round for what follows."""
        head, self._head = self._head, None
        if head is not None:
            self._transport.writelines((head, data))
        elif self._begun:
            self._transport.write(data)
        else:
            self._begun = True
            self._head = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Hang up when all was written."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            self._transport.write(head)

"""From the name of a host to its addresses."""

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import Awaitable, Callable
from functools import partial

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host and port; raises :class:`OSError` where there are none."""

_SHARED_SECONDS = 5.0
"""How long a look-up is shared by all who ask for the name; what it asked may be lost, who comes later asks anew."""

_MOST = 128


def _ask(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class SystemLookup:
    """Asks the system, each time in a thread of its own: names whose server does not answer hold up no others.

    The system cannot be told to stop; how long an answer is waited for is for who asks to say. The threads do not
    keep the process from ending.
    """

    def __init__(
        self, ask: Callable[[str, int], list[str]] = _ask, *, shared: float = _SHARED_SECONDS, most: int = _MOST
    ) -> None:
        """Look nothing up yet.

        Args:
            ask: looks a name up, and takes its time.
            shared: seconds for which one look-up serves all who ask for the name.
            most: look-ups that may be under way.
        """
        self._ask = ask
        self._seconds = shared
        self._most = most
        self._under_way = 0
        self._shared: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host; who asks for the same while it is being looked up waits for that.

        Raises:
            OSError: the system knows none, or has too many names to look up.
        """
        found = self._shared.get((host, port))
        return await asyncio.shield(self._begun(host, port) if found is None else found)

    def _begun(self, host: str, port: int) -> asyncio.Future[list[str]]:
        if self._under_way >= self._most:
            raise socket.gaierror(
                socket.EAI_AGAIN, f"the name servers have not answered {self._most} earlier look-ups yet"
            )
        found = asyncio.wrap_future(_in_thread(partial(self._ask, host, port)))
        self._under_way += 1
        self._shared[host, port] = found
        alone = asyncio.get_running_loop().call_later(self._seconds, self._unshare, (host, port), found)

        def ended(_: asyncio.Future[list[str]]) -> None:
            self._under_way -= 1
            alone.cancel()
            self._unshare((host, port), found)
            if not found.cancelled():
                found.exception()  # whoever asked may be gone

        found.add_done_callback(ended)
        return found

    def _unshare(self, key: tuple[str, int], found: asyncio.Future[list[str]]) -> None:
        if self._shared.get(key) is found:
            del self._shared[key]


def _in_thread(work: Callable[[], list[str]]) -> concurrent.futures.Future[list[str]]:
    """Return what will come of work in a thread that nobody waits for at the end of the process, as pools do."""
    found: concurrent.futures.Future[list[str]] = concurrent.futures.Future()
    found.set_running_or_notify_cancel()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as fault:  # noqa: BLE001 - it is for who waits
            found.set_exception(fault)

    threading.Thread(target=run, name="lookup", daemon=True).start()
    return found

"""Puts the service together, and runs it."""

import asyncio
import ipaddress
import signal
import socket

import uvloop

from mlcommons_py import __version__, garbage, malloc
from mlcommons_py.api_servers.core import Core
from mlcommons_py.node import hold
from mlcommons_py.observe.logs import configure
from mlcommons_py.rest.binding import is_private, tls_of
from mlcommons_py.rest.identity import require_users
from mlcommons_py.rest.routes import table
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.web import web_app
from mlcommons_py.settings import EMBEDDED, STORE, Operator
from mlcommons_py.store import Store
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.wiring import wire


async def open_store(operator: Operator) -> Store:
    """Return the store that the operator chose; a cluster need not be up yet.

    Raises:
        Unavailable: the embedded store's file cannot be used.
        IllegalArgument: a file of secrets or certificates cannot be used.
    """
    if operator.store == EMBEDDED:
        return await EmbeddedStore.open(operator.data / STORE)
    # Not needed by who has no cluster: a third of a second, and 20 MB.
    from mlcommons_py.store.link import link_of
    from mlcommons_py.store.opensearch import OpenSearchStore

    return OpenSearchStore.open(link_of(operator))


def _reachable(host: str) -> str:
    """Return a name for an address that this process listens on, by which other machines may know it."""
    name = socket.getfqdn() if ipaddress.ip_address(host).is_unspecified else host
    return f"[{name}]" if ":" in name else name


async def _run(operator: Operator) -> None:
    data = operator.data
    tls = tls_of(operator)
    scheme = "http" if tls is None else "https"
    listening = listen(operator.host, operator.port)
    held = None if operator.store == EMBEDDED else hold(data)  # the embedded store has a lock of its own
    store = await open_store(operator)
    host, port = listening.getsockname()[:2]
    address = operator.publish_url or f"{scheme}://{_reachable(host)}:{port}"
    app = await wire(operator, store, data, alone=operator.store == EMBEDDED, address=address)

    def serves() -> None:
        print(f"mlcommons-py {__version__} serves on {scheme}://{host}:{port}", flush=True)  # noqa: T201

    routes = table(cluster=app.services.gateway is not None)
    door = web_app(app.services, routes)
    garbage.settle()
    reconciling = asyncio.create_task(app.reconciler.run())
    core, at_once = None, True
    try:
        if app.services.gateway is not None and not is_private(operator):
            await require_users(app.services.gateway)
        if operator.api_servers > 1:
            core = await Core.open(door, routes, app.services, app.admission, listening)
        ends, turns = (None, None) if core is None else (core.stop, core.turns)
        at_once = await serve(door, listening, operator.shutdown_seconds, serves, ends=ends, turns=turns, tls=tls)
    finally:
        if core is not None:
            await core.close(at_once=at_once)
        reconciling.cancel()
        await asyncio.wait([reconciling])
        await app.close()
        if held is not None:
            held.close()


def run(operator: Operator) -> int:
    """Serve until told to stop; return the exit status.

    Raises:
        Unavailable: the address or the data directory cannot be used.
        IllegalArgument: a certificate cannot be used, or the address is open to other machines without protection, or
            before a cluster that knows nobody.
    """
    configure(operator.log_level)
    malloc.tune(mapped_from=1 << 20)  # chunks of models pass through, 10 MB each
    # Until the server takes the signals over, they end the process as they always do.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(operator))
    return 0

"""An API server that speaks https."""

import asyncio
import os
import signal
import socket
import ssl
from pathlib import Path

import httpx
import trustme

from mlcommons_py.api_servers.channel import Channel
from mlcommons_py.api_servers.core import beginning_of
from mlcommons_py.api_servers.desk import Desk
from mlcommons_py.api_servers.handing import address, handing
from mlcommons_py.api_servers.hatch import Hatch, hatch_in
from mlcommons_py.api_servers.parts import Parts
from mlcommons_py.api_servers.turns import Turns, shared
from mlcommons_py.rest.binding import tls_of
from mlcommons_py.rest.routes import TABLE
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.web import web_app
from mlcommons_py.settings import Operator
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.wiring import wire


async def test_https_is_handed_over(tmp_path: Path) -> None:
    """What comes encrypted is answered, and what is handed over of it; who speaks no TLS is hung up on."""
    certificate = tmp_path / "own.pem"
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    operator = Operator(data=tmp_path, tls_cert=certificate)
    app = await wire(operator, await EmbeddedStore.open(tmp_path / "store.db"), tmp_path)
    directory, private = hatch_in(tmp_path)
    hatch = await Hatch.open(web_app(app.services, TABLE), private)
    ours, theirs = socket.socketpair()
    desk = Desk(app.services.models, app.admission, app.services.settings)
    core = await Channel.open(ours, {"model": desk.model})
    channel = await Channel.open(theirs, {})
    parts = Parts.of(beginning_of(app.services, TABLE, directory), channel, handing(address(directory)))
    listening, serves = listen("127.0.0.1", 0), asyncio.Event()
    port = listening.getsockname()[1]
    memory = shared(1)
    turns = Turns(memory, 0)
    serving = asyncio.create_task(serve(parts.front, listening, 1.0, serves.set, turns=turns, tls=tls_of(operator)))
    await asyncio.wait_for(serves.wait(), 20)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: me\r\n\r\n")
    assert not (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP")
    writer.close()
    async with httpx.AsyncClient(verify=trusted, base_url=f"https://127.0.0.1:{port}") as client:
        assert (await client.get("/_health/live")).json() == {"status": "live"}

    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 20)
    await parts.close()
    await asyncio.gather(channel.close(), core.close(), hatch.close())
    await app.close()
    os.close(memory)

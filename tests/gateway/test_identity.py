"""With a cluster, it says who may use the service's own routes."""

import asyncio
from dataclasses import replace

import pytest
from starlette.types import Message

from mlcommons_py.errors import Forbidden, IllegalArgument
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import Pool
from mlcommons_py.rest.asked import Asked
from mlcommons_py.rest.identity import PATH, Identity, identity_of, require_users
from mlcommons_py.settings import Operator
from mlcommons_py.wiring import App
from tests.gateway.conftest import Before, Connect
from tests.gateway.peers import PATIENCE, Fake, Wire, field

UNKNOWN = (
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\n"
    b"content-type: text/plain\r\ncontent-length: 12\r\n\r\nUnauthorized"
)
NO_HANDLER = b'{"error":"no handler found for uri [%b] and method [GET]"}' % PATH.encode()


class Guard:
    """A cluster that knows one user, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.heads: list[bytes] = []

    async def script(self, wire: Wire) -> None:
        """Answer 200 to the user, 401 to anybody else."""
        while head := await wire.head():
            self.asked += 1
            self.heads.append(head)
            if b"authorization: Basic dTpw\r\n" in head:
                await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            else:
                await wire.send(UNKNOWN)


async def call(wire: Wire, path: str, credentials: str = "") -> tuple[bytes, bytes]:
    """Call a path; return status and body."""
    field = f"authorization: Basic {credentials}\r\n" if credentials else ""
    await wire.send(f"GET {path} HTTP/1.1\r\nhost: me\r\n{field}\r\n".encode())
    head, body = await wire.answer()
    return head.split()[1], head + body


async def test_own_routes_guarded(connect: Connect, fake: Fake) -> None:
    """A stranger gets the cluster's own refusal, on every path of the plugin; a user of the cluster is let in."""
    guard = Guard()
    fake.script = guard.script
    wire = await connect()

    for credentials in ("", "eDp5"):
        status, text = await call(wire, "/_plugins/_ml/stats", credentials)
        assert status == b"401"
        assert b"www-authenticate: Basic realm=x" in text
        assert text.endswith(b"Unauthorized")
    assert (await call(wire, "/_plugins/_ml/stats", "dTpw"))[0] == b"200"
    assert {head.split()[1] for head in guard.heads} == {PATH.encode()}


async def test_asked_once(connect: Connect, fake: Fake) -> None:
    """The cluster is asked once for many requests with the same credentials, and each time for a stranger."""
    guard = Guard()
    fake.script = guard.script
    wire = await connect()
    for _ in range(10):
        assert (await call(wire, "/_plugins/_ml/models/x", "dTpw"))[0] == b"404"
    assert guard.asked == 1
    for _ in range(3):
        assert (await call(wire, "/_plugins/_ml/models/x"))[0] == b"401"
    assert guard.asked == 4


async def test_cluster_down(connect: Connect, fake: Fake) -> None:
    """While the cluster is down, nobody is let in whom it did not know before."""
    fake.script = Guard().script
    await fake.stop()
    wire = await connect()
    assert (await call(wire, "/_plugins/_ml/stats", "dTpw"))[0] == b"503"
    await fake.start()
    assert (await call(wire, "/_plugins/_ml/stats", "dTpw"))[0] == b"200"
    await fake.stop()
    assert (await call(wire, "/_plugins/_ml/stats", "dTpw"))[0] == b"200"
    assert (await call(wire, "/_plugins/_ml/stats", "eDp5"))[0] == b"503"
    await fake.start()


async def test_no_security(connect: Connect, fake: Fake) -> None:
    """A cluster without the security plugin lets everybody in, and so does the service, also while it is down."""

    async def script(wire: Wire) -> None:
        while await wire.head():
            head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n" % len(NO_HANDLER)
            await wire.send(head + NO_HANDLER)

    fake.script = script
    wire = await connect()
    assert (await call(wire, "/_plugins/_ml/stats"))[0] == b"200"
    await fake.stop()
    assert (await call(wire, "/_plugins/_ml/stats", "eDp5"))[0] == b"200"
    await fake.start()


async def test_no_security_before_other_machines(fake: Fake) -> None:
    """Where other machines can reach the service, a cluster that knows nobody ends its start, and lets nobody in."""

    async def script(wire: Wire) -> None:
        while await wire.head():
            head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n" % len(NO_HANDLER)
            await wire.send(head + NO_HANDLER)

    fake.script = script
    gateway = Gateway(Pool((fake.url,), None))
    with pytest.raises(IllegalArgument, match=r"nobody knows who calls.*--insecure"):
        await require_users(gateway)
    scope = {"type": "http", "method": "GET", "scheme": "https", "path": "/", "query_string": b"", "headers": []}

    async def receive() -> Message:
        raise NotImplementedError

    with pytest.raises(Forbidden, match="nobody knows who calls"):
        await Identity(gateway, anonymous=False).of(Asked(scope, receive))
    gateway.close()


async def test_users_behind_other_machines(fake: Fake) -> None:
    """A cluster that asks who calls, and one that is down, let the service start."""
    fake.script = Guard().script
    gateway = Gateway(Pool((fake.url,), None))
    await require_users(gateway)
    await fake.stop()
    await require_users(gateway)
    await fake.start()
    gateway.close()


async def started_while_down(fake: Fake, app: App, before: Before) -> Wire:
    """Connect to a service that other machines can reach, and that was started while its cluster was down."""
    await fake.stop()
    port = await before(fake.url, operator=replace(app.services.operator, host="0.0.0.0"))
    return Wire(*await asyncio.open_connection("127.0.0.1", port))


async def test_no_security_found_out_later(fake: Fake, app: App, before: Before) -> None:
    """A cluster that was down at the start, and then knows nobody, is sent nothing for other machines."""
    seen = []

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            seen.append(head.split()[1])
            head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n" % len(NO_HANDLER)
            await wire.send(head + NO_HANDLER)

    fake.script = script
    wire = await started_while_down(fake, app, before)
    assert (await call(wire, "/index/_doc/1"))[0] == b"503"
    await fake.start()
    for path in ("/index/_doc/1", "/_cat/plugins", "/index/_doc/1"):
        status, text = await call(wire, path)
        assert (status, b"nobody knows who calls" in text) == (b"403", True)
    assert set(seen) == {PATH.encode()}
    wire.close()


async def test_users_found_out_later(fake: Fake, app: App, before: Before) -> None:
    """A cluster that was down at the start, and then not ready, is sent what comes once it asks who calls."""
    busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
    seen, says = [], [busy]

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            seen.append(head.split()[1])
            if seen[-1] == PATH.encode():
                await wire.send(says.pop() if says else UNKNOWN)
            else:
                await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n" + await wire.exactly(3))

    fake.script = script
    wire = await started_while_down(fake, app, before)
    await fake.start()
    assert (await call(wire, "/index/_doc/1"))[0] == b"503"
    for body in (b"one", b"two"):
        await wire.send(b"PUT /index/_doc/1 HTTP/1.1\r\nhost: me\r\ncontent-length: 3\r\n\r\n" + body)
        assert (await wire.answer())[1] == body
    assert seen == [PATH.encode()] * 2 + [b"/index/_doc/1"] * 2
    wire.close()


async def test_users_are_asked_for_once(fake: Fake) -> None:
    """However many wait to be passed on, the cluster is asked once; who goes away leaves the answer to the others."""
    asked, answering = [], asyncio.Event()

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            asked.append(head.split()[1])
            await answering.wait()
            await wire.send(UNKNOWN)

    fake.script = script
    gateway = Gateway(Pool((fake.url,), None))
    identity_of(gateway, Operator(host="0.0.0.0"))
    waiting = [asyncio.create_task(gateway.permitted()) for _ in range(40)]
    async with asyncio.timeout(PATIENCE):
        while not asked:
            await asyncio.sleep(0.001)
        waiting[0].cancel()
        answering.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await gateway.permitted()
    gateway.close()

    assert [type(one) for one in outcomes] == [asyncio.CancelledError, *[type(None)] * 39]
    assert asked == [PATH.encode()]


async def test_open_routes(connect: Connect, fake: Fake) -> None:
    """Health and metrics are there without credentials, and never ask the cluster."""
    wire = await connect()
    assert (await call(wire, "/_health/live"))[0] == b"200"
    assert (await call(wire, "/metrics"))[0] == b"200"
    assert fake.connections == 0


async def test_paths_of_the_plugin_stay(connect: Connect, fake: Fake) -> None:
    """Nothing below the plugin's path reaches the cluster, however it is spelled; what only looks like it does."""
    seen = []

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            seen.append(head.split()[1])
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    fake.script = script
    wire = await connect()
    for path in (
        "/_plugins/_ml/nothing",
        "//_plugins//_ml/nothing",
        "/%5fplugins/_m%6C/nothing/at/all",
        "/_plugins/_ml",
    ):
        await asyncio.wait_for(call(wire, path, "dTpw"), 20)
    assert set(seen) <= {PATH.encode()}
    for path in ("/_plugins/_mlx", "/_plugins", "/x/_plugins/_ml/stats", "/_plugins%2F_ml/stats"):
        assert (await call(wire, path))[0] == b"200"
    assert seen[-4:] == [b"/_plugins/_mlx", b"/_plugins", b"/x/_plugins/_ml/stats", b"/_plugins%2F_ml/stats"]


class Users:
    """A cluster whose users' names are their credentials."""

    async def script(self, wire: Wire) -> None:
        """Tell who the client is."""
        while head := await wire.head():
            name = field(head, b"authorization").split()[1]
            body = b'{"user":"User [name=%b]","user_name":"%b","backend_roles":[]}' % (name, name)
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def test_limits_of_users(connect: Connect, fake: Fake, app: App) -> None:
    """The cluster's name for a client is what a model's controller goes by, at once when it changes."""
    fake.script = Users().script
    await app.store.put(
        ".plugins-ml-model", "m", {"name": "m", "algorithm": "TEXT_EMBEDDING", "model_state": "REGISTERED"}
    )
    wire = await connect()

    async def predict(user: str) -> bytes:
        body = b'{"text_docs":["x"]}'
        head = f"POST /_plugins/_ml/models/m/_predict HTTP/1.1\r\nhost: me\r\nauthorization: Basic {user}\r\n"
        await wire.send(
            head.encode() + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        answer, _ = await wire.answer()
        return answer.split()[1]

    assert [await predict("ann") for _ in range(3)] == [b"400"] * 3
    await app.services.controllers.create("m", {"user_rate_limiter": {"ann": {"limit": 2, "unit": "DAYS"}}})
    assert [await predict("ann") for _ in range(4)] == [b"400", b"400", b"429", b"429"]
    assert await predict("bob") == b"400"
    of_bob = {"limit": 0, "unit": "DAYS"}
    await app.services.controllers.update("m", {"user_rate_limiter": {"bob": of_bob, "ann": {"limit": 3}}})
    assert [await predict("bob"), await predict("ann")] == [b"429", b"400"]
    await app.services.controllers.delete("m")
    assert [await predict("bob"), await predict("ann")] == [b"400", b"400"]

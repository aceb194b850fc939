"""Who is known to the cluster, while time goes by and the cluster does not answer."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request

from mlcommons_py.errors import Rejected, Unavailable
from mlcommons_py.gateway.passing import ASKED_AT_ONCE, Asker, Gateway
from mlcommons_py.gateway.pool import CONNECT_SECONDS, Pool
from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.identity import DOWN_SECONDS, FRESH_SECONDS, WAITED_SECONDS, Caller, Identity
from tests.gateway.peers import PATIENCE, Fake, Wire

ANN = Caller("ann")


class Cluster:
    """A cluster that says who somebody is when it is told to, and counts how often it was asked."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake
        self.asked = 0
        self.knows = True
        self.answers = asyncio.Event()
        self.answers.set()
        self.came = asyncio.Event()
        fake.script = self._script

    async def _script(self, wire: Wire) -> None:
        while await wire.head():
            self.asked += 1
            self.came.set()
            await self.answers.wait()
            body = b'{"user_name":"ann"}' if self.knows else b"Unauthorized"
            status = b"200 OK" if self.knows else b"401 Unauthorized"
            await wire.send(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


class Asked:
    """The identity under test, with a clock of its own."""

    def __init__(self, url: str, *, seconds: float = 10 * PATIENCE, patience: float = 10 * PATIENCE) -> None:
        self.now = 1000.0
        self.pool = Pool([url], None, 1)
        self.gateway = Gateway(self.pool)
        self.identity = Identity(self.gateway, lambda: self.now, seconds, patience)

    async def who(self, credentials: bytes = b"Basic x") -> Caller | Answer:
        """Return who calls."""
        scope = {
            "type": "http",
            "headers": [(b"host", b"me"), (b"authorization", credentials)],
            "client": ("192.0.2.1", 1),
            "scheme": "http",
            "server": ("127.0.0.1", 1),
            "path": "/",
            "query_string": b"",
        }
        return await asyncio.wait_for(self.identity.of(Request(scope)), PATIENCE)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """The cluster that is asked."""
    fake = Fake()
    await fake.start()
    yield Cluster(fake)
    await fake.stop()


@pytest.fixture
async def asked(cluster: Cluster) -> AsyncIterator[Asked]:
    """An identity that asks it, and knows Ann already."""
    one = Asked(cluster.fake.url)
    assert await one.who() == ANN
    yield one
    one.gateway.close()


async def test_known_while_asked_again(cluster: Cluster, asked: Asked) -> None:
    """Who was known a moment ago is not kept waiting while the cluster is asked again, and it is asked once."""
    cluster.answers.clear()
    asked.now += FRESH_SECONDS + 1

    assert [await asked.who() for _ in range(3)] == [ANN] * 3
    cluster.answers.set()
    asked.now += WAITED_SECONDS
    assert await asked.who() == ANN
    assert cluster.asked in (2, 3)


async def test_unknown_from_the_next_answer_on(cluster: Cluster, asked: Asked) -> None:
    """Whom the cluster does not know any more is refused as soon as it said so."""
    cluster.knows = False
    asked.now += FRESH_SECONDS + 1
    await asked.who()

    async with asyncio.timeout(PATIENCE):
        while not isinstance(answer := await asked.who(), Answer):
            await asyncio.sleep(0)
    assert answer.status == 401


async def test_old_answers_are_not_believed(cluster: Cluster, asked: Asked) -> None:
    """Who was not known for a while waits for the cluster's answer, and heeds it."""
    cluster.knows = False
    asked.now += WAITED_SECONDS + 1
    answer = await asked.who()

    assert isinstance(answer, Answer)
    assert answer.status == 401


async def test_cluster_that_is_away(cluster: Cluster, asked: Asked) -> None:
    """While the cluster is known not to answer, who was known is not kept waiting, but not for ever."""
    other = b"Basic y"
    assert await asked.who(other) == ANN
    await cluster.fake.stop()
    asked.now += DOWN_SECONDS - 1
    assert await asked.who() == ANN  # it was asked, and did not answer
    cluster.answers.clear()
    await cluster.fake.start()

    assert await asked.who(other) == ANN
    asked.now += 2
    waiting = asyncio.ensure_future(asked.who(other))
    cluster.knows = False
    cluster.answers.set()
    assert isinstance(await waiting, Answer)


async def test_slow_answers(cluster: Cluster) -> None:
    """A cluster that takes its time keeps a stranger waiting; who was known goes on and heeds it then."""
    asked = Asked(cluster.fake.url, patience=0.01)
    assert await asked.who() == ANN
    cluster.answers.clear()
    stranger = asyncio.ensure_future(asked.who(b"Basic y"))
    asked.now += WAITED_SECONDS + 1
    assert await asked.who() == ANN
    assert not stranger.done()

    cluster.knows = False
    cluster.answers.set()
    assert isinstance(await stranger, Answer)
    async with asyncio.timeout(PATIENCE):
        while not isinstance(await asked.who(), Answer):
            await asyncio.sleep(0)
    asked.gateway.close()


async def test_no_answer(cluster: Cluster) -> None:
    """A cluster that takes the question and never answers it does not keep a stranger waiting for ever."""
    cluster.answers.clear()
    asked = Asked(cluster.fake.url, seconds=0.05)

    with pytest.raises(Unavailable, match=r"did not say within 0\.05 s who calls"):
        await asked.who()
    asked.gateway.close()


async def test_silent_address() -> None:
    """An address that takes no connection is not tried again and again: that the cluster is down is said at once."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # it fills the backlog
            asked = Asked(f"http://127.0.0.1:{port}")
            began = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be reached"):
                await asked.who()
            assert time.monotonic() - began < 2 * CONNECT_SECONDS
            asked.gateway.close()


async def test_strangers_share_an_answer(cluster: Cluster, asked: Asked) -> None:
    """Requests with the same credentials that come together ask once, and one that is given up hurts no other."""
    cluster.answers.clear()
    cluster.came.clear()
    first, second, third = (asyncio.ensure_future(asked.who(b"Basic y")) for _ in range(3))
    await asyncio.wait_for(cluster.came.wait(), PATIENCE)
    first.cancel()
    cluster.answers.set()

    assert [await second, await third] == [ANN, ANN]
    assert cluster.asked == 2


async def test_requests_that_stand_still(asked: Asked) -> None:
    """Strangers are asked about while all places of requests that are passed on are taken."""
    assert asked.pool.entered()

    assert await asked.who(b"Basic y") == ANN


async def test_a_cluster_that_is_too_busy_to_be_asked(cluster: Cluster, asked: Asked) -> None:
    """Who is known goes on while there is no place for the question; a stranger is told to try again."""
    cluster.answers.clear()
    assert asked.pool.entered()
    someone = Asker("GET", "192.0.2.1", "http")
    others = [asyncio.ensure_future(asked.gateway.ask(someone, "/", [])) for _ in range(ASKED_AT_ONCE)]
    async with asyncio.timeout(PATIENCE):
        while cluster.asked <= ASKED_AT_ONCE:
            await asyncio.sleep(0)
    asked.now += WAITED_SECONDS + 1

    known, stranger = await asyncio.gather(asked.who(), asked.who(b"Basic y"), return_exceptions=True)
    cluster.answers.set()
    await asyncio.gather(*others)

    assert known == ANN
    assert isinstance(stranger, Rejected)

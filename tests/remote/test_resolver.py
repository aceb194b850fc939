"""The address that was checked is the one that is called."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from mlcommons_py.errors import IllegalArgument, RemoteFailed
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.resolver import SystemLookup
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote.conftest import asking, settings_of
from tests.remote.fake import ANY, PATIENCE, Answer, Fake

PATIENT = ClientConfig(max_retry_times=3, retry_backoff_millis=1)


class Names:
    """A name server whose answers change: each look-up takes the next, the last one repeats."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def look_up(self, host: str, _port: int) -> list[str]:
        """Return the next answer."""
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise OSError(-2, "Name or service not known")
        return answer


@pytest.fixture
async def inside(fake: Fake) -> AsyncIterator[Fake]:
    """Something on another private address, at the port of the fake, that must not be called."""
    other = Fake(host="127.0.0.2")
    other.port = fake.port
    async with other:
        yield other.on(ANY, Answer(200, "inside"))


def calling(names: Names) -> Transport:
    """Return what may call 127.0.0.1, which stands for the open internet, and no other private address."""
    settings = settings_of(connector__private_ip_enabled=False)
    return Transport(Trust(settings, "127.0.0.1/32"), settings, lookup=names.look_up)


async def test_a_name_that_changes_after_the_check_gains_nothing(fake: Fake, inside: Fake) -> None:
    """A name is looked up once for a connection, and the connection goes to what was checked."""
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    transport = calling(names)
    fake.on(ANY, Answer(200, "outside", last=True))

    incoming = await transport.send(asking(f"http://rebind.example:{fake.port}/"), PATIENT, model_id="m")
    with pytest.raises(IllegalArgument) as refused:
        await transport.send(asking(f"http://rebind.example:{fake.port}/"), PATIENT, model_id="m")

    assert incoming.body == b"outside"
    assert refused.value.reason.startswith("Remote inference host name has private ip address: rebind.example. ")
    assert (len(names.asked), inside.connections) == (2, 0)
    assert fake.requests[0].header("Host") == f"rebind.example:{fake.port}"
    await transport.close()


async def test_a_repetition_is_checked_like_the_first_attempt(fake: Fake, inside: Fake) -> None:
    """A name that turns private between two attempts of one call is refused at the second."""
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    transport = calling(names)
    fake.on(ANY, Answer(503, last=True))

    with pytest.raises(IllegalArgument, match="has private ip address"):
        await transport.send(asking(f"http://rebind.example:{fake.port}/"), PATIENT, model_id="m")

    assert (len(fake.requests), inside.connections) == (1, 0)
    await transport.close()


async def test_all_addresses_of_a_name_are_checked(fake: Fake, inside: Fake) -> None:
    """One private address among others refuses the name before anything is connected to."""
    transport = calling(Names(["127.0.0.1", "127.0.0.2"]))

    with pytest.raises(IllegalArgument, match="has private ip address"):
        await transport.send(asking(f"http://both.example:{fake.port}/"), PATIENT, model_id="m")

    assert (fake.connections, inside.connections) == (0, 0)
    await transport.close()


async def test_an_address_in_the_url_is_checked_at_the_call(inside: Fake) -> None:
    """The HTTP client looks no address up that stands in the URL; it is refused all the same."""
    names = Names(["127.0.0.1"])
    transport = calling(names)

    with pytest.raises(IllegalArgument, match=r"has private ip address: 127\.0\.0\.2\. "):
        await transport.send(asking(f"{inside.url}/"), PATIENT, model_id="m")

    assert (names.asked, inside.connections) == ([], 0)
    await transport.close()


async def test_a_stream_is_checked_like_a_call(inside: Fake) -> None:
    """Streaming is no way around the rules, neither for an address nor for a name nor for an untrusted URL."""
    transport = calling(Names(["127.0.0.2"]))

    for url in (inside.url, f"http://name.example:{inside.port}", "ftp://name.example"):
        with pytest.raises(IllegalArgument):
            async with transport.stream(asking(f"{url}/"), PATIENT, model_id="m"):
                pass

    assert inside.connections == 0
    await transport.close()


async def test_a_kept_connection_is_not_lent_to_who_may_not_have_it(fake: Fake) -> None:
    """When private addresses are forbidden again, connections to them that are still open are not used."""
    settings = settings_of()
    transport = Transport(Trust(settings), settings, lookup=Names(["127.0.0.1"]).look_up)
    fake.on(ANY, Answer(200, {}))
    await transport.send(asking(f"http://name.example:{fake.port}/"), PATIENT, model_id="m")

    settings.transient["plugins.ml_commons.connector.private_ip_enabled"] = False

    with pytest.raises(IllegalArgument, match="has private ip address"):
        await transport.send(asking(f"http://name.example:{fake.port}/"), PATIENT, model_id="m")
    assert len(fake.requests) == 1
    await transport.close()


async def test_trust_that_was_taken_back_is_noticed_at_the_call(fake: Fake, transport: Transport) -> None:
    """The list of trusted endpoints counts at every call, not only when the connector was made."""
    fake.on(ANY, Answer(200, {}))
    settings = settings_of()
    transport = Transport(Trust(settings), settings)
    await transport.send(asking(f"{fake.url}/"), PATIENT, model_id="m")

    settings.transient["plugins.ml_commons.trusted_connector_endpoints_regex"] = ["^https://other/.*$"]

    with pytest.raises(IllegalArgument, match="Connector URL is not matching the trusted connector endpoint regex"):
        await transport.send(asking(f"{fake.url}/"), PATIENT, model_id="m")
    assert len(fake.requests) == 1
    await transport.close()


async def test_a_name_without_an_address_is_a_fault_of_the_way() -> None:
    """It is tried again, as name servers fail too, and told with the name."""
    names = Names([])
    transport = calling(names)

    with pytest.raises(RemoteFailed) as failed:
        await transport.send(asking("http://nowhere.example/"), PATIENT, model_id="m")

    assert failed.value.reason == ("Error communicating with remote model: nowhere.example: Name or service not known")
    assert (failed.value.remote, len(names.asked)) == ({"attempts": 4}, 4)
    await transport.close()


async def test_a_name_is_asked_for_once_by_all_who_wait_for_it() -> None:
    """Many first calls to a provider at the same time are one question to the name server."""
    lookup = SystemLookup()

    found = await asyncio.gather(*(lookup("localhost", 80) for _ in range(50)))
    again = asyncio.ensure_future(lookup("localhost", 80))
    impatient = asyncio.ensure_future(lookup("localhost", 80))
    await asyncio.sleep(0)
    impatient.cancel()

    assert {*map(tuple, found)} == {tuple(await again)}
    assert lookup._shared == {}
    with pytest.raises(OSError):
        await lookup("nowhere.invalid", 80)


class Hanging:
    """A system whose name servers do not answer for some names until they are told to.

    Attributes:
        asked: the names that were looked up.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answering = threading.Event()

    def ask(self, host: str, _port: int) -> list[str]:
        """Return an address, at once or late."""
        self.asked.append(host)
        if host.startswith("lost"):
            assert self.answering.wait(PATIENCE)
        return ["127.0.0.1"]


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """Such a system, which answers everything in the end."""
    system = Hanging()
    yield system
    system.answering.set()


async def test_names_that_nobody_answers_for_hold_up_no_others(hanging: Hanging) -> None:
    """However many look-ups hang, the next name is looked up at once, and those that hang are asked for once each."""
    lookup = SystemLookup(hanging.ask)
    names = [f"lost-{number}.example" for number in range(50)]
    waiting = [asyncio.ensure_future(lookup(name, 80)) for name in (*names, *names)]

    async with asyncio.timeout(PATIENCE):
        assert await lookup("there.example", 80) == ["127.0.0.1"]

    assert sorted(hanging.asked) == sorted([*names, "there.example"])
    hanging.answering.set()
    assert await asyncio.gather(*waiting) == [["127.0.0.1"]] * 100


async def test_too_many_names_that_nobody_answers_for(hanging: Hanging) -> None:
    """What hangs is bounded: a name more is refused at once, and taken again once the others are through."""
    lookup = SystemLookup(hanging.ask, most=2)
    waiting = [asyncio.ensure_future(lookup(f"lost-{number}.example", 80)) for number in range(2)]
    await asyncio.sleep(0)
    settings = settings_of()
    transport = Transport(Trust(settings), settings, lookup=lookup)

    with pytest.raises(RemoteFailed, match="the name servers have not answered 2 earlier look-ups yet"):
        await transport.send(asking("http://there.example/"), ClientConfig(), model_id="m")

    hanging.answering.set()
    await asyncio.gather(*waiting)
    assert await lookup("there.example", 80) == ["127.0.0.1"]
    await transport.close()


async def test_a_look_up_that_hangs_is_not_shared_for_ever(hanging: Hanging) -> None:
    """Who asks a while later asks anew, and has the answer; the look-up that hung is not the name's any more."""
    lookup = SystemLookup(hanging.ask, shared=0.05)
    first = asyncio.ensure_future(lookup("lost.example", 80))
    async with asyncio.timeout(PATIENCE):
        while lookup._shared or not hanging.asked:
            await asyncio.sleep(0.01)
    second = asyncio.ensure_future(lookup("lost.example", 80))
    await asyncio.sleep(0)
    hanging.answering.set()

    assert (await first, await second) == (["127.0.0.1"], ["127.0.0.1"])
    assert hanging.asked == ["lost.example"] * 2
    assert (lookup._shared, lookup._under_way) == ({}, 0)


_ENDS = """
import asyncio, time
from mlcommons_py.remote.resolver import SystemLookup

async def main() -> None:
    asyncio.ensure_future(SystemLookup(lambda host, port: time.sleep(600))("lost.example", 80))
    await asyncio.sleep(0.1)

asyncio.run(main())
"""


def test_a_look_up_that_hangs_does_not_keep_the_service_from_ending() -> None:
    """The process ends though the system still waits for a name server."""
    subprocess.run([sys.executable, "-c", _ENDS], check=True, timeout=PATIENCE)


async def test_the_system_is_asked_by_default(fake: Fake, transport: Transport) -> None:
    """A name that only the system knows leads to its address."""
    fake.on(ANY, Answer(200, {}))

    assert (await transport.send(asking(f"http://localhost:{fake.port}/"), PATIENT, model_id="m")).status == 200

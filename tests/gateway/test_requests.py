"""What of a client's request reaches the cluster, and when."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.conftest import Connect
from tests.gateway.peers import OK, PATIENCE, Fake, Wire, field

pytestmark = pytest.mark.only("embedded", reason="the cluster is a script, and no document is read")


async def test_head_unchanged(connect: Connect, fake: Fake) -> None:
    """Method, target and fields arrive as they were sent; only what is said of the way differs."""
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        seen.append(await wire.head())
        await wire.send(OK)

    fake.script = script
    wire = await connect()
    await wire.send(
        b"SEARCH /a%2Fb/%e4//..//x?q=%20+&&=;&p#f HTTP/1.1\r\nHost: me\r\nX-Odd_Name: \xff \xc3\xa4\r\n"
        b"authorization: Basic eDp5\r\nX-Twice: 1\r\nx-twice: 2\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    assert (await wire.answer())[1] == b"ok"

    host = field(seen[0], b"host")
    assert host == fake.url.removeprefix("http://").encode()
    assert seen[0].split(b"\r\n") == [
        b"SEARCH /a%2Fb/%e4//..//x?q=%20+&&=;&p#f HTTP/1.1",
        b"Host: " + host,
        b"X-Odd_Name: \xff \xc3\xa4",
        b"authorization: Basic eDp5",
        b"X-Twice: 1",
        b"x-twice: 2",
        b"Accept-Encoding: gzip",
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: me",
        b"",
        b"",
    ]


TARGET = st.text(st.sampled_from([chr(code) for code in range(0x21, 0x7F) if chr(code) not in "#?"]), max_size=40)
QUERY = st.text(st.sampled_from([chr(code) for code in range(0x21, 0x7F) if chr(code) != "#"]), max_size=40)
NAME = st.text(st.sampled_from("abcXYZ019-_.!$%&'*+^`|~"), min_size=1, max_size=12).map(lambda name: "q" + name)
VALUE = st.binary(max_size=40).map(lambda raw: bytes(b for b in raw if b == 9 or (b >= 32 and b != 127)).strip(b" \t"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=TARGET, query=QUERY, fields=st.lists(st.tuples(NAME, VALUE), max_size=5), body=st.binary(max_size=300))
async def test_any_bytes(
    connect: Connect, fake: Fake, path: str, query: str, fields: list[tuple[str, bytes]], body: bytes
) -> None:
    """Whatever bytes a path, a query, fields and a body are made of, the cluster gets the same."""
    target = f"/i/{path}?{query}".encode()
    sent = [(name.encode(), value) for name, value in fields]
    got: list[bytes] = []

    async def script(wire: Wire) -> None:
        got.append(await wire.head())
        got.append(await wire.exactly(len(body)))
        await wire.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")

    fake.script = script
    wire = await connect()
    head = b"PUT %b HTTP/1.1\r\nHost: me\r\ncontent-length: %d\r\n" % (target, len(body))
    await wire.send(head + b"".join(b"%b: %b\r\n" % one for one in sent) + b"\r\n" + body)
    assert (await wire.answer())[1] == b"ok"
    wire.close()

    lines = got[0].split(b"\r\n")
    assert lines[0] == b"PUT %b HTTP/1.1" % target
    assert [line for line in lines if line.startswith(b"q")] == [b"%b: %b" % one for one in sent]
    assert got[1] == body


async def test_absolute_target(connect: Connect, fake: Fake) -> None:
    """A target with scheme and host reaches the cluster without them."""
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        seen.append((await wire.head()).split(b"\r\n")[0])
        await wire.send(OK)

    fake.script = script
    wire = await connect()
    await wire.send(b"GET http://somewhere:1/a?b HTTP/1.1\r\nHost: me\r\n\r\n")
    await wire.answer()

    assert seen == [b"GET /a?b HTTP/1.1"]


async def test_target_beyond_ascii(connect: Connect, fake: Fake) -> None:
    """A target with bytes that no target may have, as curl sends it, arrives with these bytes escaped."""
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            seen.append(head.split(b"\r\n")[0])
            await wire.send(OK)

    fake.script = script
    wire = await connect()
    for _ in range(2):
        await wire.send("GET /größe?q=ü HTTP/1.1\r\nHost: me\r\n\r\n".encode())
        await wire.answer()

    assert seen == [b"GET /gr%C3%B6%C3%9Fe?q=%C3%BC HTTP/1.1"] * 2


async def test_hop_by_hop(connect: Connect, fake: Fake) -> None:
    """Fields of one connection go no further, nor do those that Connection names; framing and Host cannot be named."""
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        seen.append(await wire.head())
        assert await wire.exactly(2) == b"hi"
        await wire.send(
            b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\n"
            b"X-Yours: 2\r\nContent-Length: 2\r\n\r\nok"
        )

    fake.script = script
    wire = await connect()
    await wire.send(
        b"POST /a HTTP/1.1\r\nHost: me\r\nConnection: close, X-Secret, Content-Length, Host\r\nX-Secret: 1\r\n"
        b"Keep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: Basic x\r\nX-Open: 1\r\nContent-Length: 2\r\n\r\nhi"
    )
    head, _ = await wire.answer()

    arrived = seen[0].lower()
    assert b"x-secret" not in arrived
    assert b"keep-alive" not in arrived
    assert b"proxy-authorization" not in arrived
    assert field(seen[0], b"connection") == b"TE"
    assert field(seen[0], b"x-open") == b"1"
    assert field(seen[0], b"content-length") == b"2"
    assert head == b"HTTP/1.1 200 OK\r\nX-Yours: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"


async def test_forwarded_appended(connect: Connect, fake: Fake) -> None:
    """A chain of proxies is continued, and what the first of them said of host and scheme stands."""
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        seen.append(await wire.head())
        await wire.send(OK)

    fake.script = script
    wire = await connect()
    await wire.send(
        b"GET /a HTTP/1.1\r\nHost: me\r\nX-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2\r\n"
        b"X-Forwarded-Host: first\r\nX-Forwarded-Proto: https\r\n\r\n"
    )
    await wire.answer()

    assert field(seen[0], b"x-forwarded-for") == b"192.0.2.1, 192.0.2.2, 127.0.0.1"
    assert field(seen[0], b"x-forwarded-host") == b"first"
    assert field(seen[0], b"x-forwarded-proto") == b"https"


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 12"])
async def test_body_unbuffered(connect: Connect, fake: Fake, framing: bytes) -> None:
    """The first part of a body is at the cluster before the client sends the second."""
    first, second = asyncio.Event(), asyncio.Event()
    in_chunks = b"chunked" in framing
    parts = (b"6\r\nfirst,\r\n", b"6\r\nsecond\r\n0\r\n\r\n") if in_chunks else (b"first,", b"second")

    async def script(wire: Wire) -> None:
        assert framing in await wire.head()
        assert await wire.exactly(len(parts[0])) == parts[0]
        first.set()
        assert await wire.exactly(len(parts[1])) == parts[1]
        second.set()
        await wire.send(OK)

    fake.script = script
    wire = await connect()
    await wire.send(b"POST /_bulk HTTP/1.1\r\nHost: me\r\n%b\r\n\r\n" % framing)
    await wire.send(parts[0])
    await asyncio.wait_for(first.wait(), PATIENCE)
    assert not second.is_set()
    await wire.send(parts[1])

    assert (await wire.answer())[1] == b"ok"


async def test_head_before_body(connect: Connect, fake: Fake) -> None:
    """The head is at the cluster while the client has not sent anything of the body."""
    came = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        came.set()
        assert await wire.exactly(2) == b"hi"
        await wire.send(OK)

    fake.script = script
    wire = await connect()
    await wire.send(b"POST /_bulk HTTP/1.1\r\nHost: me\r\nContent-Length: 2\r\n\r\n")
    await asyncio.wait_for(came.wait(), PATIENCE)
    await wire.send(b"hi")

    assert (await wire.answer())[1] == b"ok"


async def test_trailers(connect: Connect, fake: Fake) -> None:
    """Trailers go through both ways, but for those that would say who sent a message."""

    async def script(wire: Wire) -> None:
        await wire.head()
        assert await wire.until(b"\r\n\r\n") == b"2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"
        await wire.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Count\r\n\r\n"
            b"3\r\nyes\r\n0\r\nX-Count: 1\r\n\r\n"
        )

    fake.script = script
    wire = await connect()
    await wire.send(
        b"POST /a HTTP/1.1\r\nHost: me\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\nX-Sum: 7\r\nAuthorization: Basic x\r\n\r\n"
    )

    assert await wire.head() == b"HTTP/1.1 200 OK\r\nTrailer: X-Count\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert await wire.until(b"\r\n\r\n") == b"3\r\nyes\r\n0\r\nX-Count: 1\r\n\r\n"


async def test_continue(connect: Connect, fake: Fake) -> None:
    """A client that waits to be told to go on is told when the cluster says so."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        assert field(await wire.head(), b"expect") == b"100-continue"
        asked.set()
        await go.wait()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await wire.exactly(2) == b"hi"
        await wire.send(OK)

    fake.script = script
    wire = await connect()
    await wire.send(b"PUT /a HTTP/1.1\r\nHost: me\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    await asyncio.wait_for(asked.wait(), PATIENCE)
    go.set()
    assert await wire.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(b"hi")

    assert (await wire.answer())[1] == b"ok"


async def test_refused_before_continue(connect: Connect, fake: Fake) -> None:
    """A client whose upload the cluster refuses by its head is not told to send it."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")

    fake.script = script
    wire = await connect()
    await wire.send(b"PUT /a HTTP/1.1\r\nHost: me\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")

    assert await wire.answer() == (b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\n", b"big")


@pytest.mark.parametrize("status", [413, 429])
async def test_early_answer(connect: Connect, fake: Fake, status: int) -> None:
    """An answer that comes while the body is still being sent is at the client at once."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.exactly(4)
        await wire.send(b"HTTP/1.1 %d No\r\ncontent-length: 3\r\n\r\nno!" % status)
        await wire.rest()

    fake.script = script
    wire = await connect()
    await wire.send(b"POST /_bulk HTTP/1.1\r\nHost: me\r\nContent-Length: 1000000\r\n\r\nmore")

    assert await wire.answer() == (b"HTTP/1.1 %d No\r\ncontent-length: 3\r\n\r\n" % status, b"no!")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"Content-Length: 3\r\nContent-Length: 4\r\n", b"400"),
        (b"Content-Length: 3, 3\r\n", b"400"),
        (b"Transfer-Encoding: xchunked\r\n", b"400"),
        (b"Transfer-Encoding : chunked\r\n", b"400"),
        (b"Transfer-Encoding: gzip, chunked\r\n", b"501"),
        (b"X: a\r\n Transfer-Encoding: chunked\r\n", b"400"),
        (b"Host: other\r\nContent-Length: 5\r\n", b"400"),
    ],
)
async def test_smuggling(connect: Connect, fake: Fake, head: bytes, status: bytes) -> None:
    """A request that two servers may cut at two places is refused, and the cluster sees nothing of it."""
    wire = await connect()
    await wire.send(b"POST /a HTTP/1.1\r\nHost: me\r\n" + head + b"\r\n0\r\n\r\n")

    assert (await wire.head()).split()[1] == status
    assert fake.connections == 0

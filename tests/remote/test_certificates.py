"""Whom the transport believes."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote.conftest import asking, settings_of
from tests.remote.fake import Answer, Fake

ONCE = ClientConfig()


@pytest.fixture
def authority() -> trustme.CA:
    """An authority of our own."""
    return trustme.CA()


def server_side(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return what a server with a certificate for some names needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_certificates_are_checked(authority: trustme.CA, tmp_path: Path) -> None:
    """Only a certificate of a known authority, for the right name, will do, unless the connector does not care."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    settings = settings_of()
    knows = Transport(Trust(settings), settings, authorities=tmp_path / "ca.pem")
    knows_not = Transport(Trust(settings), settings)
    careless = ClientConfig(skip_ssl_verification=True)
    patient = ClientConfig(max_retry_times=3, retry_backoff_millis=1)
    async with (
        Fake(tls=server_side(authority, "127.0.0.1")) as right,
        Fake(tls=server_side(authority, "other.example")) as wrong,
    ):
        for fake in (right, wrong):
            fake.on("/", Answer(200, {}))
        assert (await knows.send(asking(f"{right.url}/"), ONCE, model_id="m")).status == 200
        for transport, fake in ((knows_not, right), (knows, wrong)):
            with pytest.raises(RemoteFailed, match=r"certificate of /127\.0\.0\.1:\d+ cannot be trusted") as failed:
                await transport.send(asking(f"{fake.url}/"), patient, model_id="m")
            assert failed.value.remote == {"attempts": 1}
            assert (await transport.send(asking(f"{fake.url}/"), careless, model_id="m")).status == 200
            # What was opened without looking is not used by who looks.
            with pytest.raises(RemoteFailed, match="cannot be trusted"):
                await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")
    for transport in (knows, knows_not):
        await transport.close()


async def test_one_address_with_tls_will_do(authority: trustme.CA, tmp_path: Path) -> None:
    """A name of which one address hangs up on TLS is called at the next one; the fault is told where there is none."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    settings = settings_of()

    async def look_up(_host: str, _port: int) -> list[str]:
        return addresses

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.close()

    transport = Transport(Trust(settings), settings, authorities=tmp_path / "ca.pem", lookup=look_up)
    async with Fake(tls=server_side(authority, "two.example")) as fake:
        fake.on("/", Answer(200, {}))
        async with await asyncio.start_server(hang_up, "127.0.0.3", fake.port):
            url = f"https://two.example:{fake.port}/"
            addresses = ["127.0.0.3", "127.0.0.1"]
            assert (await transport.send(asking(url), ONCE, model_id="m")).status == 200
            await transport.close()
            addresses = ["127.0.0.3", "127.0.0.4"]
            with pytest.raises(RemoteFailed, match=r"remote model: [A-Z].* [a-z]+: two\.example:"):
                await transport.send(asking(url), ONCE, model_id="m")


async def test_plain_http_behind_https_is_told(transport: Transport) -> None:
    """A server that speaks no TLS is named as such."""

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RemoteFailed, match=r"^Error communicating with remote model: no TLS with /127\.0\.0\.1:"):
            await transport.send(asking(f"https://127.0.0.1:{port}/"), ONCE, model_id="m")

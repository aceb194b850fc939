"""The way to the cluster: encrypted, checked, and never with the service's own credentials."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from mlcommons_py.errors import Unavailable
from mlcommons_py.gateway.passing import Asker, Gateway
from mlcommons_py.gateway.pool import pool_of
from mlcommons_py.settings import Operator
from tests.gateway.peers import OK, Wire

pytestmark = pytest.mark.only("embedded", reason="the cluster is a script, and no document is read")

ASKER = Asker("GET", "192.0.2.1", "http")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, and its key in the same file."""
    directory = tmp_path_factory.mktemp("tls")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    both = directory / "both.pem"
    both.write_bytes((directory / "cert.pem").read_bytes() + (directory / "key.pem").read_bytes())
    return both


class Seen:
    """A cluster that speaks TLS, asks for a client certificate, and keeps what it saw."""

    def __init__(self, certificate: Path) -> None:
        self.heads: list[bytes] = []
        self.shown: list[object] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._tls.load_verify_locations(certificate)
        self._tls.verify_mode = ssl.CERT_OPTIONAL

    async def start(self) -> tuple[asyncio.Server, str]:
        """Listen; return the server and its address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return server, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        self.shown.append(writer.get_extra_info("peercert"))
        self.heads.append(await wire.head())
        await wire.send(OK)
        writer.close()


@pytest.mark.parametrize(
    ("own", "secret"),
    [
        ({"store_user": "admin", "store_password": "s3cret"}, b"authorization"),
        ({"store_token": "s3cret"}, b"authorization"),
    ],
)
async def test_not_in_own_name(certificate: Path, own: dict[str, str], secret: bytes) -> None:
    """A client's request shows the cluster neither the service's password or token nor its certificate."""
    seen = Seen(certificate)
    server, url = await seen.start()
    operator = Operator(store=url, store_ca=certificate, store_client_cert=certificate, **own)  # type: ignore[arg-type]
    gateway = Gateway(pool_of(operator))
    reply = await gateway.ask(ASKER, "/", [])

    assert (reply.status, reply.body) == (200, b"ok")
    assert secret not in seen.heads[0].lower()
    assert not seen.shown[0]
    gateway.close()
    server.close()
    await server.wait_closed()


async def test_unknown_authority(certificate: Path) -> None:
    """A cluster whose certificate is from nobody known is not spoken to, unless the operator says so."""
    seen = Seen(certificate)
    server, url = await seen.start()
    gateway = Gateway(pool_of(Operator(store=url)))
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await gateway.ask(ASKER, "/", [])
    assert seen.heads == []
    gateway.close()

    believing = Gateway(pool_of(Operator(store=url, store_insecure=True)))
    assert (await believing.ask(ASKER, "/", [])).status == 200
    believing.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://cluster:443", b"cluster"),
        ("http://cluster:80", b"cluster"),
        ("https://cluster:9200", b"cluster:9200"),
        ("http://[::1]:9200", b"[::1]:9200"),
    ],
)
async def test_authority(url: str, host: bytes) -> None:
    """What Host says to the cluster has the port only where it is not the usual one."""
    assert pool_of(Operator(store=url))._nodes[0].authority == host

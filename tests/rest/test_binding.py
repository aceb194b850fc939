"""Where the service may listen."""

import asyncio
import os
import signal
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.rest.binding import tls_of
from mlcommons_py.rest.routes import TABLE
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.services import Services
from mlcommons_py.rest.web import web_app
from mlcommons_py.settings import Operator

pytestmark = pytest.mark.only("embedded", reason="the door in front of handlers that no store is behind")

CLUSTER = "https://cluster:9200"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, and its key in the same file."""
    directory = tmp_path_factory.mktemp("tls")
    key, cert, both = directory / "key.pem", directory / "cert.pem", directory / "both.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*make.split(), "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    return both


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(host: str) -> None:
    """An address of this machine alone needs nothing."""
    assert tls_of(Operator(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_refused(host: str, certificate: Path) -> None:
    """Any other needs both TLS and a cluster; the text names what is lacking, and the way out."""
    with pytest.raises(IllegalArgument, match=r"needs TLS .* and a cluster .*--insecure"):
        tls_of(Operator(host=host))
    with pytest.raises(IllegalArgument, match=r"needs TLS \(--tls-cert, --tls-key\);"):
        tls_of(Operator(host=host, store=CLUSTER))
    with pytest.raises(IllegalArgument, match="needs a cluster that knows its users"):
        tls_of(Operator(host=host, tls_cert=certificate))


def test_allowed(certificate: Path) -> None:
    """With both it may be any address, and with an explicit word without either."""
    assert tls_of(Operator(host="0.0.0.0", store=CLUSTER, tls_cert=certificate)) is not None
    assert tls_of(Operator(host="0.0.0.0", insecure=True)) is None


def test_wrong_files(tmp_path: Path, certificate: Path) -> None:
    """A certificate that cannot be used, and a key without one, are named."""
    with pytest.raises(IllegalArgument, match=r"\[tls_cert\] .*none.pem"):
        tls_of(Operator(tls_cert=tmp_path / "none.pem"))
    (tmp_path / "text.pem").write_text("text")
    with pytest.raises(IllegalArgument, match=r"\[tls_cert\]"):
        tls_of(Operator(tls_cert=tmp_path / "text.pem"))
    with pytest.raises(IllegalArgument, match=r"\[tls_key\] needs \[tls_cert\]"):
        tls_of(Operator(tls_key=certificate))


async def test_serves_tls(services: Services, certificate: Path) -> None:
    """With a certificate the service speaks https."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    serves = asyncio.Event()
    tls = tls_of(Operator(tls_cert=certificate))
    serving = asyncio.ensure_future(serve(web_app(services, TABLE), listening, 1.0, serves.set, tls=tls))
    await asyncio.wait_for(serves.wait(), 20)
    trusted = ssl.create_default_context(cafile=certificate)
    async with httpx.AsyncClient(verify=trusted) as client:
        assert (await client.get(f"https://127.0.0.1:{port}/_health/live")).json() == {"status": "live"}
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 20)

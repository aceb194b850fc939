"""The way to the cluster: certificates are checked, who the service is is shown, and no secret is."""

import asyncio
import base64
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from mlcommons_py.errors import IllegalArgument, Unavailable
from mlcommons_py.settings import Operator
from mlcommons_py.store.link import Link, link_of
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node
from tests.gateway.peers import Wire, field, scripted
from tests.opensearch import empty
from tests.store.contract import INDEX
from tests.store.faulty import Faults, proxied

SECRET = "tr0ub4dor&3"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority of certificates that no system knows."""
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its own certificate, in a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def serving(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """Return how a cluster of that name does TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
async def secure(opensearch: Node, authority: trustme.CA) -> AsyncIterator[Faults]:
    """An empty OpenSearch behind TLS."""
    await asyncio.to_thread(empty, opensearch)
    async with proxied(opensearch.url, serving(authority)) as faults:
        yield faults


async def reach(**chosen: Any) -> None:
    """Write and read under an operator's choices."""
    store = OpenSearchStore.open(link_of(Operator(**chosen)), patience=0.2)
    try:
        await store.put(INDEX, "a", {"x": 1})
        assert await store.get(INDEX, "a") is not None
    finally:
        await store.close()


async def test_known_authority(secure: Faults, ca: Path) -> None:
    """A certificate of the authority that the operator names is believed."""
    await reach(store=secure.url, store_ca=ca)


async def test_unknown_authority(secure: Faults) -> None:
    """A certificate of another authority is not, and the fault says what to do; nothing was sent."""
    with pytest.raises(Unavailable, match=r"is not to be trusted: .*store_ca"):
        await reach(store=secure.url)
    assert secure.heard == []


async def test_wrong_name(opensearch: Node, authority: trustme.CA, ca: Path) -> None:
    """Nor is one for another host."""
    async with proxied(opensearch.url, serving(authority, "elsewhere.example")) as faults:
        with pytest.raises(Unavailable, match="is not to be trusted"):
            await reach(store=faults.url, store_ca=ca)


async def test_insecure(secure: Faults) -> None:
    """Any certificate is believed where the operator says so."""
    await reach(store=secure.url, store_insecure=True)


async def test_client_certificate(opensearch: Node, authority: trustme.CA, ca: Path, tmp_path: Path) -> None:
    """A cluster that wants a certificate of its client gets the operator's; without one it is not reached."""
    context = serving(authority)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = authority.issue_cert("service.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    mine.cert_chain_pems[0].write_to_path(cert)
    mine.private_key_pem.write_to_path(key)
    async with proxied(opensearch.url, context) as faults:
        await reach(store=faults.url, store_ca=ca, store_client_cert=cert, store_client_key=key)
        with pytest.raises(Unavailable):
            await reach(store=faults.url, store_ca=ca)


async def test_user_and_password(secure: Faults, ca: Path, tmp_path: Path) -> None:
    """User and password, from a file without its last line break, go with every request, as UTF-8."""
    file = tmp_path / "password"
    file.write_text(f"{SECRET}é€\n")
    await reach(store=secure.url, store_ca=ca, store_user="mü", store_password_file=file)
    packed = base64.b64encode(f"mü:{SECRET}é€".encode()).decode()
    assert {one.headers["Authorization"] for one in secure.heard} == {f"Basic {packed}"}


async def test_token(secure: Faults, ca: Path) -> None:
    """So does a token."""
    await reach(store=secure.url, store_ca=ca, store_token=SECRET)
    assert {one.headers["Authorization"] for one in secure.heard} == {f"Bearer {SECRET}"}


async def test_token_that_expires(tmp_path: Path) -> None:
    """When the cluster refuses the token, the one that its file has by then is shown, to the same request, too."""
    file = tmp_path / "token"
    file.write_text("first\n")
    accepted = "first"
    shown: list[bytes] = []

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            shown.append(field(head, b"authorization"))
            known = shown[-1] == f"Bearer {accepted}".encode()
            status, body = (b"404 Not Found", b'{"found":false}') if known else (b"401 Unauthorized", b"Unauthorized")
            answer = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            await wire.send(answer % (status, len(body), body))

    async with scripted() as cluster:
        cluster.script = script
        store = OpenSearchStore.open(link_of(Operator(store=cluster.url, store_token_file=file)), patience=0.1)
        assert await store.get(INDEX, "a") is None
        accepted = "second"
        with pytest.raises(Unavailable, match="does not accept the service's credentials"):
            await store.get(INDEX, "a")
        file.write_text("second\n")
        assert await asyncio.gather(*(store.get(INDEX, "a") for _ in range(3))) == [None] * 3
        assert await store.get(INDEX, "a") is None
        await store.close()
    assert shown[:2] == [b"Bearer first"] * 2
    assert shown[-1] == b"Bearer second"
    assert shown.count(b"Bearer second") == 4


async def test_no_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Neither what an operator chose, nor the link, nor a fault, nor a log at its most talkative has a secret in it."""
    caplog.set_level(logging.DEBUG)
    operator = Operator(store="http://127.0.0.1:1", store_user="ml", store_password=SECRET)
    link = link_of(operator)
    store = OpenSearchStore.open(link, patience=0.1)
    with pytest.raises(Unavailable) as caught:
        await store.put(INDEX, "a", {"x": "a document"})
    await store.close()
    token = Operator(store_token=SECRET)
    packed = base64.b64encode(f"ml:{SECRET}".encode()).decode()
    shown = f"{operator} {operator!r} {token!r} {link} {link!r} {caught.value.reason} {caplog.text}"
    assert SECRET not in shown
    assert packed not in shown
    assert "a document" not in shown


def test_a_link() -> None:
    """Several addresses are nodes of one cluster; plain http needs no certificates."""
    assert link_of(Operator(store="http://a:9200,http://b:9200")) == Link(("http://a:9200", "http://b:9200"))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"store_user": "ml"}, "[store_user] needs a password, and a password a user"),
        ({"store_password": "x"}, "[store_user] needs a password, and a password a user"),
        ({"store_user": "ml", "store_password": "x", "store_token": "y"}, "two identities"),
        ({"store_user": "ml", "store_password_file": Path("nowhere")}, "[store_password_file] cannot be read"),
        ({"store_token_file": Path("/dev/null")}, "[store_token_file] /dev/null is empty"),
        ({"store_ca": Path("nowhere")}, "[store_ca] nowhere cannot be used"),
        ({"store_client_key": Path("/dev/null")}, "[store_client_key] needs [store_client_cert]"),
        ({"store_client_cert": Path("/dev/null")}, "[store_client_cert] /dev/null with its key cannot be used"),
    ],
)
def test_unusable(chosen: dict[str, Any], said: str) -> None:
    """Files and credentials that cannot be used are told when the service starts, by the setting's name."""
    with pytest.raises(IllegalArgument) as caught:
        link_of(Operator(store="https://a:9200", **chosen))
    assert said in caught.value.reason


def test_no_secrets_in_the_clear() -> None:
    """Credentials go over plain http to this machine only, unless the operator says otherwise."""
    far, near = "http://far.example:9200", "http://127.0.0.1:9200"
    with pytest.raises(IllegalArgument, match="unencrypted"):
        link_of(Operator(store=f"{near},{far}", store_token=SECRET))
    assert link_of(Operator(store=near, store_token=SECRET)).token == SECRET
    assert link_of(Operator(store=far, store_token=SECRET, store_insecure=True)).token == SECRET

"""Connectors that show a certificate."""

import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificates

from mlcommons_py.errors import IllegalArgument, RemoteFailed
from mlcommons_py.remote.documents import CONNECTORS, ClientConfig
from mlcommons_py.remote.identity import Identity
from mlcommons_py.remote.transport import Transport
from mlcommons_py.store.embedded import EmbeddedStore
from tests.remote.conftest import asking
from tests.remote.fake import Answer, Fake
from tests.remote.making import connectors, openai

MUTUAL = ClientConfig(mutual_tls_enabled=True)
STORED = ClientConfig(mutual_tls_enabled=True, keystore_type="pkcs12")
AUTHORITY = trustme.CA()
ISSUER = AUTHORITY.create_child_ca()
CLIENT = ISSUER.issue_cert("client@example.com")
CHAIN = b"".join(blob.bytes() for blob in CLIENT.cert_chain_pems)
KEY = CLIENT.private_key_pem.bytes()
ROOT = AUTHORITY.cert_pem.bytes().decode()
PEM = {"client_cert_pem": CHAIN.decode(), "client_key_pem": KEY.decode(), "ca_cert_pem": ROOT}


def store(password: str) -> str:
    """Return the certificate and its key as a PKCS12 keystore, in base64."""
    own, *more = load_pem_x509_certificates(CHAIN)
    sealed = BestAvailableEncryption(password.encode())
    key = load_pem_private_key(KEY, None)
    made = pkcs12.serialize_key_and_certificates(None, key, own, more, sealed)  # type: ignore[arg-type]
    return base64.encodebytes(made).decode()


def strictly() -> ssl.SSLContext:
    """Return what a server needs that answers those only who show a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
async def strict() -> AsyncIterator[Fake]:
    """A provider that is strict so."""
    async with Fake(tls=strictly()) as fake:
        fake.on("/", Answer(200, {}))
        yield fake


async def status(transport: Transport, fake: Fake, config: ClientConfig, credential: Mapping[str, str]) -> int:
    """Call the provider and return its status."""
    asked = asking(f"{fake.url}/", identity=Identity.of(config, credential))
    return (await transport.send(asked, config, model_id="m")).status


@pytest.mark.parametrize(
    ("config", "credential"),
    [
        (MUTUAL, PEM),
        (MUTUAL, {name: base64.encodebytes(text.encode()).decode() for name, text in PEM.items()}),
        (STORED, {"client_cert_pkcs12": store("s3cret"), "keystore_password": "s3cret", "ca_cert_pem": ROOT}),
    ],
)
async def test_it_is_shown(
    transport: Transport, strict: Fake, config: ClientConfig, credential: Mapping[str, str]
) -> None:
    """A certificate, its issuers and the authority to believe may come in PEM, in base64, and from a keystore."""
    assert await status(transport, strict, config, credential) == 200


async def test_it_is_nobody_else_s(transport: Transport, strict: Fake) -> None:
    """A connection that was opened with a certificate is kept for it, and never used by who shows another, or none."""
    stranger = trustme.CA().issue_cert("x@example.com")
    other = {
        **PEM,
        "client_cert_pem": stranger.cert_chain_pems[0].bytes().decode(),
        "client_key_pem": stranger.private_key_pem.bytes().decode(),
    }
    assert [await status(transport, strict, MUTUAL, PEM) for _ in range(3)] == [200] * 3
    assert strict.connections == 1

    with pytest.raises(RemoteFailed, match="The connection was closed"):
        await status(transport, strict, MUTUAL, other)
    with pytest.raises(RemoteFailed, match="The connection was closed"):
        await status(transport, strict, ClientConfig(skip_ssl_verification=True), {})

    assert len(strict.requests) == 3


async def test_whom_it_believes(transport: Transport, strict: Fake) -> None:
    """A provider's certificate is looked at, too; without ``ca_cert_pem`` it is to be of the usual authorities."""
    for authority in ({}, {"ca_cert_pem": trustme.CA().cert_pem.bytes().decode()}):
        credential = {**{name: text for name, text in PEM.items() if name != "ca_cert_pem"}, **authority}
        with pytest.raises(RemoteFailed, match="cannot be trusted"):
            await status(transport, strict, MUTUAL, credential)


@pytest.mark.parametrize(
    ("config", "credential", "reason"),
    [
        ({}, {"client_cert_pem": "x"}, "For PEM keystore, provide both client_cert_pem and client_key_pem"),
        ({"keystore_type": "PKCS12"}, PEM, "For PKCS12 keystore, provide client_cert_pkcs12"),
        ({"keystore_type": "JKS"}, PEM, "Unsupported keystore type: JKS. Supported types are: PEM, PKCS12"),
        ({"skip_ssl_verification": True}, PEM, "skip_ssl_verification cannot be enabled together with mutual_tls_"),
        ({}, {**PEM, "api_key": "k"}, "Mixed authentication methods are not allowed."),
    ],
)
def test_names(config: dict[str, Any], credential: Mapping[str, str], reason: str) -> None:
    """What is missing, and what does not go together, is said in ML Commons' words."""
    with pytest.raises(IllegalArgument) as refused:
        Identity.of(ClientConfig.from_json({"mutual_tls_enabled": True, **config}), credential)

    assert refused.value.reason.startswith(reason)
    assert "BEGIN" not in refused.value.reason


LEAF_LAST = b"".join(blob.bytes() for blob in reversed(CLIENT.cert_chain_pems)).decode()


@pytest.mark.parametrize(
    ("config", "changes", "reason"),
    [
        (MUTUAL, {"client_key_pem": "/etc/key.pem"}, "[credential.client_key_pem] is neither in PEM nor in base64"),
        (MUTUAL, {"client_key_pem": base64.b64encode(b"x" * 99).decode()}, "[credential.client_key_pem] is neither"),
        (MUTUAL, {"client_key_pem": PEM["client_cert_pem"]}, "[credential.client_key_pem]: Invalid PEM private key"),
        (MUTUAL, {"client_cert_pem": PEM["client_key_pem"]}, "[credential.client_cert_pem]: Invalid PEM certificate"),
        (MUTUAL, {"client_cert_pem": LEAF_LAST}, "Client certificate chain is not ordered correctly."),
        (MUTUAL, {"ca_cert_pem": PEM["client_key_pem"]}, "[credential.ca_cert_pem]: Invalid PEM certificate format."),
        (
            MUTUAL,
            {"client_key_pem": AUTHORITY.issue_cert("x").private_key_pem.bytes().decode()},
            "the key of [credential] is not that of its client certificate",
        ),
        (STORED, {"client_cert_pkcs12": "AAAA"}, "[credential.client_cert_pkcs12] is no PKCS12 keystore, or"),
        (STORED, {"client_cert_pkcs12": store("other")}, "[credential.client_cert_pkcs12] is no PKCS12 keystore, or"),
    ],
)
def test_contents(config: ClientConfig, changes: Mapping[str, str], reason: str) -> None:
    """What cannot be read is named, and never quoted."""
    made = Identity.of(config, {**PEM, **changes})
    assert made is not None
    with pytest.raises(IllegalArgument) as refused:
        made.context()

    assert refused.value.reason.startswith(reason)
    assert not any(line in refused.value.reason for line in PEM["client_key_pem"].splitlines()[1:-1])


def test_it_is_not_shown_in_texts() -> None:
    """Nothing of a key is in what a log may write of a request."""
    assert "PRIVATE" not in repr(asking("https://x.example/", identity=Identity.of(MUTUAL, PEM)))


async def test_a_connector_with_it(store: EmbeddedStore) -> None:
    """A certificate is looked at when it comes, encrypted with the rest of the credential, and never shown."""
    service = connectors(store)
    of_openai = {"openAI_key": "k"}
    body = openai(client_config={"mutual_tls_enabled": True}, credential={**of_openai, **PEM})

    made = (await service.create(body))["connector_id"]

    shown = await service.get(made)
    assert shown["client_config"]["mutual_tls_enabled"] is True
    document = await store.get(CONNECTORS, made)
    assert document is not None
    assert "BEGIN" not in str(document.source) + str(shown)
    connector, credential = await service.recent(made)
    assert Identity.of(connector.config, credential) == Identity.of(MUTUAL, PEM)
    for wrong in ({**PEM, "client_key_pem": "x"}, {**PEM, "client_cert_pem": LEAF_LAST}):
        with pytest.raises(IllegalArgument, match=r"in PEM nor in base64|not ordered"):
            await service.update(made, {"credential": {**of_openai, **wrong}})
    with pytest.raises(IllegalArgument, match="For PEM keystore, provide both"):
        await service.update(made, {"credential": of_openai})
    await service.update(made, {"client_config": {"mutual_tls_enabled": False}, "credential": of_openai})

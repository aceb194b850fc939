"""Who a connector is, to a provider that wants to see a certificate (mutual TLS).

The fields and most texts are those of ``CertificateProcessor.java``: the certificates are part of the credential, and
stored as encrypted as all of it.
"""

import base64
import secrets
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.documents import ClientConfig

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

CERTIFICATE, KEY, STORE = "client_cert_pem", "client_key_pem", "client_cert_pkcs12"
AUTHORITIES, PASSWORD = "ca_cert_pem", "keystore_password"
_TYPES = ("PEM", "PKCS12")
_NO_TEXT = (
    "[credential.{field}] is neither in PEM nor in base64. Provide the certificate content itself (PEM text or"
    " base64-encoded PEM; of PKCS12 base64), not a file path."
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A client's certificate, and whom it believes.

    Attributes:
        keystore: ``PEM`` or ``PKCS12``.
        certificate: the certificate in PEM, those that it was issued by after it; of PKCS12 the whole store in base64.
        key: in PEM; empty of PKCS12.
        authorities: certificates in PEM of those that the provider's may be from, in place of the usual ones.
    """

    keystore: str
    certificate: str = field(repr=False)
    key: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    authorities: str = field(default="", repr=False)

    @classmethod
    def of(cls, config: ClientConfig, credential: Mapping[str, str]) -> "Identity | None":
        """Return who a connector is, of its credential, decrypted; None where it shows no certificate.

        Raises:
            IllegalArgument: as :func:`check`.
        """
        if not config.mutual_tls_enabled:
            return None
        check(config, credential)
        keystore = _keystore(config)
        return cls(
            keystore,
            credential[CERTIFICATE if keystore == "PEM" else STORE],
            credential[KEY] if keystore == "PEM" else "",
            credential.get(PASSWORD, ""),
            credential.get(AUTHORITIES, ""),
        )

    def context(self, authorities: Path | None = None) -> ssl.SSLContext:
        """Return what connections are made with; takes some milliseconds, and writes a file that is gone afterwards.

        ``authorities`` is a file of those to believe beside the system's, where the credential has none of its own.

        Raises:
            IllegalArgument: a certificate or a key cannot be read, or they do not belong together. The text names the
                field, and has nothing of what is in it.
        """
        context = _believing(self.authorities, authorities)
        key, chain = self._from_pem() if self.keystore == "PEM" else self._from_store()
        _load(context, key, chain)
        return context

    def _from_pem(self) -> "tuple[PrivateKeyTypes, Sequence[Certificate]]":
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        text = _pem(self.key, KEY)
        try:
            key = load_pem_private_key(text, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
            raise IllegalArgument(
                f"[credential.{KEY}]: Invalid PEM private key format. It is to be a key without a password, as of:"
                " openssl pkcs8 -topk8 -inform PEM -outform PEM -nocrypt -in key.pem -out pkcs8_key.pem"
            ) from fault
        chain = _certificates(self.certificate, CERTIFICATE)
        _check_order(chain)
        return key, chain

    def _from_store(self) -> "tuple[PrivateKeyTypes, Sequence[Certificate]]":
        from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

        try:
            key, own, more = load_key_and_certificates(
                _decoded(self.certificate, STORE), self.password.encode() or None
            )
        except (ValueError, TypeError) as fault:
            raise IllegalArgument(
                f"[credential.{STORE}] is no PKCS12 keystore, or [credential.{PASSWORD}] is not its password"
            ) from fault
        if key is None or own is None:
            raise IllegalArgument(f"[credential.{STORE}] has no key with its certificate")
        return key, [own, *more]


def check(config: ClientConfig, credential: Mapping[str, str]) -> None:
    """Refuse a connector that is to show a certificate and has none, or is not to look at the provider's.

    Of the credential only the names are looked at.

    Raises:
        IllegalArgument: in ML Commons' words.
    """
    keystore = _keystore(config)
    if not config.mutual_tls_enabled:
        return
    if config.skip_ssl_verification:
        raise IllegalArgument(
            "skip_ssl_verification cannot be enabled together with mutual_tls_enabled. Disabling server certificate"
            " validation while presenting a client certificate defeats the purpose of mutual TLS and allows"
            f" man-in-the-middle attacks. Provide a trusted CA certificate ({AUTHORITIES}) instead of skipping SSL"
            " verification."
        )
    if keystore == "PEM" and not {CERTIFICATE, KEY} <= credential.keys():
        raise IllegalArgument(f"For PEM keystore, provide both {CERTIFICATE} and {KEY}")
    if keystore == "PKCS12" and STORE not in credential:
        raise IllegalArgument(f"For PKCS12 keystore, provide {STORE}")
    if credential.get("api_key", "").strip():
        raise IllegalArgument(
            "Mixed authentication methods are not allowed. When using mutual TLS with client certificates, API keys"
            " should not be provided. Please remove the 'api_key' from credentials when 'mutual_tls_enabled' is true."
        )


def _keystore(config: ClientConfig) -> str:
    given = config.keystore_type
    keystore = "PEM" if given is None else given.strip().upper()
    if keystore not in _TYPES:
        raise IllegalArgument(f"Unsupported keystore type: {given}. Supported types are: {', '.join(_TYPES)}")
    return keystore


def _believing(own: str, authorities: Path | None) -> ssl.SSLContext:
    if own.strip():
        try:
            return ssl.create_default_context(cadata=_pem(own, AUTHORITIES).decode())
        except (ssl.SSLError, ValueError) as fault:
            raise _no_certificate(AUTHORITIES) from fault
    context = ssl.create_default_context()
    if authorities is not None:
        context.load_verify_locations(authorities)
    return context


def _certificates(text: str, field: str) -> "Sequence[Certificate]":
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(_pem(text, field))
    except ValueError as fault:
        raise _no_certificate(field) from fault


def _no_certificate(field: str) -> IllegalArgument:
    return IllegalArgument(
        f"[credential.{field}]: Invalid PEM certificate format. Expected -----BEGIN CERTIFICATE----- block."
    )


def _check_order(chain: "Sequence[Certificate]") -> None:
    for at, (one, issuer) in enumerate(pairwise(chain)):
        if one.issuer != issuer.subject:
            raise IllegalArgument(
                f"Client certificate chain is not ordered correctly. Certificate at index {at} (subject:"
                f" {one.subject.rfc4514_string()}) is not issued by the certificate at index {at + 1} (subject:"
                f" {issuer.subject.rfc4514_string()}). List the leaf certificate first, followed by its issuing"
                " intermediate certificates in order."
            )


def _load(context: ssl.SSLContext, key: "PrivateKeyTypes", chain: "Sequence[Certificate]") -> None:
    """Give a context a key and its certificates. OpenSSL reads files only; in this one the key is encrypted."""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    password = secrets.token_bytes(32).hex()
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    with tempfile.NamedTemporaryFile() as file:
        file.write(sealed + b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        file.flush()
        try:
            context.load_cert_chain(file.name, password=password)
        except ssl.SSLError as fault:
            raise IllegalArgument("the key of [credential] is not that of its client certificate") from fault


def _pem(text: str, field: str) -> bytes:
    """Return a text in PEM, which may come in base64."""
    plain = text.encode() if "-----BEGIN" in text else _decoded(text, field)
    if b"-----BEGIN" not in plain:
        raise IllegalArgument(_NO_TEXT.format(field=field))
    return plain


def _decoded(text: str, field: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as fault:
        raise IllegalArgument(_NO_TEXT.format(field=field)) from fault

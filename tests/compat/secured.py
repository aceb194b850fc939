"""A node with the security plugin: it speaks TLS only, and knows who calls."""

import base64
import hmac
import json
import secrets
import ssl
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from scripts.opensearch import Node
from tests.e2e.api import PATIENCE

_ADMIN = "CN=admin,OU=mlcommons,O=tests"
_BASIC = {
    "http_enabled": True,
    "order": 2,
    "http_authenticator": {"type": "basic", "challenge": True},
    "authentication_backend": {"type": "intern"},
}
_CERTIFICATE = {
    "http_enabled": True,
    "order": 0,
    "http_authenticator": {"type": "clientcert", "challenge": False, "config": {"username_attribute": "cn"}},
    "authentication_backend": {"type": "noop"},
}
_SIGNING_KEY = secrets.token_bytes(64)
_TOKEN = {
    "http_enabled": True,
    "order": 1,
    "http_authenticator": {
        "type": "jwt",
        "challenge": False,
        "config": {"signing_key": base64.b64encode(_SIGNING_KEY).decode(), "jwt_header": "Authorization"},
    },
    "authentication_backend": {"type": "noop"},
}
_FILES: Mapping[str, Mapping[str, Any]] = {
    "config": {"config": {"dynamic": {"authc": {"certificate": _CERTIFICATE, "token": _TOKEN, "basic": _BASIC}}}},
    **{one: {} for one in ("internalusers", "roles", "rolesmapping", "actiongroups", "tenants")},
    "nodesdn": {},
    "allowlist": {"config": {"enabled": False, "requests": {}}},
    "audit": {"config": {"enabled": False}},
}
_NAMES = {
    "internalusers": "internal_users",
    "rolesmapping": "roles_mapping",
    "actiongroups": "action_groups",
    "nodesdn": "nodes_dn",
}


class SecuredNode(Node):
    """A node with the security plugin and nobody in it but its administrator.

    Attributes:
        authority: a file of the authority that the node's certificate is from.
    """

    def __init__(self, directory: Path, certificates: Path) -> None:
        super().__init__(directory, flavour="security")
        self.url = self.url.replace("http:", "https:")
        self._authority = trustme.CA()
        self._certificates = certificates
        self.authority = certificates / "authority.pem"
        self._authority.cert_pem.write_to_path(self.authority)
        self._admin = self.certificate("admin")

    def certificate(self, name: str) -> Path:
        """Return a file with a certificate of that name for a client, and its key."""
        path = self._certificates / f"{name}.pem"
        if not path.exists():
            made = self._issue(f"{name}@tests.example", name)
            path.write_bytes(_key(made) + b"".join(one.bytes() for one in made.cert_chain_pems))
        return path

    def _issue(self, identity: str, name: str) -> trustme.LeafCert:
        return self._authority.issue_cert(
            identity, common_name=name, organization_name="tests", organization_unit_name="mlcommons"
        )

    def client(self, user: str = "", password: str = "", certificate: str = "") -> httpx.Client:
        """Return a client of the node, as somebody."""
        return httpx.Client(
            base_url=self.url,
            verify=self._trust(self.certificate(certificate) if certificate else None),
            auth=(user, password) if user else None,
            timeout=PATIENCE,
        )

    def administer(self, path: str, body: Any) -> None:
        """Put something into the plugin's own settings: users, roles, who has which."""
        with self.client(certificate="admin") as admin:
            answer = admin.put(f"/_plugins/_security/api/{path}", json=body)
            assert answer.status_code in (200, 201), answer.text

    def start(self, settings: Mapping[str, str] | None = None) -> "SecuredNode":
        """Start it; its indices of ML Commons' are system indices, as the plugin's own demonstration has them."""
        config = self.directory / "config"
        (config / "opensearch-security").mkdir(parents=True, exist_ok=True)
        for kind, content in _FILES.items():
            said = {"_meta": {"type": kind, "config_version": 2}, **content}
            (config / "opensearch-security" / f"{_NAMES.get(kind, kind)}.yml").write_text(json.dumps(said))
        own = self._issue("127.0.0.1", "node")
        (config / "node.pem").write_bytes(b"".join(one.bytes() for one in own.cert_chain_pems))
        (config / "node.key").write_bytes(_key(own))
        (config / "authority.pem").write_bytes(self.authority.read_bytes())
        chosen = {
            "plugins.security.ssl.http.enabled": "true",
            "plugins.security.ssl.http.clientauth_mode": "OPTIONAL",
            "plugins.security.ssl.transport.enforce_hostname_verification": "false",
            "plugins.security.nodes_dn": '["CN=node,OU=mlcommons,O=tests"]',
            "plugins.security.authcz.admin_dn": f'["{_ADMIN}"]',
            "plugins.security.allow_default_init_securityindex": "true",
            # A hash of 12 rounds, as is usual, holds a busy machine up for seconds.
            "plugins.security.password.hashing.bcrypt.rounds": "4",
            "plugins.security.system_indices.enabled": "true",
            "plugins.security.system_indices.indices": '[".plugins-ml-*"]',
            "plugins.security.system_indices.permission.enabled": "true",
        }
        for layer in ("http", "transport"):
            files = {"pemcert": "node.pem", "pemkey": "node.key", "pemtrustedcas": "authority.pem"}
            chosen |= {f"plugins.security.ssl.{layer}.{key}_filepath": name for key, name in files.items()}
        super().start({**chosen, **(settings or {})})
        return self

    def _check_health(self) -> None:
        context = self._trust(self._admin)
        for path in ("_cluster/health?wait_for_status=yellow&timeout=1s", "_plugins/_security/health?mode=strict"):
            with urllib.request.urlopen(f"{self.url}/{path}", timeout=5, context=context):
                pass

    def _trust(self, certificate: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context


def token(user: str, seconds: float = 3600) -> str:
    """Return a JSON web token by which the nodes of this run know a user, for so many seconds from now (RFC 7519)."""
    parts = ({"alg": "HS512", "typ": "JWT"}, {"sub": user, "exp": int(time.time() + seconds)})
    signed = b".".join(_text(json.dumps(part).encode()) for part in parts)
    return b".".join((signed, _text(hmac.digest(_SIGNING_KEY, signed, "sha512")))).decode()


def _text(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header by which a user says who they are."""
    return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def _key(made: trustme.LeafCert) -> bytes:
    """Return a key in the form that the plugin reads."""
    key = load_pem_private_key(made.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

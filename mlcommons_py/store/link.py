"""How the service reaches its cluster, and as whom."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.settings import Operator

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Link:
    """Addresses of one cluster and the service's credentials there, which no text shows.

    Attributes:
        urls: ``http://host:port`` or ``https://host:port``, each a node of the same cluster.
        user: with ``password``, who the service is; else ``token``, sent as a bearer; else nobody.
        token_file: where the token came from, if from a file: it may have a newer one.
        tls: how ``https`` is done; None where every address is ``http``.
    """

    urls: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    token_file: Path | None = None

    def newer_token(self) -> str:
        """Return the token that the file holds now; the one that it held at first where there is no file.

        Raises:
            IllegalArgument: the file cannot be used.
        """
        return self.token if self.token_file is None else _secret("store_token_file", self.token_file)


def link_of(operator: Operator) -> Link:
    """Return the link that an operator chose; files of secrets and certificates are read now.

    Raises:
        IllegalArgument: a file cannot be used, it is unclear who the service is, or the network would see its secret.
    """
    urls = tuple(operator.store.split(","))
    password = operator.store_password or _secret("store_password_file", operator.store_password_file)
    token = operator.store_token or _secret("store_token_file", operator.store_token_file)
    if token and operator.store_user:
        raise IllegalArgument("[store_user] and a store token are two identities; choose one")
    if bool(operator.store_user) != bool(password):
        raise IllegalArgument(
            "[store_user] needs a password, and a password a user; give it by [store_password_file] or"
            " MLCOMMONS_STORE_PASSWORD"
        )
    if operator.store_client_key is not None and operator.store_client_cert is None:
        raise IllegalArgument("[store_client_key] needs [store_client_cert], the certificate that it is the key of")
    if (token or password) and not operator.store_insecure:
        for url in urls:
            if url.startswith("http:") and urlsplit(url).hostname not in _LOOPBACK:
                raise IllegalArgument(
                    f"[store] {url} would get the service's credentials unencrypted; use https, or allow it by"
                    " store_insecure"
                )
    tls = _tls(operator) if any(url.startswith("https:") for url in urls) else None
    token_file = None if operator.store_token else operator.store_token_file
    return Link(urls, operator.store_user, password, token, tls, token_file)


def _secret(setting: str, path: Path | None) -> str:
    if path is None:
        return ""
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise IllegalArgument(f"[{setting}] cannot be read: {fault}") from fault
    if not secret:
        raise IllegalArgument(f"[{setting}] {path} is empty")
    return secret


def _tls(operator: Operator) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=operator.store_ca)
    except (OSError, ssl.SSLError) as fault:
        raise IllegalArgument(f"[store_ca] {operator.store_ca} cannot be used: {fault}") from fault
    if operator.store_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if operator.store_client_cert is not None:
        try:
            # Without a password a locked key would be asked for on the terminal.
            context.load_cert_chain(operator.store_client_cert, operator.store_client_key, password="")
        except (OSError, ssl.SSLError) as fault:
            raise IllegalArgument(
                f"[store_client_cert] {operator.store_client_cert} with its key cannot be used: {fault}"
            ) from fault
    return context

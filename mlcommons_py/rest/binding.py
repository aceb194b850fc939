"""Where the service may listen: beyond this machine only encrypted, and only if somebody knows who calls."""

import ipaddress
import ssl

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.settings import EMBEDDED, Operator


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone; a name other than localhost counts as no.

    >>> is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(operator: Operator) -> bool:
    """Return whether callers need not be known: nobody else can reach the service, or the operator allows it."""
    return operator.insecure or is_loopback(operator.host)


def tls_of(operator: Operator) -> ssl.SSLContext | None:
    """Return how connections are encrypted, None where they are not.

    Raises:
        IllegalArgument: the certificate cannot be used, or the address is not of this machine alone and there is no
            TLS, or nobody to say who calls, which only a cluster can.
    """
    _check(operator)
    if operator.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password a locked key would be asked for on the terminal.
        context.load_cert_chain(operator.tls_cert, operator.tls_key, password="")
    except (OSError, ssl.SSLError) as fault:
        raise IllegalArgument(f"[tls_cert] {operator.tls_cert} with its key cannot be used: {fault}") from fault
    return context


def _check(operator: Operator) -> None:
    if operator.tls_key is not None and operator.tls_cert is None:
        raise IllegalArgument("[tls_key] needs [tls_cert], the certificate that it is the key of")
    if is_private(operator):
        return
    lacking = []
    if operator.tls_cert is None:
        lacking.append("TLS (--tls-cert, --tls-key)")
    if operator.store == EMBEDDED:
        lacking.append("a cluster that knows its users (--store)")
    if lacking:
        raise IllegalArgument(
            f"[host] {operator.host} can be reached from other machines, which needs {' and '.join(lacking)};"
            " listen on 127.0.0.1, or allow it with --insecure"
        )

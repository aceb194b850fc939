"""What goes wrong on the way to a provider and back, in ML Commons' words where it has some."""

import errno
import ssl
import zlib
from typing import TYPE_CHECKING

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.endpoint import Endpoint

if TYPE_CHECKING:
    import aiohttp

_BEGIN = "Error communicating with remote model: "
_CLOSED = "The connection was closed during the request. The request will usually succeed on a retry."
_LONGEST = 300


class Broken(Exception):
    """A connection that ended before its answer began; hides the fault from the client, which would send once more."""


def unreadable(reason: str, status: int = 502) -> RemoteFailed:
    """Return the error for an answer that came, and cannot be used."""
    return RemoteFailed(_BEGIN + reason, status)


def may_pass(fault: BaseException) -> bool:
    """Return whether an error is one of the network or of the provider's machine, and may be over soon."""
    if not isinstance(fault, RemoteFailed) or fault.__cause__ is None:
        return False
    return not isinstance(fault.__cause__, (ssl.SSLCertVerificationError, zlib.error))


def remote_failed(fault: BaseException, endpoint: Endpoint, connecting: float) -> RemoteFailed:
    """Return the error for a fault of the HTTP client; ``connecting`` is the limit for connections in seconds.

    Its ``__cause__`` is the fault, of a certificate the one of the TLS library. The text names the host, and never the
    path or the query, which may carry a key.
    """
    import aiohttp

    if isinstance(fault, Broken) and fault.__cause__ is not None:
        fault = fault.__cause__
    failed = RemoteFailed(_BEGIN + _text(fault, endpoint, connecting)[:_LONGEST])
    failed.__cause__ = fault.certificate_error if isinstance(fault, aiohttp.ClientConnectorCertificateError) else fault
    return failed


def _text(fault: BaseException, endpoint: Endpoint, connecting: float) -> str:
    import aiohttp

    at = f"{endpoint.host}:{endpoint.port}" if endpoint.address is None else f"/{endpoint.host}:{endpoint.port}"
    match fault:
        case aiohttp.ConnectionTimeoutError():
            return f"connection timed out after {connecting * 1000:.0f} ms: {at}"
        case aiohttp.SocketTimeoutError():
            return "Read timed out"
        case TimeoutError():
            return "the answer did not come to an end in time"
        case aiohttp.ClientConnectorDNSError():
            return f"{endpoint.host}: {fault.os_error.strerror or fault.os_error}"
        case aiohttp.ClientConnectorCertificateError():
            return (
                f"the certificate of {at} cannot be trusted: {_verdict(fault.certificate_error)}; give the service its"
                " authority ([remote_ca]), or set [client_config.skip_ssl_verification] where that does not matter"
            )
        case aiohttp.ClientConnectorSSLError():
            return f"no TLS with {at}: {getattr(fault.os_error, 'reason', None) or fault.os_error}"
        case aiohttp.ClientConnectorError():
            return _refused(fault, at)
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
            return _CLOSED
        case aiohttp.ClientResponseError():
            # What follows its first line are the provider's own bytes.
            return f"the answer of {at} is no HTTP: {fault.message.partition(chr(10))[0].removesuffix(':')}"
        case _:
            return f"{type(fault).__name__}: {fault}"


def _refused(fault: "aiohttp.ClientConnectorError", at: str) -> str:
    number = fault.os_error.errno
    if number == errno.ECONNREFUSED:
        return f"Connection refused: {at}"
    if number == errno.ETIMEDOUT:
        return f"Connection timed out: {at}"
    return f"{fault.os_error.strerror or fault.os_error}: {at}"


def _verdict(fault: Exception) -> str:
    return fault.verify_message if isinstance(fault, ssl.SSLCertVerificationError) else str(fault)

"""What goes wrong on the way to a provider and back, in ML Commons' words where it has some.

The texts name the host, and never the path or the query, which may carry a key.
"""

import errno
import ssl
import zlib

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.endpoint import Endpoint

_BEGIN = "Error communicating with remote model: "
_LONGEST = 300


def unreadable(reason: str, status: int = 502) -> RemoteFailed:
    """Return the error for an answer that came, and cannot be used."""
    return RemoteFailed(_BEGIN + reason, status)


def may_pass(fault: BaseException) -> bool:
    """Return whether an error is one of the network or of the provider's machine, and may be over soon."""
    if not isinstance(fault, RemoteFailed) or fault.__cause__ is None:
        return False
    return not isinstance(fault.__cause__, (ssl.SSLCertVerificationError, zlib.error))


def unknown_host(endpoint: Endpoint, fault: OSError) -> RemoteFailed:
    """Return the error for a host without an address."""
    return _failed(f"{endpoint.host}: {fault.strerror or fault}")


def unreachable(endpoint: Endpoint, fault: OSError) -> RemoteFailed:
    """Return the error for a connection that did not come about."""
    at = _at(endpoint)
    if isinstance(fault, ssl.SSLCertVerificationError):
        return _failed(
            f"the certificate of {at} cannot be trusted: {fault.verify_message}; give the service its authority"
            " ([remote_ca]), or set [client_config.skip_ssl_verification] where that does not matter"
        )
    if isinstance(fault, ssl.SSLError):
        return _failed(f"no TLS with {at}: {fault.reason or fault}")
    if fault.errno == errno.ECONNREFUSED:
        return _failed(f"Connection refused: {at}")
    if fault.errno == errno.ETIMEDOUT:
        return _failed(f"Connection timed out: {at}")
    return _failed(f"{fault.strerror or str(fault) or 'The connection was closed'}: {at}")


def unreachable_in_time(endpoint: Endpoint, seconds: float) -> RemoteFailed:
    """Return the error for a connection that did not come about in so many seconds."""
    return _failed(f"connection timed out after {seconds * 1000:.0f} ms: {_at(endpoint)}")


def silent() -> RemoteFailed:
    """Return the error for an answer of which nothing more came."""
    return _failed("Read timed out")


def endless() -> RemoteFailed:
    """Return the error for an answer that would not end."""
    return _failed("the answer did not come to an end in time")


def misread(endpoint: Endpoint, fault: Exception) -> RemoteFailed:
    """Return the error for an answer that is no HTTP."""
    return _failed(f"the answer of {_at(endpoint)} is no HTTP: {fault}")


def closed() -> RemoteFailed:
    """Return the error for a connection that ended before the answer did."""
    return _failed("The connection was closed during the request. The request will usually succeed on a retry.")


def _failed(text: str) -> RemoteFailed:
    return RemoteFailed(_BEGIN + text[:_LONGEST])


def _at(endpoint: Endpoint) -> str:
    return f"{endpoint.host}:{endpoint.port}" if endpoint.address is None else f"/{endpoint.host}:{endpoint.port}"

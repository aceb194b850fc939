"""Signing requests to Amazon's services (Signature Version 4), with botocore."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.exchange import Outgoing

_HASH = "X-Amz-Content-SHA256"


def signer(credential: Mapping[str, str], parameters: Mapping[str, str]) -> Callable[[Outgoing], Outgoing]:
    """Return what signs a request, with the time of the moment and the hash of the body.

    Args:
        credential: decrypted: ``access_key``, ``secret_key``, and ``session_token`` of a temporary one.
        parameters: the connector's; ``region`` and ``service_name`` stand there or in the credential.

    Raises:
        IllegalArgument: one of them is missing; the texts are those of ``AwsConnector.java``.
    """
    if not credential.get("access_key") or not credential.get("secret_key"):
        raise IllegalArgument("Missing credential")
    service = parameters.get("service_name") or credential.get("service_name")
    region = parameters.get("region") or credential.get("region")
    if not service:
        raise IllegalArgument("Missing service name")
    if not region:
        raise IllegalArgument("Missing region")
    access_key, secret_key, token = credential["access_key"], credential["secret_key"], credential.get("session_token")

    def sign(outgoing: Outgoing) -> Outgoing:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        # Connectors ask for it with the word "required", which AWS's SDK for Java replaces and botocore would sign.
        headers = {name: value for name, value in outgoing.headers.items() if name.lower() != _HASH.lower()}
        headers[_HASH] = hashlib.sha256(outgoing.body).hexdigest()
        request = AWSRequest(outgoing.method, outgoing.url, headers, outgoing.body)
        SigV4Auth(Credentials(access_key, secret_key, token or None), service, region).add_auth(request)
        return replace(outgoing, headers=dict(request.headers.items()), sign=None)

    return sign

"""One secret, encrypted: a message of the AWS Encryption SDK in base64, as ``EncryptorImpl.java`` writes and reads it.

A message has an encryption context, which is readable and authenticated. ML Commons leaves it empty and does not look
at it; ours names the key, and what the secret belongs to.
"""

import base64
import binascii
import logging
import struct
from collections.abc import Mapping
from typing import Any

from mlcommons_py.remote.keys import Key

KEY = "mlcommons-py-key"
OWNER = "mlcommons-py-owner"
FIELD = "mlcommons-py-field"

_PROVIDER = "Custom"
_VERSION = 2
_BEFORE_CONTEXT = 1 + 2 + 32  # version, algorithm suite, message id


class Undecipherable(Exception):
    """A text is no such message, or a key does not open it."""


def seal(secret: str, key: Key, context: Mapping[str, str]) -> str:
    """Return a secret encrypted, with its context; takes a millisecond."""
    client, master = _sdk(key)
    sealed, _ = client.encrypt(source=secret.encode(), key_provider=master, encryption_context=dict(context))
    return base64.b64encode(sealed).decode()


def unseal(text: str, key: Key) -> str:
    """Return the secret; takes a millisecond.

    Raises:
        Undecipherable: the text is no message, was changed, or was encrypted with another key.
    """
    client, master = _sdk(key)
    from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
    from cryptography.exceptions import InvalidSignature, InvalidTag

    try:
        secret, _ = client.decrypt(source=_bytes(text), key_provider=master)
        plain: str = secret.decode()
    except (AWSEncryptionSDKClientError, InvalidSignature, InvalidTag, UnicodeDecodeError, struct.error) as fault:
        raise Undecipherable(type(fault).__name__) from fault
    return plain


def context_of(text: str) -> dict[str, str]:
    """Return the encryption context that a message names; only once it is opened is it sure that it is true.

    Raises:
        Undecipherable: the text is no message.
    """
    message = _bytes(text)
    if not message or message[0] != _VERSION:
        raise Undecipherable("it is no message that commits to its key")
    try:
        return _context(message)
    except (struct.error, UnicodeDecodeError) as fault:
        raise Undecipherable("its header is malformed") from fault


def _context(message: bytes) -> dict[str, str]:
    at = _BEFORE_CONTEXT
    (length,) = struct.unpack_from(">H", message, at)
    if length == 0:
        return {}
    (count,) = struct.unpack_from(">H", message, at + 2)
    at += 4
    words = []
    for _ in range(2 * count):
        (size,) = struct.unpack_from(">H", message, at)
        (word,) = struct.unpack_from(f">{size}s", message, at + 2)
        words.append(word.decode())
        at += 2 + size
    return dict(zip(words[::2], words[1::2], strict=True))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise Undecipherable("it is no base64") from fault


def _sdk(key: Key) -> tuple[Any, Any]:
    # A quarter of a second, and 20 MB, that only who has a connector needs.
    from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
    from aws_encryption_sdk.identifiers import EncryptionKeyType, WrappingAlgorithm
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
    from aws_encryption_sdk.key_providers.raw import RawMasterKey

    # To it a wrong key is an error with a traceback; here it is one of several that are tried.
    logging.getLogger("aws_encryption_sdk").setLevel(logging.CRITICAL)
    algorithm = getattr(WrappingAlgorithm, f"AES_{8 * len(key.material)}_GCM_IV12_TAG16_NO_PADDING")
    wrapping = WrappingKey(algorithm, key.material, EncryptionKeyType.SYMMETRIC)
    client = EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    return client, RawMasterKey(key_id=b"", provider_id=_PROVIDER, wrapping_key=wrapping)

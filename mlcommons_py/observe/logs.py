"""Logs: one line a record, with the time in UTC, and without secrets."""

import logging
import re
import sys
import time

_NAMES = (
    r"(?:proxy-)?authorization|[\w-]*api[_-]?key|[\w-]*secret[\w-]*|[\w-]*password|passwd|credentials?"
    r"|[\w-]*token"
)
_NAMED = re.compile(
    rf"""(?ix) (?<![\w-]) ( (?:{_NAMES}) \\?["']? \s* [:=] \s* )
    (?: ( \\?["'] ) .*? \2 | ( (?:bearer|basic|apikey)\s+ )? [^\s"',;&}}\]]+ )"""
)
_IN_URL = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]*@")
_SHAPES = re.compile(r"\b(?:sk-[\w-]{16,}|AKIA[A-Z0-9]{16}|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*)")
_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(32), 127, 0x85, 0x2028, 0x2029) if code != ord("\t")}
_HIDDEN = "***"
_TELLING = ("botocore", "boto3", "urllib3", "aws_encryption_sdk")
"""Libraries that write requests with all their headers, or what they encrypt, at DEBUG."""


class Redacted(logging.Formatter):
    """Formats records and blots out what looks like a secret.

    A message is one line, whatever a client put into it; the lines of a traceback follow, indented.
    """

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the line without the traceback."""
        # Redacted while the lines of the message are still apart: a name may begin one.
        return redact(super().formatMessage(record)).translate(_CONTROLS)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        """Return a traceback, indented."""
        return _indented(super().formatException(ei))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's own name
        """Return a stack, indented."""
        return _indented(super().formatStack(stack_info))


def _indented(lines: str) -> str:
    return "    " + redact(lines).replace("\n", "\n    ")


def redact(text: str) -> str:
    """Return a text without the values of passwords, keys and the like.

    >>> redact('authorization: Bearer abc.def, "password": "a b", http://me:pw@host/')
    'authorization: ***, "password": ***, http://***@host/'
    """
    text = _NAMED.sub(rf"\1{_HIDDEN}", text)
    text = _IN_URL.sub(rf"\1{_HIDDEN}@", text)
    return _SHAPES.sub(_HIDDEN, text)


def configure(level: str) -> None:
    """Send the service's logs to standard error; libraries that would tell secrets at DEBUG begin at INFO."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacted("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TELLING:
        logging.getLogger(name).setLevel(max(root.level, logging.INFO))

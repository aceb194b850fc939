"""Logs: one line a record, with the time in UTC, and without secrets."""

import logging
import re
import sys
import time

_SECRET = re.compile(
    r"""(?ix) ( (?:authorization|x-api-key|api[_-]?key|password|secret|credential|token) ["']? \s* [:=] \s* ["']? )
        ( (?:bearer|basic|apikey)\s+ )? [^\s"',}]+"""
)


class Redacted(logging.Formatter):
    """Formats records and blots out what looks like a secret."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line, or lines where it has a traceback."""
        return redact(super().format(record))


def redact(text: str) -> str:
    """Return a text without the values of passwords, keys and the like.

    >>> redact("authorization: Bearer abc.def, user: x")
    'authorization: Bearer ***, user: x'
    """
    return _SECRET.sub(r"\1\2***", text)


def configure(level: str) -> None:
    """Send the service's logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacted("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())

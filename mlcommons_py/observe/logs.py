"""Logs: one line a record, with the time in UTC, and without secrets."""

import logging
import re
import sys
import time

_NAMES = (
    r"(?:proxy-)?authorization|[\w-]*api[_-]?key|[\w-]*secret[\w-]*|[\w-]*password|passwd|credentials?"
    r"|(?:access|session|auth|refresh|id)[_-]?token|token"
)
_NAMED = re.compile(
    rf"""(?ix) (?<![\w-]) ( (?:{_NAMES}) \\?["']? \s* [:=] \s* )
    (?: ( \\?["'] ) .*? \2 | ( (?:bearer|basic|apikey)\s+ )? [^\s"',;&}}\]]+ )"""
)
_IN_URL = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]*@")
_SHAPES = re.compile(r"\b(?:sk-[\w-]{16,}|AKIA[A-Z0-9]{16}|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*)")
_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(32), 127, 0x85, 0x2028, 0x2029) if code != ord("\t")}
_HIDDEN = "***"


class Redacted(logging.Formatter):
    """Formats records and blots out what looks like a secret.

    A message is one line, whatever a client put into it; the lines of a traceback follow, indented.
    """

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line, or lines where it has a traceback."""
        return redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the line without the traceback."""
        return super().formatMessage(record).translate(_CONTROLS)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        """Return a traceback, indented."""
        return "    " + super().formatException(ei).replace("\n", "\n    ")  # type: ignore[arg-type]


def redact(text: str) -> str:
    """Return a text without the values of passwords, keys and the like.

    >>> redact('authorization: Bearer abc.def, "password": "a b", http://me:pw@host/')
    'authorization: ***, "password": ***, http://***@host/'
    """
    text = _NAMED.sub(rf"\1{_HIDDEN}", text)
    text = _IN_URL.sub(rf"\1{_HIDDEN}@", text)
    return _SHAPES.sub(_HIDDEN, text)


def configure(level: str) -> None:
    """Send the service's logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacted("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())

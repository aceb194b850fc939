"""Logs without secrets, one line a record."""

import logging
import subprocess
import sys

import pytest

from mlcommons_py.observe.logs import Redacted, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("authorization: Bearer abc.def, user: x", "authorization: ***, user: x"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: ***"),
        ('{"password": "a b, c", "user": "x"}', '{"password": ***, "user": "x"}'),
        ("{'api_key': 'abc', 'n': 1}", "{'api_key': ***, 'n': 1}"),
        ('{\\"x-api-key\\": \\"abc\\", \\"n\\": 1}', '{\\"x-api-key\\": ***, \\"n\\": 1}'),
        ("openai_api_key=abc other=1", "openai_api_key=*** other=1"),
        ("aws_secret_access_key = abc/def+x", "aws_secret_access_key = ***"),
        ("session_token: abc", "session_token: ***"),
        ("x-amz-security-token:IQoJb3JpZ2lu+/=", "x-amz-security-token:***"),
        ("X-Vault-Token: hvs.abc", "X-Vault-Token: ***"),
        ("max_tokens: 5", "max_tokens: 5"),
        ("GET http://me:pw@host:1/x?token=abc&n=1", "GET http://***@host:1/x?token=***&n=1"),
        ("key sk-abcdefghijklmnopqrst of OpenAI", "key *** of OpenAI"),
        ("key AKIAABCDEFGHIJKLMNOP of AWS", "key *** of AWS"),
        ("512 tokens: fine, tokenizer: bert", "512 tokens: fine, tokenizer: bert"),
        ("http://host:9200/path@x", "http://host:9200/path@x"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    """Values of passwords, keys and tokens are blotted out, in headers, JSON, texts and URLs; nothing else is."""
    assert redact(text) == shown


def record(message: str, *arguments: object, exc_info: bool = False) -> logging.LogRecord:
    """Return a record of 2001-09-09 01:46:40.25 UTC."""
    info = sys.exc_info() if exc_info else None
    made = logging.LogRecord("a.b", logging.WARNING, __file__, 1, message, arguments, info)
    made.created, made.msecs = 1e9 + 0.25, 250
    return made


FORMAT = Redacted("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")


def test_one_line() -> None:
    """What a client puts into a message cannot begin a line of its own, nor move the cursor."""
    line = FORMAT.format(record("model %s", "x\r\n2001-01-01 ERROR forged\x1b[2J\u2028é\t"))

    assert line == r"2001-09-09T01:46:40.250Z WARNING a.b model x\r\n2001-01-01 ERROR forged\x1b[2J\u2028é" + "\t"


def test_secrets_on_lines_of_their_own() -> None:
    """A secret is blotted out where its name begins a line of the message, as in a request that is written out."""
    line = FORMAT.format(record("CanonicalRequest:\nhost:x\nauthorization:Bearer abc\nx-amz-security-token:tok\nend"))

    assert line.endswith(r"CanonicalRequest:\nhost:x\nauthorization:***\nx-amz-security-token:***\nend")


def test_traceback() -> None:
    """The lines of a traceback are indented, and redacted like the rest."""
    try:
        raise ValueError("password=abc\nforged")
    except ValueError:
        lines = FORMAT.format(record("failed", exc_info=True)).splitlines()

    assert lines[0] == "2001-09-09T01:46:40.250Z WARNING a.b failed"
    assert all(line.startswith("    ") for line in lines[1:])
    assert lines[-2:] == ["    ValueError: password=***", "    forged"]


def test_configure() -> None:
    """The logs of the process go to standard error from the level on, and nothing to standard output."""
    code = (
        "import logging; from mlcommons_py.observe.logs import configure; configure('warning');"
        " logging.getLogger('a').info('no'); logging.getLogger('a').warning('token=%s', 'abc')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == ""
    assert done.stderr.endswith("Z WARNING a token=***\n")
    assert done.stderr.count("\n") == 1


def test_signing_is_not_told() -> None:
    """At DEBUG, what botocore writes of a request that it signs is left out: the session token is in it."""
    code = (
        "from mlcommons_py.observe.logs import configure; configure('debug')\n"
        "from mlcommons_py.remote.exchange import Outgoing; from mlcommons_py.remote.signing import signer\n"
        "credential = {'access_key': 'AK', 'secret_key': 'SK', 'session_token': 'the-canary'}\n"
        "sign = signer(credential, {'region': 'us-east-1', 'service_name': 'bedrock'})\n"
        "print(sign(Outgoing(method='POST', url='https://a.example/x', headers={}, body=b'{}')).headers)\n"
        "import logging; logging.getLogger('a').debug('said')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "the-canary" in done.stdout
    assert "DEBUG a said" in done.stderr
    assert "Canonical" not in done.stderr
    assert "the-canary" not in done.stderr

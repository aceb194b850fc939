"""Reading requests: what clients send that httptools by itself refuses, lower-cases or takes for another protocol."""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 << 10
"""How long a request's line and header may be, and what stands between two parts of a body or behind it."""

_SWITCHING = frozenset({b"upgrade", b"http2-settings"})

Fields = list[tuple[bytes, bytes]]
Head = tuple[bytes, bytes, Fields, Fields, str, bool]
"""Method, target, header fields, trailers, version, and whether the connection is kept."""


class Reading(HttpToolsProtocol):
    """uvicorn's protocol; it keeps header fields as they were spelled, and trailers apart from them.

    It also reads the body of a request that offers to switch to another protocol, as Java's client does by default;
    httptools takes what follows such a head for that protocol.
    """

    _head_bytes = 0
    _in_head = True
    _in_message = False
    _has_body = False
    _spelled: Fields
    _trailers: Fields

    def read_on(self, data: bytes) -> str | None:
        """Take what came; return what is wrong with it, if anything is: it is no HTTP, or a head without end."""
        if not self._in_message:
            data = _escaped(data)
        self._head_bytes += len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return "Invalid HTTP request received."
        if self._in_message and self._head_bytes > HEAD_BYTES:
            return f"the request's line and header are longer than {HEAD_BYTES} bytes"
        return None

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            line = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
            head = [b"%s %s HTTP/%s\r\n" % line]
            head += [b"%s: %s\r\n" % field for field in self._spelled if field[0].lower() not in _SWITCHING]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"".join(head) + b"\r\n" + data[offer.args[0] :])

    def head(self) -> Head:
        """Return the request whose head is complete; its trailers follow."""
        version = self.parser.get_http_version()
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        return self.parser.get_method(), self.url, self._spelled, self._trailers, version, keep_alive

    # what the parser calls

    def on_message_begin(self) -> None:
        """Begin a head."""
        self.url = b""
        self._in_message = self._in_head = True
        self._spelled, self._trailers = [], []
        self._has_body = False
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field as it was spelled; behind the body it is a trailer, which is no part of the head."""
        if self._in_head:
            self._spelled.append((name, value))
        else:
            self._trailers.append((name, value))

    def start_cycle(self) -> None:
        """Have the request whose head is complete answered by the application."""
        url = self.url
        super().on_message_begin()
        self.url = url
        self.headers += [(name.lower(), value) for name, value in self._spelled]
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )
        super().on_headers_complete()


def _escaped(data: bytes) -> bytes:
    r"""Return the beginning of a request with its line in ASCII: curl sends ``/ä`` as it is, which the parser refuses.

    >>> _escaped("GET /ä?q=ö HTTP/1.1\r\nX: ü".encode()).decode()
    'GET /%C3%A4?q=%C3%B6 HTTP/1.1\r\nX: ü'
    """
    end = data.find(b"\n")
    line = data if end < 0 else data[:end]
    if line.isascii():
        return data
    return b"".join(b"%c" % byte if byte < 128 else b"%%%02X" % byte for byte in line) + data[len(line) :]

"""A proxy between a service and the cluster that makes trouble on demand."""

import http.client
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

BUSY = b'{"error":{"type":"rejected_execution_exception","reason":"the cluster is busy"},"status":429}'


class Faults:
    """What the proxy does to requests: shares between 0 and 1, and seconds.

    Attributes:
        busy: refused with 429, and not passed on.
        lost: passed on, and their answers dropped with the connection.
        slow: seconds that each waits before it is passed on.
        done: how many of each kind were met.
    """

    def __init__(self) -> None:
        self.busy = self.lost = self.slow = 0.0
        self.done = {"busy": 0, "lost": 0, "passed": 0}
        self.chance = random.Random(11)


@contextmanager
def faulty(target: str) -> Iterator[tuple[str, Faults]]:
    """Run a proxy in front of a cluster; yield its URL and what it does."""
    faults = Faults()
    where = urlsplit(target).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            time.sleep(faults.slow)
            draw = faults.chance.random()
            if draw < faults.busy:
                faults.done["busy"] += 1
                self._send(429, [("content-type", "application/json")], BUSY)
                return
            connection = http.client.HTTPConnection(where, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if draw < faults.busy + faults.lost:
                faults.done["lost"] += 1
                self.close_connection = True
                return
            faults.done["passed"] += 1
            skipped = ("transfer-encoding", "connection", "content-length")
            self._send(answer.status, [one for one in answer.getheaders() if one[0].lower() not in skipped], content)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_any  # noqa: N815 - the names that it looks for

        def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.command != "HEAD" else b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", faults
        finally:
            server.shutdown()
            thread.join()

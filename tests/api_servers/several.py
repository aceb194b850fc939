"""A program with several processes that serve HTTP, and connections to the one that a test names."""

import http.client
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.e2e.service import PATIENCE, Service, until
from tests.processes import children

__all__ = ["Direct", "all_of", "api_servers", "connected", "several", "until"]


class Direct:
    """A connection that one process has accepted; requests on it are answered by no other."""

    def __init__(self, made: http.client.HTTPConnection, pid: int) -> None:
        self.pid = pid
        self.made = made

    def request(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Send a request; return the status and the JSON value of the answer, its text where it is none."""
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        typed = {} if body is None else {"content-type": "application/json"}
        self.made.request(method, path, sent, {**typed, **headers})
        return self.answer()

    def answer(self) -> tuple[int, Any]:
        """Return the status and the value of the answer that is due."""
        answer = self.made.getresponse()
        text = answer.read().decode()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def ml(self, method: str, path: str, status: int = 200, body: object = None) -> Any:
        """Send a request below ``/_plugins/_ml`` and return its JSON answer, which must come with that status."""
        found, value = self.request(method, f"/_plugins/_ml{path}", body)
        assert found == status, (found, value)
        return value

    def close(self) -> None:
        """Hang up."""
        self.made.close()


def api_servers(service: Service) -> list[int]:
    """Return the API servers that live, beside the core."""
    return children(service.pid, "api_servers.process")


def all_of(service: Service) -> list[int]:
    """Return all processes that accept connections, the core first."""
    return [service.pid, *api_servers(service)]


@contextmanager
def several(service: Service, count: int = 3) -> Iterator[Service]:
    """Start a program with so many processes that serve, wait until each does, and end it afterwards."""
    service.flags = (*service.flags, "--api-servers", str(count))
    try:
        service.start()
        until(lambda: _serving(service) >= count - 1, "the API servers")
        yield service
    finally:
        service.close()


def _serving(service: Service) -> int:
    return sum("an API server serves" in line for line in service.output)


@contextmanager
def paused(pids: list[int]) -> Iterator[None]:
    """Let processes do nothing for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def connected(service: Service, pid: int) -> Iterator[Direct]:
    """Connect to one of the processes: the others are stopped until it has accepted."""
    url = urlsplit(str(service.http.base_url))
    assert url.port is not None
    made = http.client.HTTPConnection("127.0.0.1", url.port, timeout=PATIENCE)
    with paused([one for one in all_of(service) if one != pid]):
        made.connect()
        port: int = made.sock.getsockname()[1]
        until(lambda: _holds(pid, url.port or 0, port), "the connection")
    direct = Direct(made, pid)
    try:
        yield direct
    finally:
        direct.close()


def _holds(pid: int, local: int, remote: int) -> bool:
    """Return whether a process has accepted the connection between two ports."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
            wanted = f"socket:[{fields[9]}]"
            return any(_target(link) == wanted for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def client(service: Service) -> httpx.Client:
    """Return a client whose connections any process may accept."""
    return httpx.Client(base_url=service.http.base_url, timeout=PATIENCE)

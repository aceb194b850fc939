"""``mlcommons doctor``."""

import fcntl
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mlcommons_py.cli import doctor
from mlcommons_py.cli.doctor import Finding
from mlcommons_py.settings import STORE
from mlcommons_py.store.database import lock_of
from tests.cli.conftest import Run, environment
from tests.cli.fake import Fake

MEMINFO = "MemTotal: 32000000 kB\nMemAvailable: {} kB\n"


def _findings(output: str) -> dict[str, dict[str, str]]:
    return {one["what"]: one for one in json.loads(output)["findings"]}


def test_a_machine_that_runs_these_tests_is_healthy(mlcommons: Run, tmp_path: Path) -> None:
    """Where a service answers nothing is broken, the status is 0, and the engine and its types are named."""
    done = mlcommons("doctor", "--data", str(tmp_path / "new"), "--json")

    found = _findings(done.stdout)
    assert done.returncode == 0, done.stdout
    assert {"python", "cpu", "api servers", "engine", "devices", "memory", "disk", "data", "port", "service"} == set(
        found
    )
    assert "float32" in found["engine"]["found"]
    assert found["service"]["state"] == "ok"
    assert "running service" in found["port"]["found"]
    assert not (tmp_path / "new").exists()


def test_without_a_service_there_is_only_a_warning(tmp_path: Path) -> None:
    """A service that does not run is a warning that says how to start it, and the status is 0."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    done = _doctor(f"http://127.0.0.1:{free}", tmp_path)

    assert done.returncode == 0, done.stdout
    found = _findings(done.stdout)
    assert found["service"]["state"] == "warning"
    assert "mlcommons serve" in found["service"]["found"]
    assert found["port"] == {"what": "port", "state": "ok", "found": f"127.0.0.1:{free} is free", "fix": ""}


def test_a_directory_in_use(fake: Fake, mlcommons: Run, tmp_path: Path) -> None:
    """A data directory that another process has locked is broken, unless the service that runs here has it."""
    with lock_of(tmp_path / STORE).open("ab") as lock, socket.create_server(("127.0.0.1", 0)) as taken:
        fcntl.flock(lock, fcntl.LOCK_EX)
        port = taken.getsockname()[1]
        taken.close()
        alone = _doctor(f"http://127.0.0.1:{port}", tmp_path)
        served = mlcommons("doctor", "--data", str(tmp_path), "--json")

    assert alone.returncode == 1
    assert _findings(alone.stdout)["data"]["state"] == "broken"
    assert "in use by another process" in _findings(alone.stdout)["data"]["found"]
    assert _findings(served.stdout)["data"]["state"] == "ok"


def test_a_directory_that_is_a_file(mlcommons: Run, tmp_path: Path) -> None:
    """A data directory that is a file is broken, and the human output says what to do."""
    (tmp_path / "file").write_text("")

    done = mlcommons("doctor", "--data", str(tmp_path / "file"))

    assert done.returncode == 1
    assert "is no directory" in done.stdout
    assert "-> choose another --data directory" in done.stdout


@pytest.mark.parametrize(
    ("available", "limit", "used", "state"),
    [
        (8_000_000, "max", 0, "ok"),
        (500_000, "max", 0, "warning"),
        (100_000, "max", 0, "broken"),
        (8_000_000, "900000000", 100_000_000, "warning"),
        (8_000_000, "900000000", 800_000_000, "broken"),
        (8_000_000, "2000000000", 1_950_000_000, "ok"),
    ],
)
def test_memory(tmp_path: Path, available: int, limit: str, used: int, state: str) -> None:
    """Memory is judged by what is available and by what the control group around still allows, whichever is less.

    Page cache that can be dropped does not count as used.
    """
    (tmp_path / "meminfo").write_text(MEMINFO.format(available))
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/outer.slice/inner.service\n")
    outer = tmp_path / "outer.slice"
    (outer / "inner.service").mkdir(parents=True)
    (outer / "inner.service" / "memory.max").write_text("max\n")
    (outer / "memory.max").write_text(f"{limit}\n")
    (outer / "memory.current").write_text(f"{used}\n")
    (outer / "memory.stat").write_text(f"anon 1\ninactive_file {1_700_000_000 if used > 1_000_000_000 else 0}\n")

    finding = doctor._memory(tmp_path, tmp_path)

    assert finding.state == state
    assert ("control group" in finding.found) is (limit != "max")


def test_old_python() -> None:
    """A Python before 3.11 is broken."""
    assert doctor._python((3, 10)).state == "broken"
    assert doctor._python((3, 11)).state == "ok"


def test_a_processor_without_avx2(tmp_path: Path) -> None:
    """Without AVX2 there is a warning; with it there is none."""
    cpuinfo = tmp_path / "cpuinfo"
    states: list[Finding] = []
    for flags in ("fpu sse4_1 avx", "fpu sse4_1 avx avx2 avx512f"):
        cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\n\n")
        states.append(doctor._cpu(cpuinfo, "x86_64"))

    assert [one.state for one in states] == ["warning", "ok"]
    assert "avx512f" in states[1].found


def _doctor(url: str, data: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlcommons_py", "doctor", "--data", str(data), "--url", url, "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

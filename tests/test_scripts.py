"""Scripts on a machine whose network fails now and then."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.api import until

ROOT = Path(__file__).parents[1]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A program that asks a mirror: it notes each call in ``calls``, and fails until there were ``needed`` of them."""
    program = tmp_path / "mvn"
    program.write_text(
        "#!/bin/sh\n"
        'cd "$(dirname "$0")"\n'
        "echo called >> calls\n"
        'test "$(wc -l < calls)" -ge "$(cat needed)" || { echo the mirror is down; exit 7; }\n'
    )
    program.chmod(0o755)
    return program


def run(mirror: Path, *command: str, needed: int) -> tuple[subprocess.CompletedProcess[str], int]:
    """Run a command with a mirror in front of its path; return how it ended, and how often the mirror was asked."""
    (mirror.parent / "needed").write_text(str(needed))
    environment = {
        **os.environ,
        "PATH": f"{mirror.parent}:{os.environ['PATH']}",
        "RETRY_SECONDS": "0",
        "XDG_CACHE_HOME": str(mirror.parent / "cache"),
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done, len((mirror.parent / "calls").read_text().splitlines())


def test_a_mirror_that_fails_now_and_then(mirror: Path) -> None:
    """What fails three times is tried a fourth."""
    done, calls = run(mirror, "scripts/retry", "mvn", "x", needed=4)

    assert (done.returncode, calls) == (0, 4)
    assert done.stderr.count("the next begins in 0 s: mvn x") == 3


def test_a_mirror_that_is_down(mirror: Path) -> None:
    """What fails four times fails, with its own status and a text that says what it was."""
    done, calls = run(mirror, "scripts/retry", "mvn", "x", needed=100)

    assert (done.returncode, calls) == (7, 4)
    assert "failed four times" in done.stderr
    assert "mvn x" in done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose fetches take for ever, and whose tests fail when one has begun."""
    begins = "echo $$ > fetching.new && mv fetching.new fetching"
    scripts = {
        "bin/python3": "",
        "bin/mvn": "",
        "scripts/install": "",
        "scripts/opensearch": f"{begins} && exec sleep 1000",
        "scripts/test": "until test -e fetching; do sleep 0.05; done; exit 7",
        "scripts/test-compat": "touch compat",
    }
    for name, body in scripts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    return tmp_path


def is_running(pid: int) -> bool:
    """Return whether a process is there, and no mere entry in the table."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(") ")[2][0] != "Z"


def test_fetch_ends_with_the_tests(checkout: Path) -> None:
    """What is fetched beside the tests of CI is ended when they fail, and their status is that of the whole."""
    environment = {**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}"}
    with (checkout / "said").open("wb") as said:  # who is left would keep a pipe open
        done = subprocess.run(["bash", ".ci/run"], cwd=checkout, env=environment, stdout=said, stderr=said, check=False)
    fetching = int((checkout / "fetching").read_text())
    try:
        until(lambda: not is_running(fetching), "the end of the fetch", 10)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(fetching, signal.SIGKILL)
    assert (done.returncode, (checkout / "said").read_bytes()) == (7, b"")
    assert not (checkout / "compat").exists()


def test_maven_fails(mirror: Path) -> None:
    """Maven is tried again, too; at last the text has what it said, and nothing is left that looks complete."""
    done, calls = run(mirror, sys.executable, "-m", "scripts.opensearch", "--fetch", needed=100)

    assert (done.returncode, calls) == (1, 4)
    assert done.stderr.startswith("Maven could not fetch OpenSearch 3.")
    assert "the mirror is down" in done.stderr
    assert [path.name for path in (mirror.parent / "cache" / "mlcommons-py" / "opensearch").iterdir()] == ["lock"]

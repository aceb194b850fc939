"""What holds for every file of the project."""

import ast
import doctest
import importlib
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 450
PACKAGES = ("mlcommons_py", "connectors", "guardrails")

# Spelled so that this file does not find itself.
FOREIGN = tuple(
    root + name for root, name in (("/wor", "k/"), ("/roo", "t/"), ("/tmp/ba", "sh_jobs"), ("/opt/wh", "eels"))
)


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    assert paths
    return [path for path in paths if path.is_file()]


def test_no_module_is_too_long() -> None:
    """No Python file has more than 450 lines."""
    counts = {path: len(path.read_bytes().splitlines()) for path in _tracked() if path.suffix == ".py"}

    assert {str(path): count for path, count in counts.items() if count > MOST_LINES} == {}


def test_nothing_names_a_path_of_one_machine() -> None:
    """No tracked file has a path in it that exists on the machine of its author only."""
    found = [
        (str(path.relative_to(ROOT)), text)
        for path in _tracked()
        for text in FOREIGN
        if text.encode() in path.read_bytes()
    ]

    assert found == []


def test_every_module_says_what_it_is() -> None:
    """Every module of the package, and every test module, begins with a docstring."""
    modules = [path for path in _tracked() if path.suffix == ".py"]

    assert [str(path) for path in modules if path.name != "__init__.py" and not _docstring(path)] == []
    assert [str(path) for path in modules if path.is_relative_to(ROOT / "mlcommons_py") and not _docstring(path)] == []


def test_every_test_states_its_fact() -> None:
    """Every test has a docstring."""
    silent = []
    for path in _tracked():
        if path.name.startswith("test_") and path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    silent += [] if ast.get_docstring(node) else [f"{path.name}: {node.name}"]

    assert silent == []


def test_scripts_are_short_and_run() -> None:
    """Every script without a suffix can be executed, stops at the first fault, and has fewer than 20 lines."""
    scripts = [
        path for path in (*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run") if path.is_file() and not path.suffix
    ]

    assert {"demo", "install", "lint", "lock", "test", "run"} <= {path.name for path in scripts}
    for path in scripts:
        lines = path.read_text().splitlines()
        assert os.access(path, os.X_OK), path
        assert lines[0] == "#!/usr/bin/env bash", path
        assert "set -euo pipefail" in lines, path
        assert len(lines) < 20, path


def test_documents_name_what_exists() -> None:
    """Scripts and files that the documents for readers name are there."""
    named: set[str] = set()
    for document in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        text = (ROOT / document).read_text()
        named |= set(re.findall(r"(?:scripts|docs)/[\w./-]*\w", text)) | set(re.findall(r"\]\(([\w./-]+)\)", text))

    assert {"scripts/demo", "scripts/test"} <= named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def _with_examples() -> list[str]:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if ">>> " in path.read_text()]
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)


@pytest.mark.parametrize("name", _with_examples())
def test_examples_in_docstrings(name: str) -> None:
    """What docstrings show is what happens."""
    done = doctest.testmod(importlib.import_module(name))

    assert done.attempted
    assert done.failed == 0


def test_two_hundred_sentences() -> None:
    """The demonstration has 200 sentences, no two alike."""
    sentences = (ROOT / "scripts" / "demo_sentences.txt").read_text().splitlines()

    assert len(sentences) == len(set(sentences)) == 200


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text()))

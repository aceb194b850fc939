"""``mlcommons doctor``: what would not work on this machine, and how to mend it."""

import fcntl
import os
import platform
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from mlcommons_py.cli import show
from mlcommons_py.cli.client import Client
from mlcommons_py.errors import MLCommonsError
from mlcommons_py.lifecycle.resources import memory
from mlcommons_py.settings import STORE, available_cpus
from mlcommons_py.store.database import lock_of

State = Literal["ok", "warning", "broken"]

OLDEST_PYTHON = (3, 11)
_TIGHT_MEMORY, _LEAST_MEMORY = 1_000_000_000, 300_000_000
_TIGHT_DISK, _LEAST_DISK = 5 << 30, 200_000_000
_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "broken": "[red]broken[/] "}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        found: what there is, with numbers.
        fix: what to do about it; empty where all is well.
    """

    what: str
    state: State
    found: str
    fix: str = ""


def examine(client: Client, data: Path) -> list[Finding]:
    """Look at this machine, at the data directory and at the service; nothing is changed."""
    service = _service(client)
    ours = service.state == "ok"
    memory, disk = _memory(), _disk(data)
    machine = [_python(sys.version_info[:2]), _cpu(Path("/proc/cpuinfo"), platform.machine()), _processes()]
    checks = [*machine, *_engine(), memory, disk]
    return [*checks, _directory(data, ours=ours), _port(client.url, ours=ours), service]


def report(findings: list[Finding], *, as_json: bool) -> None:
    """Print findings, one a line, with the fix under those that need one."""
    if as_json:
        healthy = not any(one.state == "broken" for one in findings)
        show.as_json({"healthy": healthy, "findings": [asdict(one) for one in findings]})
        return
    width = max(len(one.what) for one in findings)
    for one in findings:
        show.OUT.print(f"{_MARKS[one.state]}  {one.what:{width}}  ", end="")
        show.say(one.found)
        if one.fix:
            show.say(f"         {'':{width}}  -> {one.fix}")


def _python(version: tuple[int, ...]) -> Finding:
    found = f"{platform.python_version()}, {platform.machine()}"
    if version < OLDEST_PYTHON:
        return Finding("python", "broken", found, "install Python 3.11 or later")
    return Finding("python", "ok", found)


def _cpu(cpuinfo: Path, machine: str) -> Finding:
    count = len(os.sched_getaffinity(0))
    if machine != "x86_64":
        return Finding("cpu", "ok", f"{count} usable, {machine}")
    try:
        flags = set(cpuinfo.read_text().partition("flags")[2].partition("\n")[0].split())
    except OSError:
        return Finding("cpu", "warning", f"{count} usable, features unknown", "/proc/cpuinfo cannot be read")
    known = [name for name in ("sse4_1", "avx", "avx2", "avx512f", "avx512_vnni") if name in flags]
    found = f"{count} usable, {', '.join(known) or 'no vector instructions'}"
    if "avx2" not in flags:
        return Finding(
            "cpu", "warning", found, "without AVX2 models run several times slower; in a VM, pass it through"
        )
    return Finding("cpu", "ok", found)


def _processes() -> Finding:
    """Say how many processes may serve HTTP here, and when to have them do it."""
    count = available_cpus()
    if count == 1:
        return Finding("api servers", "ok", "one CPU: one process that serves HTTP is enough")
    what = "for many calls of remote models or of the cluster; local models gain nothing"
    return Finding("api servers", "ok", f"serve --api-servers takes up to {count} {what}")


def _engine() -> list[Finding]:
    """Look at the libraries that run models, and at what they can run on."""
    versions = []
    for name in ("ctranslate2", "tokenizers"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            return [Finding("engine", "broken", f"{name} is not installed", f"pip install {name}")]
    try:
        import ctranslate2
        import tokenizers  # noqa: F401 - whether it loads is the question

        types = sorted(ctranslate2.get_supported_compute_types("cpu"))
        engine = Finding("engine", "ok", f"{', '.join(versions)}; on the CPU: {', '.join(types)}")
    except (ImportError, OSError, RuntimeError) as fault:
        return [Finding("engine", "broken", f"{', '.join(versions)} do not load: {fault}", "reinstall them")]
    return [engine, _devices(ctranslate2)]


def _devices(ctranslate2: object) -> Finding:
    try:
        count = int(ctranslate2.get_cuda_device_count())  # type: ignore[attr-defined]
        why = ""
    except RuntimeError as fault:
        count, why = 0, str(fault)
    if count:
        return Finding("devices", "ok", f"CPU, and {count} CUDA devices, which this version does not use")
    if Path("/dev/nvidiactl").exists():
        return Finding("devices", "ok", f"CPU; there is an NVIDIA card, but CUDA does not load {why}".rstrip())
    return Finding("devices", "ok", "CPU; no NVIDIA card (/dev/nvidiactl is not there)")


def _memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Finding:
    try:
        left = memory(proc, groups)
    except (OSError, KeyError, ValueError) as fault:
        return Finding("memory", "warning", "unknown", f"the kernel does not tell: {fault}")
    found, free = f"{show.size(left.available)} available", left.free
    if left.limit is not None and left.used is not None:
        found += f"; the control group allows {show.size(left.limit)}, of which {show.size(left.used)} are used"
    if free < _LEAST_MEMORY:
        return Finding(
            "memory", "broken", found, f"free some: service and a small model take {show.size(_LEAST_MEMORY)}"
        )
    if free < _TIGHT_MEMORY:
        return Finding("memory", "warning", found, "larger models will not fit; raise the limit, or use int8")
    return Finding("memory", "ok", found)


def _existing(path: Path) -> Path:
    """Return a path, or the nearest of its parents that exists."""
    return next(one for one in (path, *path.absolute().parents) if one.exists())


def _disk(data: Path) -> Finding:
    place = _existing(data)
    free = shutil.disk_usage(place).free
    found = f"{show.size(free)} free at {place}"
    if free < _LEAST_DISK:
        return Finding("disk", "broken", found, "free some, or choose another --data directory")
    if free < _TIGHT_DISK:
        key = "plugins.ml_commons.disk_free_space_threshold"
        return Finding("disk", "warning", found, f"below 5 GiB registering is refused; free some, or --set {key}=1gb")
    return Finding("disk", "ok", found)


def _directory(data: Path, *, ours: bool) -> Finding:
    place = _existing(data)
    if not place.is_dir():
        return Finding("data", "broken", f"{place} is no directory", "choose another --data directory")
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding("data", "broken", f"{place} is not writable", f"chown it to {_user()}, or choose another --data")
    lock = lock_of(data / STORE)
    if lock.exists() and _is_held(lock):
        if ours:
            return Finding("data", "ok", f"{data} is in use by a running service")
        fix = f"stop that one (fuser {lock} names it), or choose another --data directory"
        return Finding("data", "broken", f"{data} is in use by another process", fix)
    return Finding("data", "ok", f"{data} {'is free' if data.exists() else 'can be made'}")


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # it cannot be read, which says nothing about who holds it
    return False


def _user() -> str:
    return f"uid {os.geteuid()}"


def _port(url: str, *, ours: bool) -> Finding:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)
    if ours:
        return Finding("port", "ok", f"{host}:{port} is the running service's")
    try:
        with socket.create_connection((host, port), timeout=2):
            pass
    except OSError:
        return Finding("port", "ok", f"{host}:{port} is free")
    return Finding("port", "broken", f"{host}:{port} is taken by another program", "choose another with --port")


def _service(client: Client) -> Finding:
    try:
        version = client.call("GET", "/")["version"]
    except (MLCommonsError, KeyError, TypeError) as fault:
        reason = fault.reason if isinstance(fault, MLCommonsError) else f"{client.url} is no mlcommons-py"
        return Finding("service", "warning", reason)
    kind = version.get("build_type", "")
    if kind != "mlcommons-py":
        return Finding("service", "warning", f"{client.url} is {version.get('distribution')}, not mlcommons-py")
    return Finding("service", "ok", f"{client.url} is mlcommons-py {version.get('build_hash')}")

"""What the command line prints: results on standard output, progress and notes on standard error."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

OUT = Console(soft_wrap=True, highlight=False)
ERR = Console(stderr=True, soft_wrap=True, highlight=False)

_COLOURS = {
    "DEPLOYED": "green",
    "COMPLETED": "green",
    "DEPLOY_FAILED": "red",
    "FAILED": "red",
    "REGISTERING": "yellow",
    "DEPLOYING": "yellow",
    "RUNNING": "yellow",
}


def as_json(value: Any, *, compact: bool = False) -> None:
    """Print a value as JSON and nothing else: on one line if compact, else indented."""
    print(orjson.dumps(value, option=0 if compact else orjson.OPT_INDENT_2).decode())  # noqa: T201 - printing is what it is for


def say(text: str) -> None:
    """Print a line of the result."""
    OUT.print(escape(text))


def note(text: str) -> None:
    """Print a line about what is going on."""
    ERR.print(escape(text))


@contextmanager
def bytes_bar(title: str, whole: int) -> Iterator[Progress]:
    """Show a bar with bytes, speed and remaining time; its one task has the id 0."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=ERR) as progress:
        progress.add_task(title, total=whole)
        yield progress


@contextmanager
def spinner(title: str) -> Iterator[None]:
    """Show that something runs whose end is not known."""
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=ERR, transient=True) as progress:
        progress.add_task(title, total=None)
        yield


def models(found: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of models."""
    table = _table("name", "version", "id", "state", "format", "dimension", "size")
    for one in found:
        table.add_row(
            escape(str(one.get("name", ""))),
            str(one.get("model_version", "")),
            one["id"],
            _state(one.get("model_state")),
            str(one.get("model_format", "")),
            str((one.get("model_config") or {}).get("embedding_dimension", "")),
            size(one.get("model_content_size_in_bytes")),
        )
    _print(table if found else "no models; register one with: mlcommons register DIRECTORY --deploy")


def tasks(found: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of tasks."""
    table = _table("id", "type", "state", "model", "created", "error")
    for one in found:
        created = one.get("create_time")
        table.add_row(
            one["id"],
            str(one.get("task_type", "")),
            _state(one.get("state")),
            str(one.get("model_id") or ""),
            "" if created is None else f"{datetime.fromtimestamp(created / 1000).astimezone():%Y-%m-%d %H:%M:%S}",
            escape(str(one.get("error") or "")),
        )
    _print(table if found else "no tasks")


def blueprints(found: Sequence[tuple[str, str]]) -> None:
    """Print a table of blueprints by name and title."""
    table = _table("name", "what it is")
    for name, title in found:
        table.add_row(name, escape(title))
    _print(table)


def vector(text: str, data: Sequence[float]) -> None:
    """Print a text and the beginning of its vector."""
    norm = math.sqrt(math.fsum(value * value for value in data))
    first = ", ".join(f"{value:+.4f}" for value in data[:6])
    short = text if len(text) <= 70 else f"{text[:69]}…"
    say(f"{short!r}\n  {len(data)} dimensions, norm {norm:.4f}: [{first}{', …' if len(data) > 6 else ''}]")


def size(count: float | None) -> str:
    """Return a number of bytes for people.

    >>> size(90_868_376), size(512), size(None)
    ('90.9 MB', '512 B', '')
    """
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    return table


def _print(table: Table | str) -> None:
    # A pipe has no width; a row is a line there, whole.
    console = OUT if OUT.is_terminal else Console(width=1000, highlight=False)
    console.print(table)


def _state(state: Any) -> str:
    colour = _COLOURS.get(str(state))
    return f"[{colour}]{state}[/]" if colour else str(state or "")

"""Tables as OpenSearch's cat APIs write them (``RestTable``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.notation import MEDIA_TYPES, Notation, notation_of, write

PARAMETERS = frozenset({"v", "h", "s", "format", "help", "pretty", "bytes", "time", "ts", "size"})

Row = Mapping[str, str]
Kind = Literal["text"] | Notation


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its other names, and whether it shows unasked."""

    name: str
    aliases: tuple[str, ...] = ()
    shown: bool = True


def kind_of(query: Mapping[str, str], accept: str) -> Kind:
    """Return what a table is to be written in.

    Raises:
        IllegalArgument: ``format`` has another value.
    """
    if query.get("format", "").lower() in ("text", "text/plain"):
        return "text"
    return notation_of(query, accept) or "text"


def table(
    columns: Sequence[Column], rows: Sequence[Row], query: Mapping[str, str], kind: Kind, *, head: bool
) -> Answer:
    """Return a table; ``head`` says whether a text begins with the columns' names.

    Raises:
        IllegalArgument: it is to be sorted by a column that is not there.
    """
    shown = _shown(columns, query.get("h"))
    rows = _sorted(columns, rows, query.get("s", ""))
    cells = [[(label, row.get(name, "")) for label, name in shown] for row in rows]
    if kind != "text":
        pretty = query.get("pretty", "false") != "false"
        return Answer(write([dict(row) for row in cells], kind, pretty=pretty), media_type=MEDIA_TYPES[kind])
    texts = [*([label for label, _ in shown] for _ in range(head)), *([value for _, value in row] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    body = "".join(" ".join(_padded(row, widths)) + "\n" for row in texts) if shown else ""
    return Answer(body.encode(), media_type="text/plain; charset=UTF-8")


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return cells as wide as their columns, but for the last."""
    return [*(cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)), *row[-1:]]


def _shown(columns: Sequence[Column], wanted: str | None) -> list[tuple[str, str]]:
    """Return label and name of each column to show; unknown ones are left out, as OpenSearch does."""
    if wanted is None:
        return [(one.name, one.name) for one in columns if one.shown]
    shown: dict[str, str] = {}
    for part in wanted.split(","):
        for one in columns:
            names = (one.name, *one.aliases)
            if part in names:
                shown[part] = one.name
            elif "*" in part and any(fnmatchcase(name, part) for name in names):
                shown[one.name] = one.name
    return list(shown.items())


def _sorted(columns: Sequence[Column], rows: Sequence[Row], order: str) -> Sequence[Row]:
    names = {name: one.name for one in columns for name in (one.name, *one.aliases)}
    for part in reversed([part for part in order.split(",") if part]):
        name, _, direction = part.partition(":")
        if name not in names:
            raise IllegalArgument(f"Unable to sort by unknown sort key `{name}`")
        real = names[name]
        rows = sorted(rows, key=lambda row: row.get(real, ""), reverse=direction.lower() == "desc")
    return rows

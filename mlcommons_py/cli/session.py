"""What all commands share: the process's environment, and the options that most of them have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mlcommons_py.cli.client import Client

DEFAULT_URL = "http://127.0.0.1:9201"

Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help=f"The service [MLCOMMONS_URL, or {DEFAULT_URL}].")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]


@dataclass(frozen=True, slots=True)
class Session:
    """What the process was started with."""

    environ: Mapping[str, str]


def client_of(context: typer.Context, url: str | None) -> "Client":
    """Return a client of the service that the options or the environment name."""
    from mlcommons_py.cli.client import Client

    session: Session = context.find_object(Session) or Session({})
    return Client(url or session.environ.get("MLCOMMONS_URL") or DEFAULT_URL)

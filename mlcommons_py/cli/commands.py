"""The commands of ``mlcommons``, their arguments and options.

Only typer is imported with this module: ``serve`` starts faster and stays smaller without what the others need.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mlcommons_py import __version__
from mlcommons_py.cli import blueprints, model_commands
from mlcommons_py.cli.session import Json, Session, Url, client_of
from mlcommons_py.errors import IllegalArgument, InvalidModel, MLCommonsError

app = typer.Typer(
    name="mlcommons",
    help="Text embedding models behind OpenSearch ML Commons' REST API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(blueprints.app)


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Carry out a command line; return the exit status: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
    try:
        app(args=list(arguments), prog_name="mlcommons", obj=Session(environ))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except MLCommonsError as fault:
        print(f"mlcommons: {fault.reason}", file=sys.stderr)  # noqa: T201 - printing is what it is for
        return 2 if isinstance(fault, IllegalArgument) and not isinstance(fault, InvalidModel) else 1
    except OSError as fault:
        print(f"mlcommons: {fault}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlcommons-py {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one [9201].")] = None,
    api_servers: Annotated[
        int | None, typer.Option(help="Processes that serve HTTP; more than one for remote models or a cluster [1].")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="The service's own certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, if not in the same file.")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Listen for other machines without TLS or knowing who calls.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the store [~/.local/share/mlcommons-py].")] = None,
    store: Annotated[str | None, typer.Option(metavar="embedded|URL", help="Where documents live [embedded].")] = None,
    store_user: Annotated[str | None, typer.Option(help="The service's user in the cluster.")] = None,
    store_password_file: Annotated[
        Path | None, typer.Option(help="File with that user's password [MLCOMMONS_STORE_PASSWORD].")
    ] = None,
    store_token_file: Annotated[
        Path | None, typer.Option(help="File with a bearer token in place of a user [MLCOMMONS_STORE_TOKEN].")
    ] = None,
    store_ca: Annotated[Path | None, typer.Option(help="Authorities of the cluster's certificate, PEM.")] = None,
    store_client_cert: Annotated[Path | None, typer.Option(help="The service's certificate, PEM.")] = None,
    store_client_key: Annotated[Path | None, typer.Option(help="Its key, if not in the same file.")] = None,
    store_insecure: Annotated[
        bool | None, typer.Option("--store-insecure", help="Believe any certificate; send credentials over http.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A plugins.ml_commons.* setting; may be repeated."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings [MLCOMMONS_CONFIG].")] = None,
    model_root: Annotated[Path | None, typer.Option(help="Directory that file: URLs may be registered from.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [info].")] = None,
) -> None:
    """Serve the REST API until Ctrl-C or SIGTERM."""
    from mlcommons_py import settings

    session: Session = context.find_object(Session) or Session({})
    named = session.environ.get("MLCOMMONS_CONFIG")
    file = config or (Path(named) if named else None)
    flags = {
        "host": host,
        "port": port,
        "api_servers": api_servers,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "insecure": insecure,
        "data": data,
        "store": store,
        "store_user": store_user,
        "store_password_file": store_password_file,
        "store_token_file": store_token_file,
        "store_ca": store_ca,
        "store_client_cert": store_client_cert,
        "store_client_key": store_client_key,
        "store_insecure": store_insecure,
        "model_root": model_root,
        "log_level": log_level,
    }
    operator = settings.read(flags, tuple(assignments or ()), session.environ, file)
    from mlcommons_py.app import run as run_service

    raise typer.Exit(run_service(operator))


for _command in (
    model_commands.register,
    model_commands.predict,
    model_commands.models,
    model_commands.tasks,
    model_commands.deploy,
    model_commands.undeploy,
    model_commands.delete,
):
    app.command()(_command)


@app.command("rotate-key")
def rotate_key(
    context: typer.Context,
    to_cluster: Annotated[
        bool, typer.Option("--to-cluster", help="Go back from the operator's keys to the cluster's own.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Directory of the store.")] = None,
    store: Annotated[str | None, typer.Option(metavar="embedded|URL", help="Where documents live [embedded].")] = None,
    config: Annotated[Path | None, typer.Option(help="The service's TOML file [MLCOMMONS_CONFIG].")] = None,
    as_json: Json = False,
) -> None:
    """Encrypt the credentials of all connectors anew: with the first of the operator's keys, or a new one."""
    from mlcommons_py import settings
    from mlcommons_py.cli import show
    from mlcommons_py.cli.rotating import rotate

    session: Session = context.find_object(Session) or Session({})
    named = session.environ.get("MLCOMMONS_CONFIG")
    file = config or (Path(named) if named else None)
    operator = settings.read({"data": data, "store": store}, (), session.environ, file)
    done = rotate(operator, to_cluster=to_cluster)
    if as_json:
        show.as_json({"key": done.key, "changed": done.changed, "unreadable": done.unreadable})
    else:
        show.say(
            f"{done.changed} documents have new ciphertexts; all that can be read are encrypted with key {done.key}"
        )
        for owner, reason in done.unreadable.items():
            show.say(f"{owner} could not be read: {reason}")
    raise typer.Exit(1 if done.unreadable else 0)


@app.command()
def doctor(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="Directory of the store.")] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Say what would not work on this machine, and how to mend it."""
    from mlcommons_py.cli import doctor as doctors
    from mlcommons_py.settings import DEFAULT_DATA

    session: Session = context.find_object(Session) or Session({})
    directory = data or Path(session.environ.get("MLCOMMONS_DATA") or DEFAULT_DATA)
    with client_of(context, url) as client:
        findings = doctors.examine(client, directory.expanduser())
    doctors.report(findings, as_json=as_json)
    raise typer.Exit(1 if any(one.state == "broken" for one in findings) else 0)

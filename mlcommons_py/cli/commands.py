"""The commands of ``mlcommons``, their arguments and options.

Only typer is imported with this module: ``serve`` starts faster and stays smaller without what the others need.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcommons_py import __version__
from mlcommons_py.cli import blueprints
from mlcommons_py.cli.session import Json, Session, Url, client_of
from mlcommons_py.errors import BadRequest, IllegalArgument, InvalidModel, MLCommonsError

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="mlcommons",
    help="Text embedding models behind OpenSearch ML Commons' REST API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Id of the model, or its name for the latest version.")]

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


@app.command()
def register(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A model's directory, a zip, or a .pt file with tokenizer.json beside.")],
    name: Annotated[str | None, typer.Option(help="The model's name [that of the path].")] = None,
    group: Annotated[str | None, typer.Option(help="Model group, by id or name; a new name founds one.")] = None,
    description: Annotated[str | None, typer.Option(help="What the model is for.")] = None,
    model_format: Annotated[
        str | None, typer.Option("--format", metavar="SAFETENSORS|TORCH_SCRIPT", help="[what is in the file]")
    ] = None,
    function: Annotated[str, typer.Option(help="What the model does.")] = "TEXT_EMBEDDING",
    dimension: Annotated[int | None, typer.Option(help="Length of its vectors.")] = None,
    model_type: Annotated[str | None, typer.Option(help="Its architecture, such as bert.")] = None,
    framework: Annotated[str | None, typer.Option(help="sentence_transformers or huggingface_transformers.")] = None,
    pooling: Annotated[
        str | None, typer.Option(help="mean, cls, max, mean_sqrt_len, weighted_mean, last_token.")
    ] = None,
    normalize: Annotated[bool | None, typer.Option("--normalize/--no-normalize", help="Vectors of length 1.")] = None,
    query_prefix: Annotated[str | None, typer.Option(help="Put before each query.")] = None,
    passage_prefix: Annotated[str | None, typer.Option(help="Put before each passage.")] = None,
    compute_type: Annotated[str | None, typer.Option(help="float32 or int8.")] = None,
    deploy: Annotated[bool, typer.Option("--deploy", help="Deploy it, too.")] = False,
    wait: Wait = True,
    resume: Annotated[
        str | None, typer.Option(metavar="MODEL_ID", help="Go on with an upload that was cut off.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Upload a model from this machine, and deploy it if asked."""
    from mlcommons_py.cli.registering import Order
    from mlcommons_py.cli.registering import register as carry_out

    whole = path.resolve()
    called = name or (whole.name if whole.is_dir() else whole.stem)
    fields = {"name": called, "function_name": function.upper(), "description": description}
    config = {
        "model_type": model_type,
        "embedding_dimension": dimension,
        "framework_type": framework,
        "pooling_mode": pooling,
        "normalize_result": normalize,
        "query_prefix": query_prefix,
        "passage_prefix": passage_prefix,
        "compute_type": compute_type,
    }
    order = Order(
        path=path,
        fields=fields,
        config=config,
        group=group,
        model_format=None if model_format is None else model_format.upper(),
        deploy=deploy,
        wait=wait,
        resume=resume,
        as_json=as_json,
        url=url,
    )
    with client_of(context, url) as client:
        carry_out(client, order)


@app.command()
def predict(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL] [TEXT]...", help="A model by id or name, and texts.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="File with a text a line; - is standard input.")] = None,
    query: Annotated[bool, typer.Option("--query", help="The texts are queries.")] = False,
    passage: Annotated[bool, typer.Option("--passage", help="The texts are passages.")] = False,
    parameters: Annotated[
        str | None, typer.Option(metavar="JSON", help="Parameters to send, as to a chat model or a reranker.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Embed texts; without arguments a sample sentence, with the model that was deployed last."""
    from mlcommons_py.cli.predicting import predict as carry_out

    if query and passage:
        raise typer.BadParameter("--query and --passage exclude each other")
    content_type = "query" if query else "passage" if passage else None
    with client_of(context, url) as client:
        carry_out(client, words or [], file, content_type, parameters=parameters, as_json=as_json)


@app.command()
def models(context: typer.Context, as_json: Json = False, url: Url = None) -> None:
    """List the models, the newest first."""
    _list(context, url, "models", as_json)


@app.command()
def tasks(context: typer.Context, as_json: Json = False, url: Url = None) -> None:
    """List the latest tasks, the newest first."""
    _list(context, url, "tasks", as_json)


def _list(context: typer.Context, url: str | None, what: str, as_json: bool) -> None:
    from mlcommons_py.cli import show

    with client_of(context, url) as client:
        body = {"query": {"match_all": {}}, "size": 50, "sort": [{"create_time": {"order": "desc"}}]}
        found = client.models() if what == "models" else client.search("tasks", body)
    if as_json:
        show.as_json(found)
    elif what == "models":
        show.models(found)
    else:
        show.tasks(found)


@app.command()
def deploy(context: typer.Context, model: Model, wait: Wait = True, as_json: Json = False, url: Url = None) -> None:
    """Deploy a model."""
    from mlcommons_py.cli import registering, show

    with client_of(context, url) as client:
        result = registering.deploy(client, client.model(model)["id"], wait=wait)
    if as_json:
        show.as_json(result)
    else:
        show.say(f"model {result['model_id']} is {result['model_state']} (task {result['deploy_task_id']})")


@app.command()
def undeploy(context: typer.Context, model: Model, as_json: Json = False, url: Url = None) -> None:
    """End the process of a model; it stays registered."""
    from mlcommons_py.cli import show
    from mlcommons_py.cli.client import ML

    with client_of(context, url) as client:
        model_id = client.model(model, running=True)["id"]
        answer: dict[str, Any] = client.call("POST", f"{ML}/models/{model_id}/_undeploy")
    if as_json:
        show.as_json(answer)
    else:
        was = any("undeployed" in node["stats"].values() for node in answer.values())
        show.say(f"model {model_id} {'is undeployed' if was else 'was not deployed'}")


@app.command()
def delete(
    context: typer.Context,
    model: Model,
    undeploy_first: Annotated[bool, typer.Option("--undeploy", help="Undeploy it first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Delete a model and all of its content."""
    from mlcommons_py.cli import show
    from mlcommons_py.cli.client import DEPLOYED, ML

    with client_of(context, url) as client:
        found = client.only(model)
        title = f"model {found.get('name')} version {found.get('model_version')} ({found['id']})"
        if found["model_state"] in (*DEPLOYED, "DEPLOYING") and not undeploy_first:
            raise BadRequest(f"{title} is deployed; --undeploy does both")
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("there is nobody to ask; say --yes")
            typer.confirm(f"Delete {title}?", abort=True, err=True)
        if undeploy_first:
            client.call("POST", f"{ML}/models/{found['id']}/_undeploy")
        answer = client.call("DELETE", f"{ML}/models/{found['id']}")
    if as_json:
        show.as_json(answer)
    else:
        show.say(f"{title} is deleted")


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

"""The commands for models: registering, calling, listing, deploying and deleting them over REST."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mlcommons_py.cli.session import Json, Url, client_of
from mlcommons_py.errors import BadRequest

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Id of the model, or its name for the latest version.")]


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


def models(context: typer.Context, as_json: Json = False, url: Url = None) -> None:
    """List the models, the newest first."""
    _list(context, url, "models", as_json)


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


def deploy(context: typer.Context, model: Model, wait: Wait = True, as_json: Json = False, url: Url = None) -> None:
    """Deploy a model."""
    from mlcommons_py.cli import registering, show

    with client_of(context, url) as client:
        result = registering.deploy(client, client.model(model)["id"], wait=wait)
    if as_json:
        show.as_json(result)
    else:
        show.say(f"model {result['model_id']} is {result['model_state']} (task {result['deploy_task_id']})")


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

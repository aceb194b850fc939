"""``mlcommons register``: from files on this machine to a model that is registered, or deployed."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from mlcommons_py.cli import show, upload
from mlcommons_py.cli.archive import Archive, packed
from mlcommons_py.cli.client import ML, UPLOADS, Client, Refused
from mlcommons_py.errors import MLCommonsError, StatusError


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user asked for.

    Attributes:
        fields, config: of the registration, with None for what was not given.
        group: id or name of the model group.
        model_format: what the archive is to be taken for; None to look into it.
        resume: id of the model whose upload is to be taken up.
        url: as given, to be repeated in the commands that are printed.
    """

    path: Path
    fields: Mapping[str, Any]
    config: Mapping[str, Any]
    group: str | None
    model_format: str | None
    deploy: bool
    wait: bool
    resume: str | None
    as_json: bool
    url: str | None


def register(client: Client, order: Order) -> None:
    """Carry out an order, and print what came of it.

    Raises:
        MLCommonsError: something was refused or failed; what was uploaded stays and can be resumed.
        typer.Exit: interrupted, with status 130.
    """
    client.call("GET", f"{ML}/models/_search", {"size": 0})  # before the work: is it there?
    result: dict[str, Any] = {"model_id": order.resume}
    with _packed(order) as archive:
        if order.resume is None:
            result["model_id"] = _announce(client, order, archive)
            numbers = list(range(archive.total_chunks))
        else:
            numbers = upload.missing(client, order.resume, archive)
        _upload(client, order, result["model_id"], archive, numbers)
    try:
        result.update(_settle(client, order, result["model_id"]))
        if order.deploy:
            result.update(deploy(client, result["model_id"], wait=order.wait))
    except KeyboardInterrupt:
        show.note(f"interrupted; model {result['model_id']} is uploaded, and the service goes on: mlcommons tasks")
        raise
    except MLCommonsError:
        show.note(
            f"model {result['model_id']} is uploaded; end it with: mlcommons delete{_url(order)} {result['model_id']}"
        )
        raise
    result.update(_state(client, result["model_id"]))
    if order.as_json:
        show.as_json(result)
        return
    model_id, url = result["model_id"], _url(order)
    show.say(f"model {model_id} is {result['model_state']}")
    again = f"mlcommons predict{url} {model_id} 'some text'"
    show.say(f"next: {again if order.deploy else f'mlcommons deploy{url} {model_id}'}")


def deploy(client: Client, model_id: str, *, wait: bool) -> dict[str, Any]:
    """Deploy a model; return its id, its state and the task's id and, if waited for, state.

    Raises:
        StatusError: the task failed.
    """
    task_id = str(client.patiently(lambda: client.call("POST", f"{ML}/models/{model_id}/_deploy"))["task_id"])
    result = {"model_id": model_id, "deploy_task_id": task_id}
    if wait:
        with show.spinner("deploying"):
            result["deploy_task_state"] = client.task(task_id)["state"]
    return {**result, **_state(client, model_id)}


def _packed(order: Order) -> Any:
    reported = -1

    def report(done: int, whole: int) -> None:
        nonlocal reported
        percent = 100 * done // max(1, whole)
        if show.ERR.is_terminal and percent != reported:
            reported = percent
            show.ERR.print(f"reading {percent} %", end="\r" if percent < 100 else "\n")

    return packed(order.path, report)


def _announce(client: Client, order: Order, archive: Archive) -> str:
    fields = dict(order.fields)
    model_format = order.model_format or archive.model_format
    upload.meta(archive, fields, order.config, model_format)  # a wrong order must not found a group
    if order.group is not None:
        fields["model_group_id"] = upload.group_id(client, order.group)
    body = upload.meta(archive, fields, order.config, model_format)
    path = f"{ML}/models/_register_meta"
    try:
        return str(client.call("POST", path, body)["model_id"])
    except KeyboardInterrupt:
        show.note("interrupted; mlcommons models shows whether a model was begun, mlcommons delete ends it")
        raise
    except Refused as fault:
        if UPLOADS.rpartition(".")[2] not in fault.reason:
            raise
        _allow_uploads(client)
    return str(client.call("POST", path, body)["model_id"])


def _allow_uploads(client: Client) -> None:
    """Ask whether the service may take uploads from now on, and switch them on.

    Raises:
        StatusError: the answer is no, or there is nobody to ask.
    """
    if sys.stdin.isatty() and sys.stderr.isatty():
        if typer.confirm("The service does not accept uploads. Allow them now?", default=False, err=True):
            client.call("PUT", "/_cluster/settings", {"persistent": {UPLOADS: True}})
            return
        raise StatusError("uploads stay forbidden; nothing was registered", 400)
    raise StatusError(
        "the service does not accept uploads. Either restart it with\n"
        f"  mlcommons serve --set {UPLOADS}=true\n"
        "or allow them while it runs with\n"
        f"  curl -X PUT {client.url}/_cluster/settings -H 'content-type: application/json'"
        f""" -d '{{"persistent":{{"{UPLOADS}":true}}}}'""",
        400,
    )


def _upload(client: Client, order: Order, model_id: str, archive: Archive, numbers: list[int]) -> None:
    whole = sum(archive.chunk_size(number) for number in numbers)
    try:
        if numbers:
            with show.bytes_bar(f"uploading {len(numbers)} of {archive.total_chunks} chunks", whole) as progress:
                upload.send(
                    client, model_id, archive, numbers, lambda count: progress.advance(progress.task_ids[0], count)
                )
    except KeyboardInterrupt:
        show.note(f"interrupted; model {model_id} is not complete yet.\n{_way_on(order, model_id)}")
        if order.as_json:
            show.as_json({"model_id": model_id, "model_state": "REGISTERING", "interrupted": True})
        raise typer.Exit(130) from None
    except MLCommonsError:
        show.note(f"the upload failed; model {model_id} is not complete yet.\n{_way_on(order, model_id)}")
        raise


def _way_on(order: Order, model_id: str) -> str:
    path, url = shlex.quote(str(order.path)), _url(order)
    also = (" --deploy" if order.deploy else "") + ("" if order.wait else " --no-wait")
    return (
        f"  go on:  mlcommons register{url} {path} --resume {model_id}{also}\n"
        f"  or end: mlcommons delete{url} {model_id}"
    )


def _settle(client: Client, order: Order, model_id: str) -> dict[str, Any]:
    """Wait for the service's own look at the model; its failure is the registration's."""
    if not order.wait:
        return {}
    with show.spinner("the service reads and tries the model"):
        client.registered(model_id)
        query = {"bool": {"filter": [{"term": {"model_id": model_id}}, {"term": {"task_type": "REGISTER_MODEL"}}]}}
        found = client.search("tasks", {"query": query, "size": 1, "sort": [{"create_time": {"order": "desc"}}]})
        if not found:  # ML Commons itself has no such task for an uploaded model
            return {}
        task = client.task(found[0]["id"])
    return {"task_id": found[0]["id"], "task_state": task["state"]}


def _state(client: Client, model_id: str) -> dict[str, Any]:
    model = client.call("GET", f"{ML}/models/{model_id}")
    kept = ("name", "model_group_id", "model_version", "model_state")
    return {key: model[key] for key in kept if model.get(key) is not None}


def _url(order: Order) -> str:
    return "" if order.url is None else f" --url {shlex.quote(order.url)}"

"""Actions that ask for a batch job's state or stop it, derived of the one that starts it (``ConnectorUtils.java``)."""

from collections.abc import Callable, Mapping
from typing import Any

from mlcommons_py.remote.provider import BatchJobs

_SERVERS = ("azure", "sagemaker", "openai", "bedrock", "cohere", "mistral")

Stored = Mapping[str, Any]


def server(url: str) -> str | None:
    """Return which of the services with batch jobs a URL names, as upstream tells them apart: by a part of the URL."""
    return next((name for name in _SERVERS if name in url), None)


def below(name: str, identifier: str, stop: str) -> BatchJobs:
    """Return the way of services whose jobs have a URL each, below the one that starts them.

    Args:
        name: as :func:`server` tells it.
        identifier: the field of the answer to the start that names the job in the URL.
        stop: the last part of the URL that stops it.
    """

    def derive(kind: str, method: str, rest: str) -> Callable[[Stored], Stored]:
        def action(start: Stored) -> Stored:
            path, mark, query = str(start["url"]).partition("?")
            url = f"{path.rstrip('/')}/${{parameters.{identifier}}}{rest}{mark}{query}"
            return _action(start, kind, method, url)

        return action

    return BatchJobs(
        matches=lambda url: server(url) == name,
        status=derive("batch_predict_status", "GET", ""),
        cancel=derive("cancel_batch_predict", "POST", f"/{stop}"),
    )


def beside(name: str, verb: str, status: str, cancel: str, body: str) -> BatchJobs:
    """Return the way of services that have a URL for each verb.

    Args:
        name: as :func:`server` tells it.
        verb: what stands in the URL that starts a job.
        status: what stands in its place to ask for the state.
        cancel: what stands in its place to stop it.
        body: the request body of both.
    """

    def derive(kind: str, other: str) -> Callable[[Stored], Stored]:
        return lambda start: {
            **_action(start, kind, "POST", str(start["url"]).replace(verb, other)),
            "request_body": body,
        }

    return BatchJobs(
        matches=lambda url: server(url) == name,
        status=derive("batch_predict_status", status),
        cancel=derive("cancel_batch_predict", cancel),
    )


def _action(start: Stored, kind: str, method: str, url: str) -> dict[str, Any]:
    action: dict[str, Any] = {"action_type": kind, "method": method, "url": url}
    if start.get("headers"):
        action["headers"] = start["headers"]
    return action

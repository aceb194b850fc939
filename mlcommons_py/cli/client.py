"""The REST API as the command line uses it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import orjson
import tenacity

from mlcommons_py import __version__
from mlcommons_py.errors import Conflict, IllegalArgument, MLCommonsError, NotFound, StatusError, Unavailable

ML = "/_plugins/_ml"
UPLOADS = "plugins.ml_commons.allow_registering_model_via_local_file"
DEPLOYED = ("DEPLOYED", "PARTIALLY_DEPLOYED")
UNFINISHED = ("CREATED", "RUNNING", "CANCELLING")
_ATTEMPTS = 6
_SLOWEST_POLL = 0.5
_LONGEST_WAIT = 30.0


class Client:
    """A running service, ML Commons' or ours, at a URL.

    Every call raises:
        Unavailable: it cannot be reached.
        StatusError: it refused; the reason is the service's.
    """

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        if not _is_address(url):
            raise IllegalArgument(f"--url takes http://HOST:PORT, not [{url}]")
        self.url = url.rstrip("/")
        self._reached = False
        self._http = httpx.Client(transport=transport, **self._options())

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send one request, with a JSON body or none, and return the JSON of its answer."""
        content = None if body is None else orjson.dumps(body)
        sent = {} if body is None else {"content-type": "application/json"}
        try:
            answer = self._http.request(method, path, content=content, headers=sent)
        except httpx.TransportError as fault:
            raise self._unavailable(fault) from fault
        return self._checked(answer)

    def asynchronous(self) -> httpx.AsyncClient:
        """Return a client for :meth:`post`."""
        return httpx.AsyncClient(**self._options())

    async def post(self, http: httpx.AsyncClient, path: str, content: Any, headers: Mapping[str, str]) -> Any:
        """Send one POST request without blocking, and return the JSON of its answer."""
        try:
            answer = await http.post(path, content=content, headers=dict(headers))
        except httpx.TransportError as fault:
            raise self._unavailable(fault) from fault
        return self._checked(answer)

    def _options(self) -> dict[str, Any]:
        return {
            "base_url": self.url,
            # Proxies of the environment would come between this program and a service on the same machine.
            "trust_env": False,
            "timeout": httpx.Timeout(120.0, connect=10.0),
            "headers": {"user-agent": f"mlcommons/{__version__}"},
        }

    def _unavailable(self, fault: httpx.TransportError) -> Unavailable:
        if isinstance(fault, httpx.ConnectError):
            kind = Unavailable if self._reached else NothingThere
            return kind(f"nothing answers at {self.url}; start the service first: mlcommons serve")
        return Unavailable(f"the connection to {self.url} broke: {fault or type(fault).__name__}")

    def _checked(self, answer: httpx.Response) -> Any:
        self._reached = True
        if answer.is_success:
            return _json(answer)
        raise Refused(answer)

    def patiently(self, call: Callable[[], Any]) -> Any:
        """Make a call that may be made twice; when the service is busy or out of reach, make it again, later."""
        return tenacity.Retrying(**patience())(call)

    def search(self, what: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the documents that a search in ``models``, ``model_groups`` or ``tasks`` finds, with their ids."""
        answer = self.patiently(lambda: self.call("POST", f"{ML}/{what}/_search", body))
        try:
            return [{"id": hit["_id"], **hit["_source"]} for hit in answer["hits"]["hits"]]
        except (KeyError, TypeError) as fault:
            raise StatusError(f"{self.url} does not answer as ML Commons does: {str(answer)[:200]}", 502) from fault

    def models(self, *filters: Mapping[str, Any], size: int = 1000, sort: str = "created_time") -> list[dict[str, Any]]:
        """Return the models that match, the newest by ``sort`` first."""
        query = {"bool": {"filter": list(filters), "must_not": [{"exists": {"field": "chunk_number"}}]}}
        return self.search("models", {"query": query, "size": size, "sort": [{sort: {"order": "desc"}}]})

    def named(self, name_or_id: str) -> list[dict[str, Any]]:
        """Return the model of that id, or the versions of that name, the latest first."""
        by_id = self.models({"ids": {"values": [name_or_id]}}, size=1)
        named = by_id or self.models({"term": {"name.keyword": name_or_id}})
        return sorted(
            named, key=lambda one: (int(one.get("model_version") or 0), one.get("created_time") or 0), reverse=True
        )

    def find(self, name_or_id: str, *, running: bool = False) -> dict[str, Any] | None:
        """Return the model of that id, or the latest version of that name, or None.

        With ``running`` the latest version that is deployed goes before one that is not.
        """
        named = self.named(name_or_id)
        deployed = [one for one in named if one.get("model_state") in DEPLOYED] if running else []
        return next(iter(deployed or named), None)

    def model(self, name_or_id: str, *, running: bool = False) -> dict[str, Any]:
        """Return the model of that id or name, as :meth:`find` chooses it.

        Raises:
            NotFound: there is none.
        """
        found = self.find(name_or_id, running=running)
        if found is None:
            raise NotFound(f"there is no model {name_or_id}; mlcommons models lists what there is")
        return found

    def only(self, name_or_id: str) -> dict[str, Any]:
        """Return the model of that id, or of a name that no other has.

        Raises:
            NotFound: there is none.
            Conflict: several versions have that name.
        """
        named = self.named(name_or_id)
        if len(named) > 1:
            ids = ", ".join(f"{one['id']} (version {one.get('model_version')})" for one in named)
            raise Conflict(f"there are {len(named)} versions of {name_or_id}; name the one you mean by its id: {ids}")
        return self.model(name_or_id)

    def last_deployed(self) -> dict[str, Any]:
        """Return the model that was deployed last, of those that are deployed.

        Raises:
            NotFound: none is.
        """
        deployed = self.models({"terms": {"model_state": list(DEPLOYED)}})
        if not deployed:
            raise NotFound("no model is deployed; register one with: mlcommons register DIRECTORY --deploy")
        return max(deployed, key=lambda one: (one.get("last_deployed_time") or 0, one.get("created_time") or 0))

    def task(self, task_id: str) -> dict[str, Any]:
        """Wait until a task is final, and return it.

        Raises:
            StatusError: it did not complete; the reason is the task's error.
        """
        task = self._poll(
            lambda: self.call("GET", f"{ML}/tasks/{task_id}"), lambda read: read["state"] not in UNFINISHED
        )
        if task["state"] != "COMPLETED":
            raise StatusError(f"{task['task_type']} ended {task['state']}: {task_error(task)}", 500)
        return task

    def registered(self, model_id: str) -> dict[str, Any]:
        """Wait until all chunks of a model are taken in, and return the model."""
        return self._poll(
            lambda: self.call("GET", f"{ML}/models/{model_id}"),
            lambda read: read["model_state"] not in ("REGISTERING", "UPLOADING"),
        )

    def _poll(self, read: Callable[[], Any], enough: Callable[[Any], bool]) -> dict[str, Any]:
        pause = 0.02
        while True:
            document: dict[str, Any] = self.patiently(read)
            if enough(document):
                return document
            time.sleep(pause)
            pause = min(_SLOWEST_POLL, pause * 1.5)


def _is_address(url: str) -> bool:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parts.scheme in ("http", "https") and bool(parts.host)


class NothingThere(Unavailable):
    """The service was not there from the start, so that waiting for it is of no use."""


class Refused(StatusError):
    """The service answered with an error."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(_reason(answer), answer.status_code)
        after = answer.headers.get("retry-after", "")
        self.retry_after = float(after) if after.isdigit() else None


def patience() -> dict[str, Any]:
    """Return how often and when to try again, for tenacity."""
    return {
        "retry": tenacity.retry_if_exception(_may_pass),
        "stop": tenacity.stop_after_attempt(_ATTEMPTS),
        "wait": _wait,
        "reraise": True,
    }


def task_error(task: Mapping[str, Any]) -> str:
    """Return why a task failed; a deployment keeps a JSON object by node id, of which the values count."""
    error = str(task.get("error") or "no reason given")
    try:
        by_node = orjson.loads(error)
    except orjson.JSONDecodeError:
        return error
    return "; ".join(dict.fromkeys(map(str, by_node.values()))) if isinstance(by_node, dict) else error


def _may_pass(fault: BaseException) -> bool:
    if isinstance(fault, NothingThere):
        return False
    return isinstance(fault, MLCommonsError) and fault.status in (429, 502, 503, 504)


def _wait(state: tenacity.RetryCallState) -> float:
    fault = state.outcome.exception() if state.outcome is not None else None
    asked = fault.retry_after if isinstance(fault, Refused) else None
    own: float = min(10.0, 0.25 * 2**state.attempt_number)
    return own if asked is None else min(_LONGEST_WAIT, max(own, asked))


def _json(answer: httpx.Response) -> Any:
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError as fault:
        raise StatusError(f"the answer of {answer.url} is not JSON; is it the service?", 502) from fault


def _reason(answer: httpx.Response) -> str:
    """Return the service's reason in one line, with its cause where there is one."""
    try:
        error = orjson.loads(answer.content)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"the service answered {answer.status_code} {answer.reason_phrase}"
    if not isinstance(error, dict):
        return str(error)
    reason, cause = str(error.get("reason")), (error.get("caused_by") or {}).get("reason")
    return f"{reason}: {cause}" if cause and cause not in reason else reason

"""The action of a connector that a call is for, and what all its requests have in common."""

from collections.abc import Mapping
from typing import Self

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import headers, url
from mlcommons_py.remote.documents import Action, ActionType, Connector
from mlcommons_py.remote.echoes import Secrets
from mlcommons_py.remote.exchange import FixedHeaders
from mlcommons_py.remote.filling import Filling
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.parameters import Parameters

OF_JOBS = (ActionType.BATCH_PREDICT_STATUS, ActionType.CANCEL_BATCH_PREDICT)
"""What is asked about a batch job, or done to end it."""

_KINDS = frozenset(ActionType)


class ChosenAction:
    """What the requests of an action have in common, whatever is asked: worked out once for as long as it holds.

    Attributes:
        charset: of the bodies.
        hidden: the secrets of the credential.
    """

    def __init__(self, connector: Connector, action: Action, credential: Mapping[str, str]) -> None:
        self.action = action
        self.credential = credential
        # Not the request's: it would decide what guardrails take an answer for.
        self.charset = Parameters(own=connector.parameters or {}).text("charset") or "UTF-8"
        self.hidden = Secrets(credential)
        self._headers: FixedHeaders | None = None

    @classmethod
    def of(cls, connector: Connector, wanted: str, credential: Mapping[str, str], functions: Functions) -> Self:
        """Return what was worked out for this state of a connector, or work it out."""
        kept: Self | None = connector.kept.get(wanted)
        if kept is None or kept.credential != credential:
            kept = connector.kept[wanted] = cls(connector, find_action(connector, wanted, functions), credential)
        return kept

    def headers(self, parameters: Parameters) -> dict[str, str]:
        """Return the header fields of a request, made once where no parameters are in them."""
        if self._headers is not None:
            return self._headers
        given = self.action.headers or {}
        filled = headers.fill(given, Filling(parameters), self.credential)
        if not any("${parameters." in (value or "") for value in given.values()):
            self._headers = FixedHeaders(filled)
        return filled


def find_action(connector: Connector, wanted: str, functions: Functions) -> Action:
    """Return the action of a type or of a name.

    How the state of a batch job is asked for, and how it is stopped, is known of some providers and needs no action.

    Raises:
        IllegalArgument: there is no such action.
    """
    kind = wanted.lower()
    if kind not in _KINDS:
        named = next((one for one in connector.each_action if one.name == wanted), None)
        if named is None:
            raise IllegalArgument(f"no {wanted} action found")
        return named
    action = connector.action(kind)
    if action is not None:
        return action
    if kind in OF_JOBS:
        return _derived(connector, kind, functions)
    raise IllegalArgument(f"no {kind.upper()} action found")


def _derived(connector: Connector, kind: str, functions: Functions) -> Action:
    start = next((one for one in connector.actions or () if str(one["action_type"]).lower() == "batch_predict"), None)
    if start is None:
        raise IllegalArgument("no BATCH_PREDICT action found")
    jobs = functions.jobs(url.known(str(start["url"]), connector.parameters or {}))
    if jobs is None:
        purpose = "cancel the batch job" if kind == ActionType.CANCEL_BATCH_PREDICT else "get the batch job details"
        raise IllegalArgument(f"Please configure the action type to {purpose} in the connector")
    made = jobs.cancel(start) if kind == ActionType.CANCEL_BATCH_PREDICT else jobs.status(start)
    return Action.from_json({**made, "action_type": kind})

"""Connectors as they are stored: the documents of ``.plugins-ml-connector``, and of models that carry their own.

Field names, their types and their order are those of ``HttpConnector.java`` and ``ConnectorAction.java``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from mlcommons_py.store.record import Record

CONNECTORS = ".plugins-ml-connector"


class Protocol(StrEnum):
    """How a connector speaks to its provider."""

    HTTP = "http"
    AWS_SIGV4 = "aws_sigv4"


class ActionType(StrEnum):
    """What a connector can be asked to do."""

    PREDICT = "predict"
    EXECUTE = "execute"
    BATCH_PREDICT = "batch_predict"
    CANCEL_BATCH_PREDICT = "cancel_batch_predict"
    BATCH_PREDICT_STATUS = "batch_predict_status"


@dataclass(frozen=True, kw_only=True)
class Action(Record):
    """One call that a connector can make.

    Attributes:
        action_type: lower case, as :class:`ActionType` has it.
        url, headers, request_body: templates with ``${parameters.x}`` and ``${credential.x}``.
        name: a label of the caller's own choice, unique among a connector's actions.
    """

    action_type: str
    method: str
    url: str
    name: str | None = None
    headers: Mapping[str, str] | None = None
    request_body: str | None = None
    pre_process_function: str | None = None
    post_process_function: str | None = None
    supports_structured_output: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ClientConfig(Record):
    """How patient calls are, and how often they are tried again.

    Attributes:
        max_connection: connections to one origin at a time.
        connection_timeout, read_timeout: seconds; a stored 0 or None means the default.
        retry_backoff_millis: milliseconds before the first repetition.
        retry_timeout_seconds: seconds after which no repetition begins.
        max_retry_times: repetitions; -1 for as many as ``retry_timeout_seconds`` allows.
        retry_backoff_policy: ``constant``, ``exponential_equal_jitter`` or ``exponential_full_jitter``.
        mutual_tls_enabled: whether the credential has a certificate to show, see :mod:`mlcommons_py.remote.identity`.
        keystore_type: ``PEM``, the default, or ``PKCS12``.
    """

    max_connection: int | None = None
    connection_timeout: int | None = None
    read_timeout: int | None = None
    retry_backoff_millis: int | None = None
    retry_timeout_seconds: int | None = None
    max_retry_times: int | None = None
    retry_backoff_policy: str | None = None
    skip_ssl_verification: bool | None = None
    mutual_tls_enabled: bool | None = None
    keystore_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Connector(Record):
    """A connector.

    Attributes:
        name: a model's own connector may have none.
        version: a text, whatever type it was sent as.
        parameters: all values are texts; what was sent as another type is its JSON.
        credential: each value encrypted by itself, see :mod:`mlcommons_py.remote.secrets`; never shown.
        actions, client_config: as stored; :meth:`action` and :attr:`config` read them.
        created_time, last_updated_time: milliseconds since the epoch.
    """

    name: str | None = None
    version: str | None = None
    description: str | None = None
    protocol: str | None = None
    parameters: Mapping[str, str] | None = None
    credential: Mapping[str, str] | None = field(default=None, repr=False)
    actions: Sequence[Mapping[str, Any]] | None = None
    client_config: Mapping[str, Any] | None = None
    backend_roles: Sequence[str] | None = None
    owner: Mapping[str, Any] | None = None
    access: str | None = None
    created_time: int | None = None
    last_updated_time: int | None = None

    @cached_property
    def kept(self) -> dict[str, Any]:
        """What was worked out of it, for whoever works it out; gone with it, and so never of an older state."""
        return {}

    @cached_property
    def config(self) -> ClientConfig:
        """The limits and repetitions of its calls."""
        return ClientConfig.from_json(self.client_config or {})

    @cached_property
    def each_action(self) -> Sequence[Action]:
        """Its actions."""
        given = self.actions or ()
        return [Action.from_json({**one, "action_type": str(one["action_type"]).lower()}) for one in given]

    def action(self, action_type: str) -> Action | None:
        """Return the action of a type, or None where there is none."""
        return next((one for one in self.each_action if one.action_type == action_type), None)

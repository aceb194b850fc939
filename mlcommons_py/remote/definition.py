"""What a client says of a connector: the body of ``_create`` and of ``PUT``, and a connector within a model, checked.

Texts and types are those of ``MLCreateConnectorInput.java``, ``AwsConnector.java`` and ``AbstractConnector.java``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from mlcommons_py import exact, fields
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.identifiers import MAX_DESCRIPTION, MAX_NAME, check_id, check_length
from mlcommons_py.remote import headers, identity, url
from mlcommons_py.remote.actions import check_actions
from mlcommons_py.remote.documents import Connector
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.identity import Identity
from mlcommons_py.remote.rehearsal import rehearse

_PROTOCOLS = ("aws_sigv4", "http", "mcp_sse", "mcp_streamable_http")
_ACCESS = ("access_mode", "backend_roles", "add_all_backend_roles")
_KNOWN = frozenset(
    "name description version protocol parameters credential actions client_config connector_id provisioned_by dry_run"
    " tenant_id url headers".split()
) | frozenset(_ACCESS)
_LONGEST = 32_000
"""Most bytes of a value: the fields of type ``flat_object`` hold none much longer."""

_POLICIES = ("constant", "exponential_equal_jitter", "exponential_full_jitter")
_DEFAULTS: Mapping[str, Any] = {
    "max_connection": 30,
    "connection_timeout": 30,
    "read_timeout": 30,
    "retry_backoff_millis": 200,
    "retry_timeout_seconds": 30,
    "max_retry_times": 0,
    "retry_backoff_policy": "constant",
    "skip_ssl_verification": False,
}
_OF_IDENTITY = ("mutual_tls_enabled", "keystore_type")
_LEAST = {"max_connection": 1, "max_retry_times": -1}


class Trusts(Protocol):
    """Knows which addresses may be called."""

    def check(self, url: str, /) -> object:
        """Refuse a URL that is not trusted, by :class:`~mlcommons_py.errors.IllegalArgument`."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a body says of a connector; None stands for what it does not say.

    Attributes:
        parameters: all values as texts.
        credential: not encrypted.
        actions: as they are stored.
        client_config: with its defaults.
    """

    name: str | None = None
    version: str | None = None
    description: str | None = None
    protocol: str | None = None
    parameters: Mapping[str, str] | None = None
    credential: Mapping[str, str] | None = dataclasses.field(default=None, repr=False)
    actions: Sequence[Mapping[str, Any]] | None = None
    client_config: Mapping[str, Any] | None = None
    provisioned_by: str | None = None
    connector_id: str | None = None
    dry_run: bool = False

    @classmethod
    def read(cls, body: Mapping[str, Any], *, within: str = "") -> Self:
        """Return what a body says; ``within`` is the field that has it, where it is not the whole body.

        Raises:
            IllegalArgument: a field is unknown, of the wrong type or out of bounds; the text names it.
        """
        _refuse_unknown(body, within)
        name, description = fields.text(body, "name"), fields.text(body, "description")
        check_length("name", name, MAX_NAME)
        check_length("description", description, MAX_DESCRIPTION)
        connector_id = body.get("connector_id")
        definition = cls(
            name=name,
            version=fields.text(body, "version"),
            description=description,
            protocol=fields.text(body, "protocol"),
            parameters=_parameters(body),
            credential=_credential(body),
            actions=check_actions(body),
            client_config=_client_config(body),
            provisioned_by=fields.text(body, "provisioned_by"),
            connector_id=None if connector_id is None else check_id("connector id", connector_id),
            dry_run=fields.boolean(body, "dry_run") or False,
        )
        if any(body.get(field) not in (None, []) for field in _ACCESS):
            raise IllegalArgument(
                "You cannot specify connector access control parameters because the Security plugin or connector access"
                " control is disabled on your cluster."
            )
        return definition

    def check_complete(self) -> None:
        """Refuse a new connector that lacks something.

        Raises:
            IllegalArgument: in ML Commons' words.
        """
        for field in ("name", "version", "protocol"):
            if getattr(self, field) is None:
                raise IllegalArgument(f"Connector {field} is null")
        check_protocol(self.protocol)
        if not self.credential:
            raise IllegalArgument("Connector credential is null or empty list")

    def onto(self, connector: Connector | None = None) -> dict[str, Any]:
        """Return the fields of the connector that becomes of another one, or of none, but for its credential.

        ``parameters`` are merged key by key; all else that is given replaces what was there.
        """
        before = {} if connector is None else connector.to_json()
        named = {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "protocol": self.protocol,
            "actions": self.actions,
            "client_config": self.client_config,
            "provisioned_by": self.provisioned_by,
        }
        merged = {**before, **{key: value for key, value in named.items() if value is not None}}
        if self.parameters:
            merged["parameters"] = {**(before.get("parameters") or {}), **self.parameters}
        return merged


def refuse_empty(definition: Definition, field: str) -> None:
    """Refuse an update with a credential that has nothing in it; ``field`` is where.

    Raises:
        IllegalArgument: it has one.
    """
    if definition.credential is not None and not definition.credential:
        raise IllegalArgument(f"[{field}] is empty; leave it out to keep the one that is stored")


def check_connector(
    trust: Trusts, functions: Functions, connector: Connector, new_credential: Mapping[str, str] | None = None
) -> None:
    """Refuse a connector that could not be called as it stands.

    Of its credential only the names are looked at; what is in ``new_credential`` is not encrypted yet.

    Raises:
        IllegalArgument: in ML Commons' words, where it has some.
    """
    check_protocol(connector.protocol)
    for action in connector.each_action:
        headers.check(action.headers)
    parameters, credential = connector.parameters or {}, connector.credential or {}
    identity.check(connector.config, credential)
    if connector.protocol == "aws_sigv4":
        if not {"access_key", "secret_key"} <= credential.keys():
            raise IllegalArgument("Missing credential")
        for field, text in (("service_name", "service name"), ("region", "region")):
            if field not in credential and field not in parameters:
                raise IllegalArgument(f"Missing {text}")
    if not connector.actions:
        raise IllegalArgument("No actions configured for this connector")
    for action in connector.each_action:
        trust.check(url.trusted(action.url, parameters))
    rehearse(connector, functions)
    shown = Identity.of(connector.config, new_credential) if new_credential else None
    if shown is not None:
        shown.context()


def check_protocol(protocol: str | None) -> None:
    """Refuse a protocol that is unknown, or that this version does not speak.

    Raises:
        IllegalArgument: it is.
    """
    if protocol is None:
        raise IllegalArgument("connector protocol is null")
    if protocol not in _PROTOCOLS:
        raise IllegalArgument(f"Unsupported connector protocol. Please use one of [{', '.join(_PROTOCOLS)}]")
    if protocol.startswith("mcp_"):
        raise IllegalArgument(f"Connector protocol {protocol} is not supported by this version; use aws_sigv4 or http")


def _refuse_unknown(body: Mapping[str, Any], within: str) -> None:
    where = f"{within}." if within else ""
    for field in body:
        if field not in _KNOWN:
            raise IllegalArgument(f"unknown field [{where}{field}]; a connector has {', '.join(sorted(_KNOWN))}")
    for field in ("url", "headers"):
        if body.get(field) is not None:
            raise IllegalArgument(f"[{where}{field}] is for MCP connectors; each of [actions] has its own")
    if body.get("tenant_id") is not None:
        raise IllegalArgument(f"[{where}tenant_id] cannot be given: there are no tenants in this version")


def _parameters(body: Mapping[str, Any]) -> dict[str, str] | None:
    given = fields.mapping(body, "parameters")
    if given is None:
        return None
    texts = {name: value if isinstance(value, str) else exact.dumps(value).decode() for name, value in given.items()}
    for name, text in texts.items():
        _check_value(f"parameters.{name}", text)
    return texts


def _credential(body: Mapping[str, Any]) -> dict[str, str] | None:
    texts = fields.text_values(body, "credential")
    for name, text in (texts or {}).items():
        _check_value(f"credential.{name}", text, most=_LONGEST // 2)
    return texts


def _check_value(field: str, text: str, most: int = _LONGEST) -> None:
    if len(field.encode()) + len(text.encode()) > most:
        raise IllegalArgument(f"[{field}] has more than {most} bytes, its name included")


def _client_config(body: Mapping[str, Any]) -> dict[str, Any] | None:
    given = fields.mapping(body, "client_config")
    if given is None:
        return None
    for field in given:
        if field not in (*_DEFAULTS, *_OF_IDENTITY):
            known = ", ".join((*_DEFAULTS, *_OF_IDENTITY))
            raise IllegalArgument(f"unknown field [client_config.{field}]; there are {known}")
    config = dict(_DEFAULTS)
    for field, default in _DEFAULTS.items():
        if isinstance(default, bool):
            value: Any = fields.boolean(given, field)
        elif isinstance(default, int):
            value = fields.integer(given, field, low=_LEAST.get(field, 0), high=2**31 - 1)
        else:
            value = fields.text(given, field)
            if value is not None and value.lower() not in _POLICIES:
                raise IllegalArgument("Unsupported retry backoff policy")
            value = None if value is None else value.lower()
        if value is not None:
            config[field] = value
    own = {
        "mutual_tls_enabled": fields.boolean(given, "mutual_tls_enabled"),
        "keystore_type": fields.text(given, "keystore_type"),
    }
    return {**config, **{field: value for field, value in own.items() if value is not None}}

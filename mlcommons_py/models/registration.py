"""What a client asks for when it registers a model: the body of ``_register`` and ``_register_meta``, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from mlcommons_py import fields
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.identifiers import MAX_DESCRIPTION, MAX_NAME, MODEL_ID, check_id, check_length
from mlcommons_py.models import config
from mlcommons_py.models.deploy_setting import deploy_setting
from mlcommons_py.models.documents import CHUNK_SIZE, MAX_MODEL_SIZE, Model
from mlcommons_py.models.groups import refuse_access_fields
from mlcommons_py.models.interface import interface
from mlcommons_py.models.limits import check_whole, rate_limiter
from mlcommons_py.models.states import FunctionName, ModelFormat, ModelState
from mlcommons_py.models.vocabulary import refuse_unknown
from mlcommons_py.store.record import now

_MAX_CHUNKS = -(-MAX_MODEL_SIZE // CHUNK_SIZE)


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A registration whose fields are of the right form.

    Attributes:
        function: what the model does.
        model_format: None for a remote model.
        url: where the archive is to be fetched from; None where its chunks are uploaded.
        connector_id, connector: of a remote model, one of the two; the connector as it was sent.
        total_chunks, size, digest: of the archive, as far as the client said.
    """

    name: str
    function: FunctionName
    model_format: ModelFormat | None
    model_config: Mapping[str, Any] | None
    model_id: str | None = None
    model_group_id: str | None = None
    description: str | None = None
    url: str | None = None
    total_chunks: int | None = None
    size: int | None = None
    digest: str | None = None
    is_enabled: bool | None = None
    rate_limiter: Mapping[str, Any] | None = None
    deploy_setting: Mapping[str, Any] | None = None
    interface: Mapping[str, Any] | None = None
    guardrails: Mapping[str, Any] | None = None
    connector_id: str | None = None
    connector: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of_meta(cls, body: Mapping[str, Any]) -> Self:
        """Return the registration that a ``_register_meta`` body asks for.

        Raises:
            IllegalArgument: a field is missing or wrong.
        """
        registration = cls._read(body, str(fields.text(body, "model_format") or ""))
        if registration.digest is None:
            raise IllegalArgument("model content hash value is null")
        if registration.total_chunks is None:
            raise IllegalArgument("total chunks field is null")
        size, chunks = registration.size, registration.total_chunks
        if size is not None and not chunks <= size <= chunks * CHUNK_SIZE:
            raise IllegalArgument(
                f"[model_content_size_in_bytes] {size} does not fit into [total_chunks] {chunks}"
                f" of 1 to {CHUNK_SIZE} bytes each"
            )
        return registration

    @classmethod
    def of_url(cls, body: Mapping[str, Any]) -> Self:
        """Return the registration that a ``_register`` body with a ``url`` asks for.

        Raises:
            IllegalArgument: a field is missing or wrong.
        """
        _refuse_pretrained(body)
        return cls._read(body, str(fields.text(body, "model_format") or "").upper())

    @classmethod
    def of_remote(cls, body: Mapping[str, Any]) -> Self:
        """Return the registration that a ``_register`` body of a remote model asks for.

        Raises:
            IllegalArgument: a field is missing or wrong.
        """
        registration = cls._read(body, None)
        connector_id, connector = fields.text(body, "connector_id"), fields.mapping(body, "connector")
        if connector_id is not None and connector is not None:
            raise IllegalArgument("a model has either a [connector_id] or a [connector], not both")
        if not connector_id and connector is None:
            raise IllegalArgument(
                "You must provide connector content when creating a remote model without connector id!"
            )
        return replace(registration, connector_id=connector_id or None, connector=connector)

    @classmethod
    def _read(cls, body: Mapping[str, Any], format_name: str | None) -> Self:
        """Read what all registrations have; a remote model has no format."""
        refuse_unknown(body)
        name = fields.text(body, "name")
        if name is None or not name.strip():
            raise IllegalArgument("model name is null")
        description = fields.text(body, "description")
        check_length("name", name, MAX_NAME)
        check_length("description", description, MAX_DESCRIPTION)
        function = FunctionName.named(fields.text(body, "function_name") or FunctionName.TEXT_EMBEDDING)
        if format_name == "":
            raise IllegalArgument("model format is null")
        model_format = None if format_name is None else ModelFormat.named(format_name)
        digest = fields.text(body, "model_content_hash_value")
        refuse_access_fields(body)
        model_id = body.get("model_id")
        limiter = rate_limiter(body)
        check_whole(limiter or {}, "rate_limiter")
        return cls(
            name=name,
            function=function,
            model_format=model_format,
            digest=None if digest is None else digest.lower(),
            total_chunks=fields.integer(body, "total_chunks", low=1, high=_MAX_CHUNKS),
            model_config=config.read(body, function, model_format),
            model_id=None if model_id is None else check_id(MODEL_ID, model_id),
            model_group_id=(fields.text(body, "model_group_id") or "").strip() or None,
            description=description,
            url=fields.text(body, "url"),
            size=fields.integer(body, "model_content_size_in_bytes", low=1, high=MAX_MODEL_SIZE),
            is_enabled=fields.boolean(body, "is_enabled"),
            rate_limiter=limiter,
            deploy_setting=deploy_setting(body),
            interface=interface(body),
            guardrails=fields.mapping(body, "guardrails"),
        )

    @property
    def is_remote(self) -> bool:
        """Whether the model lives at a provider."""
        return self.function is FunctionName.REMOTE

    def model(self, group_id: str, version: int) -> Model:
        """Return the model as it is stored first: a local one while its content is on its way."""
        at = now()
        return Model(
            name=self.name,
            model_group_id=group_id,
            algorithm=self.function,
            model_version=str(version),
            description=self.description,
            model_format=self.model_format,
            model_state=ModelState.REGISTERED if self.is_remote else ModelState.REGISTERING,
            model_content_size_in_bytes=self.size,
            model_content_hash_value=self.digest,
            model_config=self.model_config,
            deploy_setting=self.deploy_setting,
            is_enabled=self.is_enabled,
            rate_limiter=self.rate_limiter,
            interface=self.interface,
            guardrails=self.guardrails,
            connector_id=self.connector_id,
            connector=self.connector,
            created_time=at,
            last_updated_time=at,
            last_registered_time=at if self.is_remote else None,
            total_chunks=self.total_chunks,
        )


def _refuse_pretrained(body: Mapping[str, Any]) -> None:
    """Refuse what upstream would take for a model of its own repository: nothing but a name such as that has."""
    name = body.get("name")
    if not isinstance(name, str) or "/" not in name.strip():
        return
    if all(body.get(field) is None for field in ("url", "model_config", "connector", "connector_id")):
        raise IllegalArgument(
            f"[{name[:MAX_NAME]}] has no [url], and this version has no pretrained models: fetch the model and register"
            " its directory with mlcommons register DIRECTORY, or give the [url] of its archive"
        )

"""Model groups and models as they are stored: the documents of ML Commons' system indices.

Field names, their types and their order are those of ``MLModelGroup.java`` and ``MLModel.java``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlcommons_py.models.states import FunctionName, ModelState
from mlcommons_py.store.record import Record

GROUPS = ".plugins-ml-model-group"
MODELS = ".plugins-ml-model"
SEARCHED = (
    "name",
    "description",
    "algorithm",
    "model_version",
    "model_group_id",
    "model_id",
    "model_format",
    "model_state",
    "state_reason",
    "model_config.model_type",
    "model_config.framework_type",
    "model_config.all_config",
    "connector_id",
    "connector.name",
    "connector.description",
    "connector.protocol",
)
"""The fields of models that a search without fields looks at."""

CHUNK_SIZE = 10_000_000
MAX_MODEL_SIZE = 4 << 30


@dataclass(frozen=True, kw_only=True)
class ModelGroup(Record):
    """A model group: the versions of one model.

    Attributes:
        latest_version: number of the newest version; 0 while there is none.
        created_time, last_updated_time: milliseconds since the epoch.
    """

    name: str
    latest_version: int = 0
    description: str | None = None
    backend_roles: Sequence[str] | None = None
    owner: Mapping[str, Any] | None = None
    access: str | None = "public"
    created_time: int | None = None
    last_updated_time: int | None = None


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """A model's meta document.

    Attributes:
        algorithm: its function name, under the key that ML Commons stores it.
        model_version: number within its group, as text.
        model_content_hash_value: SHA-256 of the archive, in hex.
        planning_worker_nodes: nodes that should have it; this is the desired state.
        connector_id, connector: of a remote model, the connector by its id or in full; its credential is encrypted.
        state_reason: why the state is not what one would wish.
        register_task_id: the task that fetches the content of a model that is being registered from a URL.
        deploy_to_all_nodes: whether all nodes should have it; ML Commons' plugin takes that for all of its own.
        deploy_to_all_services: whether all services should have it, whatever the plugin makes of the plan. This,
            ``state_reason`` and ``register_task_id`` are ours, beside ML Commons' fields.
    """

    name: str
    model_group_id: str | None = None
    algorithm: str = "TEXT_EMBEDDING"
    model_version: str | None = None
    description: str | None = None
    model_format: str | None = None
    model_state: str | None = None
    state_reason: str | None = None
    register_task_id: str | None = None
    connector_id: str | None = None
    connector: Mapping[str, Any] | None = None
    model_content_size_in_bytes: int | None = None
    model_content_hash_value: str | None = None
    model_config: Mapping[str, Any] | None = None
    deploy_setting: Mapping[str, Any] | None = None
    is_enabled: bool | None = None
    is_controller_enabled: bool | None = None
    rate_limiter: Mapping[str, Any] | None = None
    interface: Mapping[str, Any] | None = None
    guardrails: Mapping[str, Any] | None = None
    created_time: int | None = None
    last_updated_time: int | None = None
    last_registered_time: int | None = None
    last_deployed_time: int | None = None
    last_undeployed_time: int | None = None
    auto_redeploy_retry_times: int | None = None
    total_chunks: int | None = None
    planning_worker_node_count: int | None = None
    current_worker_node_count: int | None = None
    planning_worker_nodes: Sequence[str] | None = None
    deploy_to_all_nodes: bool | None = None
    deploy_to_all_services: bool | None = None

    @cached_property
    def kept(self) -> dict[str, Any]:
        """What was worked out of it, for whoever works it out; gone with it, and so never of an older state."""
        return {}

    @property
    def state(self) -> ModelState:
        """The state as an enumeration."""
        return ModelState(self.model_state or ModelState.REGISTERED)

    @property
    def is_remote(self) -> bool:
        """Whether the model lives at a provider."""
        return self.algorithm == FunctionName.REMOTE

    @property
    def time_to_live(self) -> float | None:
        """Seconds after its last use in which the model is undeployed; None for never."""
        minutes = (self.deploy_setting or {}).get("model_ttl_minutes")
        return 60.0 * minutes if isinstance(minutes, int) and minutes > 0 else None

    @property
    def config(self) -> Mapping[str, Any]:
        """The model's config; empty where none is stored."""
        return self.model_config or {}

    @property
    def compute_type(self) -> str:
        """The CTranslate2 type to run with."""
        return str(self.config.get("compute_type") or "float32")


def chunk_id(model_id: str, number: int) -> str:
    """Return the id of a chunk's document."""
    return f"{model_id}_{number}"

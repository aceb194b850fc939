"""The keys of the ``plugins.ml_commons.*`` settings: their types, bounds and defaults.

Names, bounds and defaults are ML Commons' (``MLCommonsSettings.java``).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.expressions import compiled

PREFIX = "plugins.ml_commons."

Kind = Literal["bool", "int", "float", "string", "strings", "bytes"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key.

    Attributes:
        kind: ``strings`` is a list of strings, ``bytes`` a size such as ``5gb`` (``-1`` for none).
        low, high: bounds of a number, inclusive.
        dynamic: whether the settings API may change it; the others are given at start only.
        check: raises :class:`IllegalArgument` for a value that is of the right type and still wrong.
    """

    default: Any
    kind: Kind
    low: float = -math.inf
    high: float = math.inf
    dynamic: bool = True
    check: Callable[[str, Any], None] | None = None


def _regex(key: str, value: str) -> None:
    try:
        re.compile(value)
    except re.error as fault:
        raise IllegalArgument(f"[{key}] is not a regular expression: {fault}") from fault


_NESTED_OR_BACK = re.compile(r"\([^)]*[*+?]\)[*+?{]|\\[1-9]")
_LONGEST_REGEX = 256


def _safe_regexes(key: str, values: list[str]) -> None:
    for value in values:
        if _NESTED_OR_BACK.search(value):
            raise IllegalArgument(
                f"Regex pattern contains nested quantifiers or backreferences that may cause ReDoS: {value}"
            )
        if len(value) > _LONGEST_REGEX:
            raise IllegalArgument(f"Regex pattern too long (max {_LONGEST_REGEX} chars): {value}")
        compiled(value, key)


def _policy(key: str, value: str) -> None:
    if value not in ("round_robin", "least_load"):
        raise IllegalArgument(f"[{key}] must be round_robin or least_load, not [{value}]")


_LAST_INT = (1 << 31) - 1


def _bool(default: bool, dynamic: bool = True) -> Setting:
    return Setting(default, "bool", dynamic=dynamic)


def _int(default: int, low: float = 0, high: float = _LAST_INT, dynamic: bool = True) -> Setting:
    return Setting(default, "int", low, high, dynamic)


def _text(default: str, check: Callable[[str, Any], None] | None = None, dynamic: bool = True) -> Setting:
    return Setting(default, "string", dynamic=dynamic, check=check)


def _texts(*default: str, check: Callable[[str, Any], None] | None = None, dynamic: bool = True) -> Setting:
    return Setting(list(default), "strings", dynamic=dynamic, check=check)


_AMAZON = r"\..*[a-z0-9-]\.amazonaws\.com"

_TABLE: dict[str, Setting] = {
    # where work goes, and how much of it
    "task_dispatch_policy": _text("round_robin", _policy),
    "max_model_on_node": _int(10, 0, 10_000),
    "max_register_model_tasks_per_node": _int(10, 0, 10),
    "max_deploy_model_tasks_per_node": _int(10, 0, 10),
    "max_ml_task_per_node": _int(10, 0, 10_000),
    "max_batch_inference_tasks": _int(100, 0, 10_000),
    "max_batch_ingestion_tasks": _int(100, 0, 10_000),
    "batch_ingestion_bulk_size": _int(500, 100, 100_000),
    "only_run_on_ml_node": _bool(True),
    "exclude_nodes._name": _text(""),
    "allow_custom_deployment_plan": _bool(False),
    "task_dispatcher.eligible_node_role.remote_model": _texts("data", "ml"),
    "task_dispatcher.eligible_node_role.local_model": _texts("data", "ml"),
    "sync_up_job_interval_in_seconds": _int(10, 0, 86_400),
    "ml_task_timeout_in_seconds": _int(600, 1, 86_400),
    "monitoring_request_count": _int(100, 0, 10_000_000),
    "native_memory_threshold": _int(90, 0, 100),
    "jvm_heap_memory_threshold": _int(85, 0, 100),
    "disk_free_space_threshold": Setting("5gb", "bytes"),
    "max_json_size": _int(100_000_000, -1),
    # models
    "model_auto_deploy.enable": _bool(True),
    "model_auto_redeploy.enable": _bool(True),
    "model_auto_redeploy.lifetime_retry_times": _int(3, -_LAST_INT - 1),
    "model_auto_redeploy_success_ratio": Setting(0.8, "float", 0, 1),
    "allow_registering_model_via_url": _bool(False),
    "allow_registering_model_via_local_file": _bool(False),
    "trusted_url_regex": _text(r"^(https?|ftp|file)://[-a-zA-Z0-9+&@#/%?=~_|!:,.;]*[-a-zA-Z0-9+&@#/%=~_|]", _regex),
    "local_model.enabled": _bool(True),
    "model_access_control_enabled": _bool(False),
    "safe_delete_model": _bool(False),
    "controller_enabled": _bool(True),
    "stream_enabled": _bool(False),
    "enable_inhouse_python_model": _bool(False),
    # remote models and their connectors
    "remote_inference.enabled": _bool(True),
    "connector_access_control_enabled": _bool(False),
    "connector.private_ip_enabled": _bool(False),
    "connector.restricted_ip_patterns": _texts(check=_safe_regexes, dynamic=False),
    "trusted_connector_endpoints_regex": _texts(
        rf"^https://runtime\.sagemaker{_AMAZON}/.*$",
        rf"^https://api\.sagemaker{_AMAZON}/.*$",
        r"^https://api\.openai\.com/.*$",
        r"^https://api\.cohere\.ai/.*$",
        r"^https://api\.deepseek\.com/.*$",
        r"^https://generativelanguage\.googleapis\.com/.*$",
        rf"^https://bedrock-runtime{_AMAZON}/.*$",
        rf"^https://bedrock-agent-runtime{_AMAZON}/.*$",
        rf"^https://bedrock{_AMAZON}/.*$",
        rf"^https://textract{_AMAZON}$",
        rf"^https://comprehend{_AMAZON}$",
        rf"^https://rekognition(-fips)?{_AMAZON}$",
        check=_safe_regexes,
    ),
    "trusted_connector_private_endpoints_regex": _texts(check=_safe_regexes),
    "offline_batch_ingestion_enabled": _bool(True),
    "offline_batch_inference_enabled": _bool(True),
    "remote_job.status_field": _texts("status", "Status", "TransformJobStatus"),
    "remote_job.status_regex.completed": _text("(complete|completed|partiallyCompleted)", _regex),
    "remote_job.status_regex.cancelled": _text("(stopped|cancelled)", _regex),
    "remote_job.status_regex.cancelling": _text("(stopping|cancelling)", _regex),
    "remote_job.status_regex.expired": _text("(expired|timeout)", _regex),
    "remote_job.status_regex.failed": _text("(failed)", _regex),
    # agents, tools and memory
    "agent_framework_enabled": _bool(True),
    "unified_agent_api_enabled": _bool(False),
    "agentic_search_template_enabled": _bool(False),
    "execute_tools_enabled": _bool(True),
    "ag_ui_enabled": _bool(False),
    "index_insight_feature_enabled": _bool(False),
    "mcp_connector_enabled": _bool(False),
    "mcp_server_enabled": _bool(False),
    "mcp_header_passthrough_enabled": _bool(False),
    "rag_pipeline_feature_enabled": _bool(True),
    "memory_feature_enabled": _bool(True),
    "agentic_memory_enabled": _bool(True),
    "remote_agentic_memory_enabled": _bool(False),
    "memory.retention_enabled": _bool(False),
    "memory.retention_job_interval_hours": _int(24, 1, 168),
    "memory.retention_job_throttle_seconds": _int(5, 1, 60),
    "memory.orphan_ttl_days": _int(7, 1, 365),
    "memory.working_memory_ttl_days": _int(-1, -1, 365),
    "memory.default_session_retention_days": _int(-1, -1, 3650),
    "memory.default_session_max_count": _int(-1, -1, 1_000_000),
    "memory.default_long_term_max_count": _int(-1, -1, 1_000_000),
    "memory.default_history_max_count": _int(-1, -1, 10_000_000),
    # the node itself
    "multi_tenancy_enabled": _bool(False, dynamic=False),
    "master_key_cache_ttl_minutes": _int(5, 1, 1440, dynamic=False),
    "remote_metadata_type": _text("", dynamic=False),
    "remote_metadata_endpoint": _text("", dynamic=False),
    "remote_metadata_region": _text("", dynamic=False),
    "remote_metadata_service_name": _text("", dynamic=False),
    "metrics_collection_enabled": _bool(False, dynamic=False),
    "metrics_static_collection_enabled": _bool(False),
}

SETTINGS: Mapping[str, Setting] = {PREFIX + name: setting for name, setting in _TABLE.items()}
"""Every key this version knows, by its full name."""

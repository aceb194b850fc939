"""Fields that models do not have are refused; those that clients send are not."""

import pytest

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.vocabulary import refuse_unknown

PY_ML = """name version description model_format model_task_type model_config model_content_size_in_bytes
    model_content_hash_value total_chunks model_group_id"""
META = """name function_name description version model_format model_state model_content_size_in_bytes model_config
    model_content_hash_value total_chunks model_group_id model_id is_enabled rate_limiter deploy_setting interface
    backend_roles model_access_mode access_mode add_all_backend_roles"""
REGISTER = """name function_name version model_group_id model_id description is_enabled rate_limiter url model_config
    model_content_hash_value model_format deploy_setting deploy_model model_node_ids connector connector_id access_mode
    backend_roles add_all_backend_roles guardrails interface provisioned_by tenant_id"""
UPDATE = """model_id description model_version name model_group_id is_enabled rate_limiter model_config deploy_setting
    connector_id connector last_updated_time guardrails interface tenant_id"""
DOCUMENT = """name model_group_id algorithm model_version model_format model_state state_reason created_time
    last_updated_time last_registered_time planning_worker_nodes deploy_to_all_nodes is_controller_enabled"""


@pytest.mark.parametrize("names", [PY_ML, META, REGISTER, UPDATE, DOCUMENT])
def test_what_clients_send(names: str) -> None:
    """What opensearch-py-ml sends, what ML Commons' inputs have, and a document that was read, may be sent."""
    refuse_unknown(dict.fromkeys(names.split()))


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("guardrail", "did you mean [guardrails]?"),
        ("rate_limit", "did you mean [rate_limiter]?"),
        ("Interface", "did you mean [interface]?"),
        ("nonsense", "models have none of that name"),
        ("other", "models have none of that name"),
    ],
)
def test_what_is_a_mistake(field: str, hint: str) -> None:
    """Any other field is refused, with the one that may have been meant."""
    with pytest.raises(IllegalArgument) as refused:
        refuse_unknown({"name": "m", field: {}})

    assert refused.value.reason == f"unknown field [{field}]; {hint}"


def test_a_registration_does_not_tell_its_credential() -> None:
    """What a registration prints has no part of the connector that it brings."""
    secret = "sk-the-canary-in-the-coal-mine"
    body = {"name": "m", "function_name": "remote", "connector": {"credential": {"key": secret}}}

    assert secret not in repr(Registration.of_remote(body))

"""The names of fields that clients send of models. What is none of them is a mistake, and is not passed over."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.models.documents import Model

_STORED = {field.name for field in dataclasses.fields(Model)} - {"other"}
_SENT = set(
    "function_name version url model_id model_node_ids deploy_model access_mode model_access_mode backend_roles"
    " add_all_backend_roles provisioned_by tenant_id is_hidden user chunk_number model_content content"
    " model_task_type ui_metadata".split()
)
"""Of ``MLRegisterModelInput``, ``MLRegisterModelMetaInput``, ``MLUpdateModelInput`` and the model index, beside those
of the document; and what opensearch-py-ml and Dashboards add."""

_KNOWN = frozenset(_STORED | _SENT)
_SHOWN = 100


def refuse_unknown(body: Mapping[str, Any]) -> None:
    """Refuse a body with a field that models do not have: a guardrail under a wrong name would guard nothing.

    Fields that are known but mean nothing in this body are let through, as ML Commons does.

    Raises:
        IllegalArgument: there is one; the text names it, and the field that may have been meant.
    """
    for field in body:
        if field not in _KNOWN:
            near = difflib.get_close_matches(field[:_SHOWN], sorted(_KNOWN), 1, 0.75)
            hint = f"did you mean [{near[0]}]?" if near else "models have none of that name"
            raise IllegalArgument(f"unknown field [{field[:_SHOWN]}]; {hint}")

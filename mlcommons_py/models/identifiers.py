"""The name that models' modules know :mod:`mlcommons_py.identifiers` by."""

from mlcommons_py.identifiers import MAX_DESCRIPTION, MAX_NAME, MODEL_ID, check_id, check_length, check_safe_text

__all__ = ["MAX_DESCRIPTION", "MAX_NAME", "MODEL_ID", "check_id", "check_length", "check_safe_text"]

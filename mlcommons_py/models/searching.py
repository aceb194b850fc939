"""The name that models' modules know :mod:`mlcommons_py.store.client_search` by."""

from mlcommons_py.store.client_search import api_body, exactly, found

__all__ = ["api_body", "exactly", "found"]

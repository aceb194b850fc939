"""The store in a cluster keeps the contract, and what is true of its indices."""

import pytest

from mlcommons_py.store import Store
from mlcommons_py.store.opensearch import OpenSearchStore
from tests.store.contract import StoreContract
from tests.store.search_contract import SearchContract


@pytest.fixture
def store(in_cluster: OpenSearchStore) -> Store:
    """The store under test."""
    return in_cluster


class TestContract(StoreContract):
    """Reads and writes."""


class TestSearches(SearchContract):
    """Searches."""

"""Semantic search as users build it: embeddings of the service's, in a cluster with the k-NN plugin, by one client."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from opensearchpy import OpenSearch
from opensearchpy.helpers import bulk, scan

from scripts.opensearch import Node
from tests.e2e.api import PATIENCE
from tests.e2e.conftest import TINY
from tests.e2e.service import Service

pytestmark = pytest.mark.only("opensearch", reason="the embedded store keeps no indices of users")

TITLES = [f"{one} {other}" for one in ("red", "green", "old") for other in ("apples", "cars in the city", "rain", "7")]
INDEX = {
    "settings": {"index.knn": True, "number_of_replicas": 0},
    "mappings": {
        "properties": {
            "title": {"type": "text"},
            "vector": {
                "type": "knn_vector",
                "dimension": 32,
                # The distribution's own engine, faiss, has its native library only there.
                "method": {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"},
            },
        }
    },
}


@pytest.fixture
def client(service: Service) -> OpenSearch:
    """opensearch-py, which knows the service only."""
    return OpenSearch(str(service.http.base_url), timeout=PATIENCE)


def embed(client: OpenSearch, model_id: str, texts: list[str]) -> NDArray[np.float64]:
    """Return the embeddings of texts, ``[texts, dimension]``."""
    answer = client.transport.perform_request(
        "POST",
        f"/_plugins/_ml/models/{model_id}/_predict",
        body={"text_docs": texts, "target_response": ["sentence_embedding"]},
    )
    return np.array([one["output"][0]["data"] for one in answer["inference_results"]])


def nearest(client: OpenSearch, vector: NDArray[np.float64]) -> list[tuple[str, float]]:
    """Return the titles of the documents that are nearest to a vector, with their scores."""
    query: dict[str, Any] = {"knn": {"vector": {"vector": vector.tolist(), "k": 5}}}
    hits = client.search(index="books", body={"query": query, "size": 5, "_source": ["title"]})["hits"]["hits"]
    return [(hit["_source"]["title"], hit["_score"]) for hit in hits]


def test_semantic_search(client: OpenSearch, service: Service, tiny: bytes, own_cluster: Node) -> None:
    """What a query finds is what lies nearest to it, also after a snapshot was taken, the index lost, and restored."""
    model_id = service.deployed(tiny, **TINY)
    assert client.indices.create(index="books", body=INDEX)["acknowledged"]
    vectors = embed(client, model_id, TITLES)
    actions = (
        {"_index": "books", "_id": str(number), "title": title, "vector": vector.tolist()}
        for number, (title, vector) in enumerate(zip(TITLES, vectors, strict=True))
    )
    assert bulk(client, actions, refresh=True, chunk_size=5) == (len(TITLES), [])

    query = embed(client, model_id, ["a green car in a city"])[0]
    products = vectors @ query
    order = np.argsort(-products)[:5]
    found = nearest(client, query)
    assert [title for title, _ in found] == [TITLES[place] for place in order]
    np.testing.assert_allclose([score for _, score in found], 1 + products[order], atol=1e-4)
    for title in TITLES:
        assert nearest(client, embed(client, model_id, [title])[0])[0][0] == title

    kept = {hit["_id"]: hit["_source"]["vector"] for hit in scan(client, index="books", size=5)}
    np.testing.assert_allclose([kept[str(number)] for number in range(len(TITLES))], vectors)
    location = str(own_cluster.directory / "snapshots")
    client.snapshot.create_repository(repository="here", body={"type": "fs", "settings": {"location": location}})
    taken = client.snapshot.create(
        repository="here", snapshot="one", body={"indices": "books"}, params={"wait_for_completion": "true"}
    )
    assert taken["snapshot"]["state"] == "SUCCESS"
    client.indices.delete(index="books")
    client.snapshot.restore(repository="here", snapshot="one", params={"wait_for_completion": "true"})
    assert nearest(client, query) == found
    client.snapshot.delete_repository(repository="here")

"""The documents that the search contract looks for."""

from typing import Any

MODELS: dict[str, dict[str, Any]] = {
    "m1": {
        "name": "All MiniLM L6",
        "description": "Sentence embeddings, small",
        "algorithm": "TEXT_EMBEDDING",
        "model_state": "DEPLOYED",
        "model_version": "1",
        "created_time": 1_700_000_000_000,
        "is_hidden": False,
        "model_config": {"model_type": "bert", "embedding_dimension": 384},
        "planning_worker_nodes": ["n1", "n2"],
    },
    "m2": {
        "name": "all-mpnet-base",
        "description": "Larger embeddings of sentences",
        "algorithm": "TEXT_EMBEDDING",
        "model_state": "REGISTERED",
        "model_version": "2",
        "created_time": 1_700_000_001_000,
        "model_config": {"model_type": "mpnet", "embedding_dimension": 768},
        "planning_worker_nodes": [],
    },
    "m3": {
        "name": "GPT",
        "description": "a remote model",
        "algorithm": "REMOTE",
        "model_state": "PARTIALLY_DEPLOYED",
        "model_version": "10",
        "created_time": 1_700_000_002_500,
        "is_hidden": True,
        "connector": {
            "name": "OpenAI chat",
            "actions": [{"method": "POST", "url": "u1"}, {"method": "GET", "url": "u2"}],
        },
        "ratio": 0.5,
    },
    "m4": {
        "name": "größe * 100%",
        "algorithm": "REMOTE",
        "model_state": "DEPLOY_FAILED",
        "connector": {"name": "Cohere"},
    },
    "m1_0": {"model_id": "m1", "chunk_number": 0, "total_chunks": 2},
    "m1_1": {"model_id": "m1", "chunk_number": 1, "total_chunks": 2},
}

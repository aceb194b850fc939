"""The real ML Commons, and what both it and the service are told."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from scripts.opensearch import Node
from tests.e2e.api import PATIENCE, Api, padded

TEXTS: list[str | None] = ["rain", "Where does it rain in the spring?", "Ünïcödé, 東京, and a sentence that is longer."]
_TRACED = Path(__file__).parents[1] / "data" / "traced"


class Peer(Api):
    """The real ML Commons on a node."""

    def __init__(self, node: Node) -> None:
        super().__init__(httpx.Client(base_url=node.url, timeout=PATIENCE))


@dataclass(frozen=True)
class Archive:
    """A small TorchScript archive.

    Attributes:
        content: the file.
        fields: what it is registered with.
    """

    content: bytes
    fields: dict[str, Any]

    def padded(self) -> "Archive":
        """Return the same model in an archive of three chunks."""
        return Archive(padded(self.content, 21_000_000), self.fields)


def traced(name: str) -> Archive:
    """Return one of the archives of ``tests/data/traced``."""
    said = json.loads((_TRACED / f"{name}.json").read_text())
    fields = {key: said[key] for key in ("function_name", "model_format", "model_config")}
    return Archive((_TRACED / f"{name}.zip").read_bytes(), fields)


def embeddings(api: Api, model_id: str) -> list[list[float]]:
    """Return what a deployed model makes of :data:`TEXTS`."""
    return api.embed(model_id, TEXTS, target_response=["sentence_embedding"])


def least_cosine(ones: list[list[float]], others: list[list[float]]) -> float:
    """Return the smallest cosine of any two vectors in the same row."""
    one, other = np.array(ones, np.float64), np.array(others, np.float64)
    assert one.shape == other.shape
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / norms).min())


def search(api: Api, noun: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the hits of a search for models, groups or tasks, by id."""
    answer = api.ml("POST", f"/{noun}/_search", json={"query": query, "size": 1000})
    assert answer["hits"]["total"]["value"] == len(answer["hits"]["hits"])
    return sorted(answer["hits"]["hits"], key=lambda hit: str(hit["_id"]))


def state(api: Api, model_id: str) -> str:
    """Return the state of a model."""
    return str(api.ml("GET", f"/models/{model_id}")["model_state"])


def chunks(api: Api, model_id: str) -> int:
    """Return how many chunks of a model there are."""
    return len(search(api, "models", {"term": {"model_id": model_id}}))

"""Vectors over REST against those that torch made."""

import base64
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.service import Service

DATA = Path(__file__).parents[1] / "data"
GOLDEN = json.loads((DATA / "golden-minilm.json").read_text())


def golden(max_tokens: int) -> NDArray[np.float32]:
    """Return the vectors that torch made of the golden texts, cut at so many tokens."""
    packed = base64.b64decode(GOLDEN[f"vectors_max_{max_tokens}"])
    return np.frombuffer(packed, "<f4").reshape(-1, GOLDEN["dimension"])


def cosines(vectors: list[list[float]], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of each row with the one expected."""
    one, other = np.array(vectors, np.float64), expected.astype(np.float64)
    products: NDArray[np.float64] = (one * other).sum(1)
    norms: NDArray[np.float64] = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return products / norms


def test_alone(shared: Service, minilm: str) -> None:
    """Each golden text, sent by itself, gets its vector."""
    vectors = [shared.embed(minilm, [text])[0] for text in GOLDEN["texts"]]

    assert cosines(vectors, golden(256)).min() >= 0.99999


@pytest.mark.parametrize("size", [2, 7, 32, 200])
def test_in_batches(shared: Service, minilm: str, size: int) -> None:
    """The golden texts get their vectors in any order and in batches of any size, several at a time."""
    order = list(range(len(GOLDEN["texts"])))
    random.Random(size).shuffle(order)
    batches = [order[start : start + size] for start in range(0, len(order), size)]

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda batch: shared.embed(minilm, [GOLDEN["texts"][i] for i in batch]), batches)
        vectors = [vector for answer in answers for vector in answer]

    assert cosines(vectors, golden(256)[order]).min() >= 0.99999


def test_shorter(shared: Service, minilm_zip: Path) -> None:
    """model_max_length cuts texts where it says, as the golden vectors of 128 tokens were cut."""
    config = {"model_max_length": 128}
    model_id = shared.deployed(minilm_zip.read_bytes(), name="all-MiniLM-L6-v2", model_config=config)

    vectors = shared.embed(model_id, GOLDEN["texts"])

    assert cosines(vectors, golden(128)).min() >= 0.99999
    shared.ml("POST", f"/models/{model_id}/_undeploy")


@pytest.mark.parametrize(
    "name",
    [
        "bert-mean-normalized",
        "bert-cls-gelu-new",
        "bert-max",
        "distilbert-mean-dense",
        "roberta-mean-normalized",
        "mpnet-mean-normalized",
    ],
)
def test_traced(shared: Service, name: str) -> None:
    """Each traced archive, registered as its maker says, answers as torch did."""
    description: dict[str, Any] = json.loads((DATA / "traced" / f"{name}.json").read_text())
    archive = (DATA / "traced" / f"{name}.zip").read_bytes()
    fields = {key: description[key] for key in ("function_name", "model_format", "model_config")}
    model_id = shared.deployed(archive, name=name, **fields)

    vectors = shared.embed(model_id, [one["text"] for one in description["expected"]])

    expected = [one["vector"] for one in description["expected"]]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    shared.ml("POST", f"/models/{model_id}/_undeploy")

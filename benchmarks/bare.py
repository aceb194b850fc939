"""The engine without a service: texts to vectors in one process, for comparison.

Reads lines ``WORKLOAD SECONDS`` and answers each with the texts embedded a second. Tokenising, pooling and normalising
are included; texts are sorted by length and cut into batches of so many padded tokens, which two or more threads run.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctranslate2
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.texts import workload
from mlcommons_py import malloc


def batches(lengths: list[int], budget: int) -> list[list[int]]:
    """Return the places of texts, cut into batches of like length."""
    cut: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        if not cut or lengths[cut[-1][0]] * (len(cut[-1]) + 1) > budget:
            cut.append([])
        cut[-1].append(place)
    return cut


def main(directory: Path, compute_type: str, threads: int, budget: int) -> None:
    """Serve the lines of standard input."""
    malloc.tune(mapped_from=64 << 20)  # as the worker does
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    encoder = ctranslate2.Encoder(str(directory), compute_type=compute_type, inter_threads=threads, intra_threads=1)

    def embed(ids: list[list[int]]) -> NDArray[np.float32]:
        hidden = np.array(encoder.forward_batch(ids).last_hidden_state)
        pooled = np.stack([row[: len(one)].mean(0) for row, one in zip(hidden, ids, strict=True)])
        normalized: NDArray[np.float32] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return normalized

    with ThreadPoolExecutor(threads) as pool:
        for line in sys.stdin:
            name, seconds = line.split()
            texts, done, began = workload(name), 0, time.perf_counter()
            while time.perf_counter() - began < float(seconds):
                encoded = [one.ids for one in tokenizer.encode_batch(texts)]
                cut = batches([len(ids) for ids in encoded], budget)
                list(pool.map(embed, ([encoded[place] for place in batch] for batch in cut)))
                done += len(texts)
            print(done / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

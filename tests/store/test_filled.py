"""Documents with content, as they are sent."""

import base64
import secrets
import tracemalloc

import orjson
import pytest

from mlcommons_py.store.filled import Filled


@pytest.mark.parametrize("encoded", [b"{}", b'{"n":1}'])
@pytest.mark.parametrize("length", [0, 1, 2, 3, (192 << 10) - 1, 192 << 10, (192 << 10) + 1, 1_000_000])
def test_whole(encoded: bytes, length: int) -> None:
    """The pieces are the document with its content in base64, of the length that was told, each time anew."""
    content = secrets.token_bytes(length)
    filled = Filled(encoded, content)
    whole = b"".join(filled.pieces())

    assert orjson.loads(whole) == {**orjson.loads(encoded), "model_content": base64.b64encode(content).decode()}
    assert len(filled) == len(whole)
    assert b"".join(filled.pieces()) == whole


def test_memory() -> None:
    """While it is sent, no more than a small part of it is in memory beside the content itself."""
    filled = Filled(b"{}", bytes(10_000_000))
    tracemalloc.start()
    try:
        sent = sum(map(len, filled.pieces()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sent == len(filled) > 13_000_000
    assert peak < 1_000_000

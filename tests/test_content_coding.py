"""Content codings, undone piece by piece."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_py.content_coding import Decoder


def bare(text: bytes) -> bytes:
    """Return deflated data, with neither head nor end."""
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflating.compress(text) + deflating.flush()


MADE: dict[str, list[Callable[[bytes], bytes]]] = {
    "gzip": [gzip.compress, zlib.compress],
    "deflate": [zlib.compress, bare, gzip.compress],
}


@given(st.data())
def test_what_was_compressed_comes_out_as_it_was(data: st.DataObject) -> None:
    """Whoever compressed it, in however many members, and wherever it is cut; it is complete only at its end."""
    coding = data.draw(st.sampled_from(sorted(MADE)))
    texts = data.draw(st.lists(st.binary(max_size=50) | st.just(bytes(600 << 10)), min_size=1, max_size=3))
    make = data.draw(st.sampled_from(MADE[coding]))
    packed = make(texts[0]) if make is bare else b"".join(map(make, texts))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(packed)), max_size=5)))
    decoder = Decoder(coding)
    found: list[bytes] = []
    for begin, end in zip([0, *cuts], [*cuts, len(packed)], strict=True):
        found += decoder.decoded(packed[begin:end])
        if 0 < end < len(packed) and len(texts) == 1:
            assert not decoder.complete

    assert b"".join(found) == (texts[0] if make is bare else b"".join(texts))
    assert decoder.complete


def test_pieces_are_bounded() -> None:
    """However much there is in a few bytes, no more is made of them at a time than was asked for, and a piece."""
    decoder = Decoder("gzip")
    decoder.feed(gzip.compress(bytes(8 << 20)))

    sizes = [len(decoder.take()), sum(map(len, decoder.pieces(1 << 20)))]
    rest = sum(map(len, decoder.pieces(100 << 20)))

    assert sizes == [256 << 10, 1 << 20]
    assert (sum(sizes) + rest, decoder.hungry) == (8 << 20, True)


@pytest.mark.parametrize(("coding", "body"), [("gzip", b"text"), ("gzip", bare(b"text")), ("deflate", b"\x78\x00")])
def test_what_is_not_compressed(coding: str, body: bytes) -> None:
    """What is no gzip and no zlib is refused; bare data pass for deflate alone."""
    with pytest.raises(zlib.error):
        list(Decoder(coding).decoded(body))

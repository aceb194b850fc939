"""How the texts of a request are cut into slices for the tokenizer."""

from hypothesis import given
from hypothesis import strategies as st

from mlcommons_py.inference.worker import SLICE, SLICE_CHARACTERS, _slice_end


@given(lengths=st.lists(st.sampled_from([0, 1, 1000, SLICE_CHARACTERS // 2, SLICE_CHARACTERS, SLICE_CHARACTERS * 2])))
def test_slices_are_short(lengths: list[int]) -> None:
    """Slices follow each other to the end; each has few texts and few characters, or is one text that has many."""
    texts = ["a" * length for length in lengths]
    start, sizes = 0, []
    while start < len(texts):
        stop = _slice_end(texts, start)
        sizes.append(stop - start)
        assert sizes[-1] == 1 or sum(lengths[start:stop]) <= SLICE_CHARACTERS
        start = stop

    assert sum(sizes) == len(texts)
    assert all(0 < size <= SLICE for size in sizes)

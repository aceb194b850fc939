"""How a traced Pooling module of Sentence-Transformers pools.

The trace says nothing but the operations it is made of. Each set of them below is one that a release of
Sentence-Transformers leaves (2.x to 6.x, ``sentence_transformers/models/Pooling.py``); any other is refused, because
a wrong guess would give wrong vectors in silence.
"""

from collections.abc import Mapping

from mlcommons_py.artifacts.manifest import Pooling
from mlcommons_py.artifacts.torchscript.code import joined, operations
from mlcommons_py.errors import InvalidModel

_SHAPING = {"cat", "device", "expand", "expand_as", "repeat", "size", "slice", "squeeze", "to", "unsqueeze", "view"}
"""Operations that move numbers about and do not change them."""

_MADE_OF: Mapping[str, Pooling] = {
    "select": "cls",
    "argmax gather": "cls",
    "eq index_put_ max": "max",
    "eq masked_fill max": "max",
    "clamp div mul sum": "mean",
    "clamp div mul sqrt sum": "mean_sqrt_len",
    "add arange clamp div mul sum": "weighted_mean",
    "add arange argmax clamp div mul sub sum": "weighted_mean",
    "eq gather min mul sub where": "last_token",
    "eq flip gather max mul sub where": "last_token",
}
"""Ways of pooling by the other operations, in alphabetical order."""


def recognise(source: str) -> Pooling:
    """Return how the code of a Pooling module pools.

    Raises:
        InvalidModel: it pools in several ways at once, or in one that is not known.
    """
    if joined(source) > 1:
        raise InvalidModel("the TorchScript model pools in several ways at once; it is not supported by this version")
    used = " ".join(sorted(operations(source) - _SHAPING))
    if used not in _MADE_OF:
        raise InvalidModel(f"the TorchScript model's pooling is not known by the operations {used[:300]}")
    return _MADE_OF[used]

"""The families of encoders that can be served: BERT's architecture under the names of each.

Layer norms come after each sub-layer in all of them, so that a family is a row of :data:`FAMILIES`. The names are those
of Hugging Face's ``transformers``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Family:
    """Where one family keeps its weights, and how it tells positions.

    Attributes:
        layer: prefix of a layer's names.
        query, key, value, attended, attended_norm: the attention, its output and the norm after it.
        widen, narrow, narrow_norm: the feed-forward network and the norm after it.
        second: what is added to a word's embedding beside its position: ``types``, nothing, or ``positions``, where
            the positions themselves go in as token types.
        behind_padding: whether position 0 is the row behind the padding id's.
        pad_id: the padding id where the model does not say it.
    """

    layer: str = "encoder.layer.{}."
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attended: str = "attention.output.dense"
    attended_norm: str = "attention.output.LayerNorm"
    widen: str = "intermediate.dense"
    narrow: str = "output.dense"
    narrow_norm: str = "output.LayerNorm"
    second: Literal["types", "positions"] | None = "types"
    behind_padding: bool = False
    pad_id: int = 0


_BERT = Family()
_ROBERTA = Family(behind_padding=True, pad_id=1)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "electra": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": Family(
        layer="transformer.layer.{}.",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attended="attention.out_lin",
        attended_norm="sa_layer_norm",
        widen="ffn.lin1",
        narrow="ffn.lin2",
        narrow_norm="output_layer_norm",
        second=None,
    ),
    # CTranslate2 drops absolute positions where a layer has a relative bias, as MPNet's have. Its position table
    # therefore takes the place of token types, and whoever runs the model passes positions as types.
    "mpnet": Family(
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attended="attention.attn.o",
        attended_norm="attention.LayerNorm",
        second="positions",
        behind_padding=True,
        pad_id=1,
    ),
}


def supported() -> str:
    """Return the clause of an error that lists what can be served."""
    return f"supported are {', '.join(sorted(FAMILIES))}"

"""How a model is to be run."""

from dataclasses import asdict, dataclass
from typing import Self

import orjson


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a worker is told beside the directory of its model.

    Attributes:
        compute_type: CTranslate2's, such as ``float32`` or ``int8``.
        threads: batches computed at once, one thread each.
        batch_tokens: most tokens of a batch, padding included.
        pooling, normalize: in place of what the model's manifest says; None leaves it to the manifest.
        max_length: tokens at which a text is cut, in place of the manifest's; the model's positions bound it.
    """

    compute_type: str = "float32"
    threads: int = 1
    batch_tokens: int = 512
    pooling: str | None = None
    normalize: bool | None = None
    max_length: int | None = None

    @property
    def is_huggingface(self) -> bool:
        """Whether the model was registered as ``HUGGINGFACE_TRANSFORMERS``: only then its pooling was chosen."""
        return self.pooling is not None

    def to_text(self) -> str:
        """Return the options as one command-line argument."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the options of a command-line argument."""
        return cls(**orjson.loads(text))

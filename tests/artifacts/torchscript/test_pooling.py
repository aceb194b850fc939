"""How traced Pooling modules pool."""

import json
from pathlib import Path

import pytest

from mlcommons_py.artifacts.torchscript.pooling import recognise
from mlcommons_py.errors import InvalidModel

PRINTED = json.loads((Path(__file__).parents[2] / "data" / "printed-pooling.json").read_text())


@pytest.mark.parametrize("name", [name for name in PRINTED if " " in name])
def test_known(name: str) -> None:
    """Each way of pooling is recognised in what old and new releases of Sentence-Transformers leave."""
    assert recognise("\n".join(PRINTED[name])) == name.split()[1]


@pytest.mark.parametrize("release", [name for name in PRINTED if " " not in name])
def test_several(release: str) -> None:
    """Two ways at once are refused."""
    with pytest.raises(InvalidModel, match="pools in several ways at once"):
        recognise("\n".join(PRINTED[release]))


@pytest.mark.parametrize("name", [name for name in PRINTED if " " in name])
def test_one_more_operation(name: str) -> None:
    """Known code with one operation more is not known."""
    *code, last = PRINTED[name]
    with pytest.raises(InvalidModel, match=r"pooling is not known by the operations .*tanh"):
        recognise("\n".join((*code, "    _99 = torch.tanh(_0)", last)))

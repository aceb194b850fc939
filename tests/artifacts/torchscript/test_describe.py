"""What traced models compute."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_py.artifacts.checkpoint import Checkpoint
from mlcommons_py.artifacts.torchscript import describe
from mlcommons_py.errors import InvalidModel

Rewrite = Callable[[str, dict[str, str]], Path]


@pytest.fixture
def rewrite(traced: Path, tmp_path: Path) -> Rewrite:
    """Writes a traced archive's .pt with texts of its printed code replaced."""

    def make(name: str, replaced: dict[str, str]) -> Path:
        path = tmp_path / "model.pt"
        with zipfile.ZipFile(traced / f"{name}.zip") as outer:
            path.write_bytes(outer.read(f"{name}.pt"))
        if not replaced:
            return path
        with zipfile.ZipFile(path) as source:
            files = {entry: source.read(entry) for entry in source.namelist()}
        found = set()
        with zipfile.ZipFile(path, "w") as target:
            for entry, content in files.items():
                for old, new in replaced.items():
                    if entry.endswith(".py") and old.encode() in content:
                        content = content.replace(old.encode(), new.encode())
                        found.add(old)
                target.writestr(entry, content)
        assert found == set(replaced)
        return path

    return make


def modes(checkpoint: Checkpoint) -> list[str | None]:
    """Return kind and mode of the steps."""
    return [step.mode or step.kind for step in checkpoint.steps]


@pytest.mark.parametrize(
    ("name", "family", "activation", "pad_id", "steps"),
    [
        ("bert-mean-normalized", "bert", "gelu", 0, ["mean", "normalize"]),
        ("bert-cls-gelu-new", "bert", "gelu_new", 0, ["cls"]),
        ("bert-max", "bert", "gelu", 0, ["max"]),
        ("distilbert-mean-dense", "distilbert", "gelu", 0, ["mean", "dense"]),
        ("roberta-mean-normalized", "roberta", "gelu", 1, ["mean", "normalize"]),
        ("mpnet-mean-normalized", "mpnet", "gelu", 1, ["mean", "normalize"]),
    ],
)
def test_describes(rewrite: Rewrite, name: str, family: str, activation: str, pad_id: int, steps: list[str]) -> None:
    """Family, sizes, activation and steps of a traced model are told from its classes and its code."""
    checkpoint = describe.read(rewrite(name, {}))
    shape = checkpoint.architecture
    assert (shape.family, shape.activation, shape.pad_id) == (family, activation, pad_id)
    assert (shape.layers, shape.heads, shape.layer_norm_eps) == (2, 4, 1e-12)
    assert modes(checkpoint) == steps
    assert (checkpoint.inside, checkpoint.longest) == ("sentence_transformers", 512)


@pytest.mark.parametrize("name", ["sparse-bert", "sparse-distilbert-pruned", "cross-encoder-bert", "qa-bert"])
def test_other_functions(rewrite: Rewrite, name: str) -> None:
    """A traced model of another function is refused by its class, not served as an embedding model."""
    with pytest.raises(InvalidModel, match="is not supported by this version"):
        describe.read(rewrite(name, {}))


@pytest.mark.parametrize(
    ("replaced", "fault"),
    [
        ({"torch.div(sum_embeddings, sum_mask0)": "sum_embeddings"}, "pooling is not known"),
        (
            {"(model).forward(input_ids, attention_mask, )": "torch.mul((model).forward(input_ids, ), 2)"},
            "of class Pipeline applies mul to its parts' results",
        ),
        (
            {'"sentence_embedding": _6}': '"sentence_embedding": torch.slice(_6, 1, 0, 16)}'},
            "of class Pipeline applies slice to its parts' results",
        ),
        ({"_1, _2, _3, _4, _5, = _0": "_1, _2, _3, _4, _5 = = _0"}, "its code does not parse"),
        ({"torch.gelu(argument_1)": "torch.elu(argument_1)"}, "activation is not known"),
        ({"9.9999999999999998e-13)\n    return input": "1e-5)\n    return input"}, "layer norms add"),
        ({", 4, 8])": ", 4, 7])"}, "heads of an unknown size"),
    ],
)
def test_unknown_code(rewrite: Rewrite, replaced: dict[str, str], fault: str) -> None:
    """Code that computes something else is refused by what it is."""
    with pytest.raises(InvalidModel, match=fault):
        describe.read(rewrite("bert-mean-normalized", replaced))


def test_default_epsilon(rewrite: Rewrite) -> None:
    """An epsilon that is not printed is PyTorch's default."""
    path = rewrite("bert-mean-normalized", {", weight, bias, 9.9999999999999998e-13)": ", weight, bias)"})
    assert describe.read(path).architecture.layer_norm_eps == 1e-5


def test_mask(rewrite: Rewrite) -> None:
    """Code that prepares a mask around the encoder, as newer versions print it there, is let be."""
    mask = "torch.__and__(torch.to(attention_mask, 11), torch.ge(torch.arange(torch.size(input_ids, 1)), 0))"
    call = "(model).forward(input_ids, attention_mask, )"
    path = rewrite("bert-mean-normalized", {call: f"(model).forward(input_ids, {mask}, )"})
    assert modes(describe.read(path)) == ["mean", "normalize"]


def test_tanh_gelu(rewrite: Rewrite) -> None:
    """GELU by tanh in one operation is told from the exact one."""
    path = rewrite("bert-mean-normalized", {"torch.gelu(argument_1)": 'torch.gelu(argument_1, approximate="tanh")'})
    assert describe.read(path).architecture.activation == "gelu_pytorch_tanh"

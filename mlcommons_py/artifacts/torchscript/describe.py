"""What a traced model computes, told from its classes and its printed code.

A trace has no ``config.json``: the family is the class of the encoder, numbers stand in the printed code
(``torch.layer_norm(..., 1e-12)``), and pooling is recognised by the operations it uses. What is not recognised is
refused: a model that computes more than is understood here would give wrong vectors in silence.
"""

import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mlcommons_py.artifacts.checkpoint import DENSE_ACTIVATIONS, Architecture, Checkpoint, check_order, dense, pooling
from mlcommons_py.artifacts.families import FAMILIES, supported
from mlcommons_py.artifacts.manifest import Step
from mlcommons_py.artifacts.torchscript.code import meddling, operations
from mlcommons_py.artifacts.torchscript.module import Module
from mlcommons_py.artifacts.torchscript.pooling import recognise
from mlcommons_py.errors import InvalidModel

LONGEST = 512
"""Tokens at which ML Commons' tokenizer cuts every text of a traced model, whatever ``tokenizer.json`` says."""

_ENCODERS = {
    "BertModel": "bert",
    "ElectraModel": "electra",
    "RobertaModel": "roberta",
    "XLMRobertaModel": "xlm-roberta",
    "CamembertModel": "camembert",
    "DistilBertModel": "distilbert",
    "MPNetModel": "mpnet",
}
_DEFAULT_EPSILON = 1e-5
_STEPS = ("Pooling", "Normalize", "Dense")
_SILENT = ("Dropout", "Identity")


def read(path: Path) -> Checkpoint:
    """Return the text embedding model that a ``.pt`` file holds.

    Raises:
        InvalidModel: the file is damaged, or computes something that is not supported; the text names it.
    """
    with Module(path) as module:
        encoder = _encoder(module)
        architecture = _architecture(module, encoder)
        steps: tuple[Step, ...] = ()
        arrays: dict[str, NDArray[Any]] = {}
        if encoder:
            steps, arrays = _steps(module, encoder)
        return Checkpoint(
            architecture=architecture,
            tensors=module.tensors,
            prefix=encoder + "." if encoder else "",
            inside="sentence_transformers" if steps else "huggingface_transformers",
            steps=steps,
            arrays=arrays,
            longest=LONGEST,
        )


def _encoder(module: Module) -> str:
    """Return the path of the one encoder."""
    encoders = [path for path in module.classes if module.kind(path) in _ENCODERS]
    if len(encoders) != 1:
        kinds = sorted({module.kind(path) for path in module.classes if path.count(".") < 2})
        found = f"{len(encoders)} encoders" if encoders else "no encoder of a known architecture"
        raise InvalidModel(f"the TorchScript model has {found} among {', '.join(kinds)[:300]}; {supported()}")
    return encoders[0]


def _steps(module: Module, encoder: str) -> tuple[tuple[Step, ...], dict[str, NDArray[Any]]]:
    """Return the steps after the encoder, having made sure that nothing else is computed around it."""
    paths = [path for path in module.classes if module.kind(path) in _STEPS and not path.startswith(encoder + ".")]
    parents = {path.rpartition(".")[0] for path in paths}
    if not paths:
        head = module.kind(encoder.rpartition(".")[0])
        raise InvalidModel(
            f"the TorchScript model is a {module.kind('')} around a {head}, not a text embedding model with a Pooling"
            " module; it is not supported by this version"
            if head != module.kind("")
            else f"the TorchScript model is a {head}, not a text embedding model with a Pooling module; it is not"
            " supported by this version"
        )
    if len(parents) > 1 or not all(path.rpartition(".")[2].isdecimal() for path in paths):
        raise InvalidModel(f"the TorchScript model's modules {', '.join(paths[:5])} are not one after the other")
    paths.sort(key=lambda path: int(path.rpartition(".")[2]))
    _check_rest(module, encoder, paths)
    steps: list[Step] = []
    arrays: dict[str, NDArray[Any]] = {}
    for number, path in enumerate(paths, 1):
        kind = module.kind(path)
        if kind == "Pooling":
            steps.append(pooling(recognise(module.source(path))))
        elif kind == "Normalize":
            steps.append(Step("normalize"))
        else:
            step, weights = _dense(module, number, path)
            steps.append(step)
            arrays.update(weights)
    check_order(tuple(steps))
    return tuple(steps), arrays


def _check_rest(module: Module, encoder: str, steps: list[str]) -> None:
    """Refuse modules that are neither encoder nor step, and modules around them that change what these return."""
    known = (encoder, *steps)
    for path in module.classes:
        if any(path == one or path.startswith(one + ".") for one in known) or module.kind(path) in _SILENT:
            continue
        around = path == "" or any(one.startswith(path + ".") for one in known)
        applied = sorted(meddling(module.source(path))) if around else []
        if not around or applied:
            what = f"applies {', '.join(applied)} to its parts' results" if applied else "is not known"
            raise InvalidModel(
                f"the TorchScript model's module {path or 'at the root'} of class {module.kind(path)} {what};"
                " it is not supported by this version"
            )


def _architecture(module: Module, encoder: str) -> Architecture:
    family = _ENCODERS[module.kind(encoder)]
    prefix = encoder + "." if encoder else ""
    inside = [path for path in module.classes if path.startswith(prefix)]
    words = module.tensors.get(prefix + "embeddings.word_embeddings.weight")
    if words is None or words.ndim != 2:
        raise InvalidModel(f"the TorchScript model has no tensor {prefix}embeddings.word_embeddings.weight")
    layer = prefix + FAMILIES[family].layer.removesuffix("{}.")
    layers = {path.removeprefix(layer).split(".", 1)[0] for path in inside if path.startswith(layer)}
    head = _head_size(module, [path for path in inside if path.startswith(layer)], words.shape[1])
    return Architecture(
        family=family,
        layers=len(layers),
        heads=words.shape[1] // head,
        activation=_activation(module, [path for path in inside if re.search(r"\.(intermediate|ffn)(\.|$)", path)]),
        layer_norm_eps=_epsilon(module, inside),
        pad_id=_pad_id(module, prefix + "embeddings.word_embeddings", FAMILIES[family].pad_id),
    )


def _head_size(module: Module, paths: list[str], hidden: int) -> int:
    """Return the length of an attention head: the smallest last axis that the attention reshapes to."""
    sizes = {
        int(size)
        for path in paths
        if module.kind(path).endswith("Attention")
        for size in re.findall(r"torch\.(?:view|reshape)\([^\n]*, (\d{1,6})\]\)", module.source(path))
    }
    head = min(sizes, default=0)
    if not head or hidden % head:
        raise InvalidModel(f"the TorchScript model's attention has heads of an unknown size: {sorted(sizes)[:5]}")
    return head


def _epsilon(module: Module, paths: list[str]) -> float:
    """Return what layer norms add; an argument that has its default is not printed."""
    call = re.compile(r"torch\.layer_norm\([^\n]*\], \w+, \w+(?:, (\d+(?:\.\d*)?(?:e-?\d+)?))?(?:, \w+)?\)")
    found = {
        float(number or _DEFAULT_EPSILON)
        for path in paths
        if module.kind(path) == "LayerNorm"
        for number in call.findall(module.source(path))
    }
    if len(found) != 1:
        raise InvalidModel(f"the TorchScript model's layer norms add {sorted(found)}; exactly one number was expected")
    return found.pop()


def _activation(module: Module, paths: list[str]) -> str:
    used = {operation for path in paths for operation in operations(module.source(path))}
    code = "\n".join(module.source(path) for path in paths)
    if "gelu" in used:
        return "gelu_pytorch_tanh" if 'approximate="tanh"' in code else "gelu"
    if {"tanh", "pow"} <= used:
        return "gelu_new"
    for name in ("relu", "silu"):
        if name in used:
            return name
    raise InvalidModel(f"the TorchScript model's activation is not known by {', '.join(sorted(used))[:200]}")


def _pad_id(module: Module, path: str, default: int) -> int:
    source = module.source(path) if path in module.classes else ""
    found = re.search(r"torch\.embedding\([^\n]*?, (\d{1,9})[,)]", source)
    return int(found.group(1)) if found else default


def _dense(module: Module, number: int, path: str) -> tuple[Step, dict[str, NDArray[Any]]]:
    weight = module.tensors.get(f"{path}.linear.weight")
    kinds = {child.rpartition(".")[2]: module.kind(child) for child in module.children(path)}
    name = kinds.get("activation_function", "Identity")
    if weight is None or kinds.get("linear") != "Linear" or name not in DENSE_ACTIVATIONS:
        raise InvalidModel(f"the TorchScript model's Dense module {path} is made of {kinds}, which is not supported")
    return dense(number, weight, module.tensors.get(f"{path}.linear.bias"), DENSE_ACTIVATIONS[name])

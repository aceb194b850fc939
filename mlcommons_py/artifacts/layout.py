"""Which files of an archive are the model, for each format that archives come in.

``TORCH_SCRIPT`` is what ML Commons takes: one ``.pt`` file and its ``tokenizer.json``. ``SAFETENSORS`` is a
directory as Sentence-Transformers or Hugging Face's ``save_pretrained`` write it. Either may lie at the root of the
archive or in one folder. The texts of the errors begin as those of ML Commons' ``ModelHelper`` do.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import orjson

from mlcommons_py.artifacts.archive import Archive
from mlcommons_py.artifacts.manifest import ModelFormat
from mlcommons_py.errors import InvalidModel

SENTENCE_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Names under which Sentence-Transformers keeps the longest length of its first module."""

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MULTIPLE = "Find multiple model files, but expected only one"


def select(archive: Archive, model_format: ModelFormat) -> dict[str, str]:
    """Return the files that a model needs, by name in the archive, with the names they are to be unpacked under.

    Those are, for ``TORCH_SCRIPT``, ``model.pt`` and ``tokenizer.json``; for ``SAFETENSORS`` ``config.json``,
    ``tokenizer.json``, the weights under their own names, where present ``tokenizer_config.json``, ``modules.json`` and
    ``sentence_bert_config.json``, and ``module-N/config.json`` and ``module-N/model.safetensors`` of the further
    modules.

    Raises:
        InvalidModel: a file is missing, or there is more than one model.
    """
    return _torch_script(archive) if model_format == "TORCH_SCRIPT" else _safetensors(archive)


def _torch_script(archive: Archive) -> dict[str, str]:
    models = [name for name in _shallow(archive.names) if name.endswith((".pt", ".onnx", ".safetensors"))]
    scripts = [name for name in models if name.endswith(".pt")]
    if len(scripts) > 1:
        raise InvalidModel(f"{_MULTIPLE}: {_listed(scripts)}")
    if not scripts:
        if models:
            raise InvalidModel(f"Model format is TORCH_SCRIPT, but find {PurePosixPath(models[0]).suffix} file")
        raise InvalidModel("Can't find model file: a TORCH_SCRIPT archive holds one .pt file and tokenizer.json")
    tokenizer = str(PurePosixPath(scripts[0]).with_name("tokenizer.json"))
    if tokenizer not in archive:
        raise InvalidModel(f"No tokenizer file: {tokenizer} is not in the archive")
    return {scripts[0]: "model.pt", tokenizer: "tokenizer.json"}


def _safetensors(archive: Archive) -> dict[str, str]:
    root = _root(archive)
    modules = _modules(archive, root)
    first = _inside(root, modules[0]["path"]) if modules else root
    wanted = _weights(archive, first)
    if first + "config.json" not in archive:
        raise InvalidModel(f"Can't find model file: {first}config.json is not in the archive")
    wanted[first + "config.json"] = "config.json"
    tokenizer = next(
        (folder + "tokenizer.json" for folder in (first, root) if folder + "tokenizer.json" in archive), ""
    )
    if not tokenizer:
        raise InvalidModel(
            f"No tokenizer file: {first}tokenizer.json is not in the archive; save the model with a fast tokenizer"
        )
    wanted[tokenizer] = "tokenizer.json"
    for name in (folder + name for folder in (first, root) for name in SENTENCE_CONFIGS):
        if name in archive:
            wanted[name] = SENTENCE_CONFIGS[0]
            break
    beside = tokenizer.removesuffix(".json") + "_config.json"
    if beside in archive:
        wanted[beside] = "tokenizer_config.json"
    if modules:
        wanted[root + "modules.json"] = "modules.json"
    for number, module in enumerate(modules[1:], 1):
        folder = _inside(root, module["path"])
        if folder + "pytorch_model.bin" in archive and folder + _SINGLE not in archive:
            raise InvalidModel(_missing(folder, [folder + "pytorch_model.bin"]))
        for name in ("config.json", _SINGLE):
            if folder != first and folder + name in archive:
                wanted[folder + name] = f"module-{number}/{name}"
    return wanted


def _root(archive: Archive) -> str:
    """Return the folder that the model is in, ``""`` for the root of the archive."""
    names = _shallow(archive.names)
    for mark in ("modules.json", "config.json", _SINGLE, _INDEX):
        roots = [name.removesuffix(mark) for name in names if PurePosixPath(name).name == mark]
        if "" in roots:
            return ""
        if len(roots) > 1:
            raise InvalidModel(f"{_MULTIPLE}: there are models in {_listed(roots)}")
        if roots:
            return roots[0]
    others = [PurePosixPath(name).suffix for name in archive.names if name.endswith((".pt", ".onnx"))]
    if others:
        raise InvalidModel(f"Model format is SAFETENSORS, but find {others[0]} file")
    raise InvalidModel(
        "Can't find model file: a SAFETENSORS archive holds config.json, model.safetensors and tokenizer.json"
    )


def _modules(archive: Archive, root: str) -> list[dict[str, Any]]:
    if root + "modules.json" not in archive:
        return []
    modules: list[Any] = read_json(archive.read(root + "modules.json"), "modules.json", list)
    if not modules or len(modules) > 64:
        raise InvalidModel(f"modules.json names {len(modules)} modules")
    for module in modules:
        if not isinstance(module, dict) or not all(isinstance(module.get(key), str) for key in ("type", "path")):
            raise InvalidModel("modules.json: each module needs [type] and [path]")
    return modules


def _weights(archive: Archive, folder: str) -> dict[str, str]:
    present = [name for name in archive.names if name.startswith(folder) and "/" not in name[len(folder) :]]
    weights = [name for name in present if name.endswith(".safetensors")]
    if folder + _SINGLE in archive:
        wanted = [folder + _SINGLE]
    elif folder + _INDEX in archive:
        wanted = _shards(archive, folder)
    elif weights:
        raise InvalidModel(f"Can't find model file: the weights must be in {_SINGLE}, not in {_listed(weights)}")
    else:
        pickles = [name for name in present if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5", ".onnx"))]
        if pickles and pickles[0].endswith((".pt", ".onnx")):
            raise InvalidModel(f"Model format is SAFETENSORS, but find {PurePosixPath(pickles[0]).suffix} file")
        raise InvalidModel(_missing(folder, pickles))
    extra = sorted(set(weights) - set(wanted))
    if extra:
        raise InvalidModel(f"{_MULTIPLE}: beside {_listed(wanted)} there is {_listed(extra)}")
    return {name: name.removeprefix(folder) for name in wanted}


def _missing(folder: str, pickles: list[str]) -> str:
    """Return the text of an error for weights that are not there, or only as a pickle."""
    there = f"; {pickles[0]} is not read, save the model again as safetensors" if pickles else ""
    return f"Can't find model file: {folder}{_SINGLE} is not in the archive{there}"


def _shards(archive: Archive, folder: str) -> list[str]:
    index = read_json(archive.read(folder + _INDEX), _INDEX, dict)
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise InvalidModel(f"{_INDEX} has no [weight_map]")
    wanted = sorted({folder + name for name in shards.values()})
    missing = [name for name in wanted if name not in archive or not name.endswith(".safetensors")]
    if missing:
        raise InvalidModel(f"Can't find model file: {_INDEX} names {_listed(missing)}, which the archive lacks")
    return wanted


def read_json(content: bytes, name: str, kind: type[Any]) -> Any:
    """Return what a JSON file holds.

    Raises:
        InvalidModel: it is not JSON, or not of the kind expected.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise InvalidModel(f"{name} is not valid JSON: {fault}") from fault
    if not isinstance(value, kind):
        raise InvalidModel(f"{name} must hold a JSON {'object' if kind is dict else 'array'}")
    return value


def _shallow(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.count("/") <= 1]


def _inside(root: str, path: str) -> str:
    return f"{root}{path.strip('/')}/" if path.strip("/") else root


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")

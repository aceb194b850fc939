"""Reads a directory as Sentence-Transformers or Hugging Face's ``save_pretrained`` write it.

Nothing that ``config.json`` points at (``auto_map``, a ``trust_remote_code`` class) is imported: the architecture is
known by its name or it is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mlcommons_py.artifacts import safetensors
from mlcommons_py.artifacts.checkpoint import DENSE_ACTIVATIONS, Architecture, Checkpoint, check_order, dense, pooling
from mlcommons_py.artifacts.families import FAMILIES, supported
from mlcommons_py.artifacts.layout import read_json
from mlcommons_py.artifacts.manifest import Pooling, Step
from mlcommons_py.artifacts.weights import find_prefix
from mlcommons_py.errors import InvalidModel

_POOLING_FLAGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last_token",
}
_POOLING_NAMES: dict[str, Pooling] = {
    "cls": "cls",
    "mean": "mean",
    "max": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last_token",
}
_NO_LIMIT = 1 << 24
_TASK_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")


def read(directory: Path) -> Checkpoint:
    """Return the model of a directory, laid out as :func:`mlcommons_py.artifacts.layout.select` does.

    Raises:
        InvalidModel: a file is damaged, or says something that is not supported; the text names it.
    """
    config = _json(directory, "config.json")
    architecture = _architecture(config)
    tensors = _tensors(directory)
    prefix = find_prefix(tensors)
    _check_sizes(config, architecture, tensors, prefix)
    sentence = _json(directory, "sentence_bert_config.json")
    steps, arrays = _modules(directory)
    if not steps:
        _check_head(config)
    return Checkpoint(
        architecture=architecture,
        tensors=tensors,
        prefix=prefix,
        inside="sentence_transformers" if steps else "huggingface_transformers",
        steps=steps,
        arrays=arrays,
        max_length=_max_length(sentence, _json(directory, "tokenizer_config.json")),
        lower_case=sentence.get("do_lower_case") is True,
    )


def _architecture(config: Mapping[str, Any]) -> Architecture:
    family: Any = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise InvalidModel(f"config.json: the architecture [model_type] {family!r} is not supported; {supported()}")
    kind = config.get("position_embedding_type")
    if kind not in (None, "absolute"):
        raise InvalidModel(f"config.json: [position_embedding_type] {kind!r} is not supported; absolute is")
    for name in ("is_decoder", "add_cross_attention"):
        if config.get(name):
            raise InvalidModel(f"config.json: [{name}] is set; only encoders are supported")
    pad_id = config.get("pad_token_id")
    return Architecture(
        family=family,
        layers=_count(config, "num_hidden_layers", "n_layers"),
        heads=_count(config, "num_attention_heads", "n_heads"),
        activation=str(config.get("hidden_act") or config.get("activation") or "gelu"),
        layer_norm_eps=_epsilon(config),
        pad_id=pad_id if type(pad_id) is int and pad_id >= 0 else FAMILIES[family].pad_id,
    )


def _count(config: Mapping[str, Any], *names: str) -> int:
    value = next((config[name] for name in names if name in config), None)
    if type(value) is not int or not 0 < value <= 1024:
        raise InvalidModel(f"config.json: [{names[0]}] must be a number between 1 and 1024, not {value!r}")
    return value


def _epsilon(config: Mapping[str, Any]) -> float:
    value = config.get("layer_norm_eps", 1e-12)
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise InvalidModel(f"config.json: [layer_norm_eps] must be a small number, not {value!r}")
    return float(value)


def _max_length(sentence: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int | None:
    """Return where the model cuts a text; Sentence-Transformers says it first, and since 6 leaves it to the tokenizer.

    A tokenizer without a limit says 1e30.
    """
    longest = sentence.get("max_seq_length")
    if longest is not None:
        if type(longest) is not int or longest < 1:
            raise InvalidModel(
                f"sentence_bert_config.json: [max_seq_length] must be a positive number, not {longest!r}"
            )
        return longest
    longest = tokenizer.get("model_max_length")
    return longest if type(longest) is int and 0 < longest < _NO_LIMIT else None


def _check_sizes(
    config: Mapping[str, Any], architecture: Architecture, tensors: Mapping[str, NDArray[Any]], prefix: str
) -> None:
    """Compare the sizes that ``config.json`` gives with the weights themselves."""
    words = tensors[prefix + "embeddings.word_embeddings.weight"].shape
    for name, axis in (("vocab_size", 0), ("hidden_size", 1), ("dim", 1), ("embedding_size", 1)):
        said = config.get(name)
        if said is not None and (len(words) != 2 or said != words[axis]):
            raise InvalidModel(
                f"config.json: [{name}] is {said}, but tensor {prefix}embeddings.word_embeddings.weight has the shape"
                f" {list(words)}"
            )
    if architecture.family == "mpnet" and config.get("relative_attention_num_buckets", 32) != 32:
        raise InvalidModel("config.json: [relative_attention_num_buckets] must be 32")


def _check_head(config: Mapping[str, Any]) -> None:
    """Refuse a model whose head would be dropped without a word."""
    for name in config.get("architectures") or ():
        if isinstance(name, str) and name.endswith(_TASK_HEADS):
            raise InvalidModel(
                f"config.json: a {name} is not a text embedding model and is not supported by this version;"
                " save its encoder with Sentence-Transformers to embed with it"
            )


def _tensors(directory: Path) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        for name, array in safetensors.read(path).items():
            if name in tensors:
                raise InvalidModel(f"{path.name}: tensor {name} is in another file too")
            tensors[name] = array
    return tensors


def _modules(directory: Path) -> tuple[tuple[Step, ...], dict[str, NDArray[Any]]]:
    """Return the steps after the encoder; none where the directory is a bare encoder."""
    if not (directory / "modules.json").exists():
        return (), {}
    modules = read_json((directory / "modules.json").read_bytes(), "modules.json", list)
    steps: list[Step] = []
    arrays: dict[str, NDArray[Any]] = {}
    for number, module in enumerate(modules):
        kind = module["type"].rsplit(".", 1)[-1]
        folder = directory / f"module-{number}"
        if (kind == "Transformer") != (number == 0):
            raise InvalidModel(f"modules.json: module {number} is a {kind}; the first must be a Transformer, no other")
        if kind == "Pooling":
            steps.append(pooling(_pooling(folder, module["path"])))
        elif kind == "Normalize":
            steps.append(Step("normalize"))
        elif kind == "Dense":
            step, weights = _dense(number, folder, module["path"])
            steps.append(step)
            arrays.update(weights)
        elif kind not in ("Transformer", "Dropout"):
            raise InvalidModel(
                f"modules.json: a module of type {module['type']} is not supported by this version; there are"
                " Transformer, Pooling, Dense, Normalize and Dropout"
            )
    check_order(tuple(steps))
    return tuple(steps), arrays


def _pooling(folder: Path, path: str) -> Pooling:
    config = _json(folder, "config.json", f"{path}/config.json")
    name = config.get("pooling_mode")
    if isinstance(name, str):
        modes = [_POOLING_NAMES[name]] if name in _POOLING_NAMES else []
    else:
        modes = [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)]
    if len(modes) != 1:
        raise InvalidModel(
            f"{path}/config.json: exactly one way of pooling must be chosen of {', '.join(_POOLING_NAMES)};"
            f" chosen are {', '.join(modes) or name or 'none'}"
        )
    return modes[0]


def _dense(number: int, folder: Path, path: str) -> tuple[Step, dict[str, NDArray[Any]]]:
    config = _json(folder, "config.json", f"{path}/config.json")
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if name not in DENSE_ACTIVATIONS:
        raise InvalidModel(
            f"{path}/config.json: [activation_function] {name} is not supported; there are"
            f" {', '.join(DENSE_ACTIVATIONS)}"
        )
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise InvalidModel(f"{path}/config.json: [{key}] {config[key]!r} is not supported; sentence_embedding is")
    if not (folder / "model.safetensors").exists():
        raise InvalidModel(f"Can't find model file: {path}/model.safetensors is not in the archive")
    tensors = safetensors.read(folder / "model.safetensors")
    if "linear.weight" not in tensors or set(tensors) - {"linear.weight", "linear.bias"}:
        raise InvalidModel(
            f"{path}/model.safetensors has the tensors {sorted(tensors)[:5]}, not linear.weight and .bias"
        )
    return dense(number, tensors["linear.weight"], tensors.get("linear.bias"), DENSE_ACTIVATIONS[name])


def _json(folder: Path, file: str, name: str | None = None) -> dict[str, Any]:
    """Return the object that a JSON file holds; an empty one where there is no file."""
    path = folder / file
    if not path.exists():
        return {}
    value: dict[str, Any] = read_json(path.read_bytes(), name or file, dict)
    return value

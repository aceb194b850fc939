"""A model's ``model_config``: what each function needs in it, and how it is stored."""

from collections.abc import Mapping
from typing import Any

import orjson

from mlcommons_py import fields
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.models.states import FunctionName, ModelFormat

FRAMEWORKS = ("HUGGINGFACE_TRANSFORMERS", "SENTENCE_TRANSFORMERS", "HUGGINGFACE_TRANSFORMERS_NEURON")
POOLING_MODES = ("MEAN", "MEAN_SQRT_LEN", "MAX", "WEIGHTED_MEAN", "CLS", "LAST_TOKEN", "NONE")
COMPUTE_TYPES = ("float32", "int8")
MAX_PREFIX = 4096
"""Most characters of a prefix."""

_POOLING_SPELLINGS = {"WEIGHTEDMEAN": "WEIGHTED_MEAN", "LASTTOKEN": "LAST_TOKEN"}
_SPARSE = (FunctionName.SPARSE_ENCODING, FunctionName.SPARSE_TOKENIZE)


def read(body: Mapping[str, Any], function: FunctionName, model_format: ModelFormat | None) -> dict[str, Any] | None:
    """Return the config of a registration as it is stored: enumerations in upper case, ``all_config`` as text.

    A ``SAFETENSORS`` archive says itself what it is, so that there no field is required: what is given is compared
    with the file, what is not is filled in from it.

    Raises:
        IllegalArgument: it is missing, or one of its fields is missing or wrong.
    """
    config = fields.mapping(body, "model_config")
    if config is None:
        if function in (*_SPARSE, FunctionName.REMOTE) or model_format is ModelFormat.SAFETENSORS:
            return None
        raise IllegalArgument("model config is null")
    return check(config, function, complete=model_format is not ModelFormat.SAFETENSORS)


def check(config: Mapping[str, Any], function: FunctionName, *, complete: bool) -> dict[str, Any]:
    """Return a config with its fields in the form they are stored in; with ``complete`` none may be missing.

    Raises:
        IllegalArgument: a field is missing or wrong.
    """
    config = {name: value for name, value in config.items() if value is not None}
    stored = dict(config)
    if complete:
        _require(config, function)
    for name in ("embedding_dimension", "model_max_length"):
        if (number := fields.integer(config, name, low=1, high=1 << 20)) is not None:
            stored[name] = number
    if (flag := fields.boolean(config, "normalize_result")) is not None:
        stored["normalize_result"] = flag
    for name in ("query_prefix", "passage_prefix", "model_type"):
        if (value := fields.text(config, name)) is not None:
            stored[name] = value
    for name in ("query_prefix", "passage_prefix"):
        if len(stored.get(name, "")) > MAX_PREFIX:
            raise IllegalArgument(
                f"[model_config.{name}] has {len(stored[name])} characters, {MAX_PREFIX} are allowed: it goes before"
                " every text"
            )
    _one_of(stored, "framework_type", FRAMEWORKS, "Wrong framework type")
    if isinstance(stored.get("pooling_mode"), str):
        upper = stored["pooling_mode"].upper()
        stored["pooling_mode"] = _POOLING_SPELLINGS.get(upper, upper)
    _one_of(stored, "pooling_mode", POOLING_MODES, "Wrong pooling method")
    compute_type = fields.text(config, "compute_type")
    if compute_type is not None and compute_type not in COMPUTE_TYPES:
        raise IllegalArgument(
            f"[model_config.compute_type] must be one of {', '.join(COMPUTE_TYPES)}, not [{compute_type}]"
        )
    if isinstance(stored.get("all_config"), Mapping):
        stored["all_config"] = orjson.dumps(stored["all_config"]).decode()
    fields.text(stored, "all_config")
    fields.mapping(config, "additional_config")
    return stored


def _check_remote(config: Mapping[str, Any]) -> None:
    """Refuse an embedding model of which a ``semantic`` field could not make a vector field."""
    if str(config.get("model_type", "")).lower() != "text_embedding":
        return
    wanted = "must be provided for remote text embedding model"
    for name, label in (("embedding_dimension", "Embedding dimension"), ("framework_type", "Framework type")):
        if config.get(name) is None:
            raise IllegalArgument(f"{label} {wanted}")
    if "space_type" not in (config.get("additional_config") or {}):
        raise IllegalArgument("Space type must be provided in additional_config for remote text embedding model")


def _require(config: Mapping[str, Any], function: FunctionName) -> None:
    if function is FunctionName.REMOTE:
        _check_remote(config)
        return
    if fields.text(config, "model_type") is None:
        raise IllegalArgument("model type is null")
    if function is FunctionName.TEXT_EMBEDDING:
        for name, label in (("embedding_dimension", "embedding dimension"), ("framework_type", "framework type")):
            if config.get(name) is None:
                raise IllegalArgument(f"{label} is null")


def _one_of(stored: dict[str, Any], name: str, allowed: tuple[str, ...], text: str) -> None:
    value = fields.text(stored, name)
    if value is None:
        return
    if value.upper() not in allowed:
        raise IllegalArgument(text)
    stored[name] = value.upper()

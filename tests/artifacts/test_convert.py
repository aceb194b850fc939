"""Archives turned into converted models, and their vectors against torch's."""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlcommons_py.artifacts.convert import convert, digests
from mlcommons_py.artifacts.manifest import CONVERTER, Manifest, Step
from mlcommons_py.errors import InvalidModel
from tests.artifacts.conftest import Embed, MakeZip, SavedModel, SaveModel

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "golden-minilm.json").read_text())


@pytest.mark.parametrize(
    "name",
    [
        "bert-mean-normalized",
        "bert-cls-gelu-new",
        "bert-max",
        "distilbert-mean-dense",
        "roberta-mean-normalized",
        "mpnet-mean-normalized",
        "../sentence-transformers/2.7-roberta-mean-normalized",
        "../sentence-transformers/6.2-bert-cls-relu",
        "../sentence-transformers/6.2-mpnet-mean-normalized",
    ],
)
def test_traced(name: str, traced: Path, tmp_path: Path, embed: Embed) -> None:
    """A traced model, of whatever release, gives torch's vectors to 1e-5."""
    described = json.loads((traced / f"{name}.json").read_text())
    manifest = convert(traced / f"{name}.zip", "TORCH_SCRIPT", tmp_path / "out", "float32")
    vectors = embed(tmp_path / "out", [one["text"] for one in described["expected"]])
    expected = np.array([one["vector"] for one in described["expected"]])
    assert np.abs(vectors - expected).max() <= 1e-5
    assert manifest.dimension == described["model_config"]["embedding_dimension"]
    assert manifest.family == described["model_config"]["model_type"]


@pytest.mark.parametrize("name", ["bert-mean-normalized", "roberta-mean-normalized", "mpnet-mean-normalized"])
def test_saved(name: str, save_model: SaveModel, make_zip: MakeZip, tmp_path: Path, embed: Embed) -> None:
    """The same weights, saved as a Sentence-Transformers directory, give the same vectors."""
    model = save_model(name)
    manifest = convert(make_zip(model.zipped_files()), "SAFETENSORS", tmp_path / "out", "float32")
    vectors = embed(tmp_path / "out", [one["text"] for one in model.expected])
    assert np.abs(vectors - np.array([one["vector"] for one in model.expected])).max() <= 1e-5
    assert manifest.steps == (Step("pooling", mode="mean"), Step("normalize"))


def test_minilm(minilm_zip: Path, tmp_path: Path, embed: Embed) -> None:
    """all-MiniLM-L6-v2 gives Sentence-Transformers' vectors at cosine 0.99999 or better; its manifest says it all."""
    manifest = convert(minilm_zip, "SAFETENSORS", tmp_path / "out", "float32")
    assert manifest == Manifest(
        family="bert",
        inside="sentence_transformers",
        steps=(Step("pooling", mode="mean"), Step("normalize")),
        dimension=384,
        hidden_size=384,
        vocab_size=30522,
        max_positions=512,
        max_length=256,
        token_types=2,
        positions_as_types=None,
        pad_id=0,
        compute_type="float32",
        files=digests(tmp_path / "out"),
        converter=CONVERTER,
    )
    assert Manifest.read(tmp_path / "out") == manifest
    assert set(manifest.files) == {"model.bin", "config.json", "vocabulary.json", "tokenizer.json"}
    expected = np.frombuffer(base64.b64decode(GOLDEN["vectors_max_256"]), "<f4").reshape(-1, 384)
    vectors = embed(tmp_path / "out", GOLDEN["texts"])
    assert (vectors * expected).sum(axis=1).min() >= 0.99999


def test_int8(minilm_zip: Path, tmp_path: Path, embed: Embed) -> None:
    """int8 is a quarter of the size, and close to the original."""
    manifest = convert(minilm_zip, "SAFETENSORS", tmp_path / "out", "int8")
    assert manifest.compute_type == "int8"
    assert (tmp_path / "out" / "model.bin").stat().st_size < 24_000_000
    expected = np.frombuffer(base64.b64decode(GOLDEN["vectors_max_256"]), "<f4").reshape(-1, 384)
    vectors = embed(tmp_path / "out", GOLDEN["texts"][::10])
    assert (vectors * expected[::10]).sum(axis=1).min() >= 0.97


def test_folder_shards_and_old_names(
    save_model: SaveModel, make_zip: MakeZip, tmp_path: Path, tensors_file: Callable[..., bytes], embed: Embed
) -> None:
    """A folder, shards, a prefix, norms called gamma and beta, and a head that is not used change nothing."""
    model = save_model()
    old = {"bert." + _old_name(name): array for name, array in model.tensors.items()}
    old["cls.predictions.bias"] = np.zeros(3, np.float32)
    names = list(old)
    files = model.zipped_files()
    del files["model.safetensors"]
    files["model-1.safetensors"] = tensors_file({name: old[name] for name in names[::2]})
    files["model-2.safetensors"] = tensors_file({name: old[name] for name in names[1::2]})
    index = {name: f"model-{number % 2 + 1}.safetensors" for number, name in enumerate(names)}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    archive = make_zip({f"model/{name}": content for name, content in files.items()})
    convert(archive, "SAFETENSORS", tmp_path / "out", "float32")
    vectors = embed(tmp_path / "out", [one["text"] for one in model.expected])
    assert np.abs(vectors - np.array([one["vector"] for one in model.expected])).max() <= 1e-5


def _old_name(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def test_half_precision(
    save_model: SaveModel, make_zip: MakeZip, tmp_path: Path, tensors_file: Callable[..., bytes], embed: Embed
) -> None:
    """Weights in float16 and bfloat16 are widened."""
    model = save_model()
    halves = frozenset(name for name in model.tensors if "query" in name)
    mixed = {
        name: array.astype(np.float16) if array.dtype == np.float32 and name not in halves else array
        for name, array in model.tensors.items()
    }
    model.files["model.safetensors"] = tensors_file(mixed, halves)
    convert(make_zip(model.zipped_files()), "SAFETENSORS", tmp_path / "out", "float32")
    vectors = embed(tmp_path / "out", [one["text"] for one in model.expected])
    assert (vectors * np.array([one["vector"] for one in model.expected])).sum(axis=1).min() >= 0.998


def test_bare_encoder(save_model: SaveModel, make_zip: MakeZip, tmp_path: Path) -> None:
    """A directory without modules is a bare encoder: no steps, and the hidden size as dimension."""
    files = save_model(architectures=["BertForMaskedLM"]).zipped_files()
    del files["modules.json"]
    manifest = convert(make_zip(files), "SAFETENSORS", tmp_path / "out", "float32")
    assert (manifest.inside, manifest.steps, manifest.dimension) == ("huggingface_transformers", (), 32)


@pytest.mark.parametrize(
    ("sentence", "tokenizer_limit", "truncation", "expected"),
    [
        ({"max_seq_length": 64}, 32, 128, 64),
        ({"max_seq_length": 256}, None, 128, 256),
        ({"max_seq_length": 9999}, None, 128, 512),
        ({"max_seq_length": None}, None, 128, 128),
        ({"transformer_task": "feature-extraction"}, 256, 128, 256),
        (None, 256, None, 256),
        (None, 10**30, 128, 128),
        (None, 1e30, 128, 128),
        (None, None, 100, 100),
        (None, None, 9999, 512),
        (None, None, None, 512),
    ],
)
def test_max_length(
    save_model: SaveModel,
    make_zip: MakeZip,
    tmp_path: Path,
    sentence: Mapping[str, Any] | None,
    tokenizer_limit: float | None,
    truncation: int | None,
    expected: int,
) -> None:
    """Sentence-Transformers' own length holds, else the tokenizer's, else the positions; never more than these."""
    model = save_model()
    if tokenizer_limit is not None:
        model.files["tokenizer_config.json"] = json.dumps({"model_max_length": tokenizer_limit}).encode()
    if sentence is not None:
        model.files["sentence_bert_config.json"] = json.dumps(sentence).encode()
    tokenizer = json.loads(model.files["tokenizer.json"])
    tokenizer["truncation"] = None if truncation is None else {**tokenizer["truncation"], "max_length": truncation}
    model.files["tokenizer.json"] = json.dumps(tokenizer).encode()
    assert convert(make_zip(model.zipped_files()), "SAFETENSORS", tmp_path / "o", "float32").max_length == expected


def test_lower_case(save_model: SaveModel, make_zip: MakeZip, tmp_path: Path, embed: Embed) -> None:
    """do_lower_case of Sentence-Transformers becomes a part of the tokenizer."""
    model = save_model()
    tokenizer = json.loads(model.files["tokenizer.json"])
    tokenizer["normalizer"] = None
    model.files["tokenizer.json"] = json.dumps(tokenizer).encode()
    model.files["sentence_bert_config.json"] = b'{"max_seq_length": 128, "do_lower_case": true}'
    convert(make_zip(model.zipped_files()), "SAFETENSORS", tmp_path / "out", "float32")
    upper, lower = embed(tmp_path / "out", ["TODAY IS SUNNY", "today is sunny"])
    np.testing.assert_array_equal(upper, lower)


def test_dense(
    save_model: SaveModel, make_zip: MakeZip, tmp_path: Path, tensors_file: Callable[..., bytes], embed: Embed
) -> None:
    """A Dense module is applied after pooling, and its outputs are the dimension."""
    model = save_model()
    model.modules[2] = ("Dense", "2_Dense")
    weights: dict[str, NDArray[Any]] = {"linear.weight": np.eye(8, 32, dtype=np.float32) * 2}
    weights["linear.bias"] = np.ones(8, np.float32)
    model.files["2_Dense/model.safetensors"] = tensors_file(weights)
    model.files["2_Dense/config.json"] = b'{"activation_function": "torch.nn.modules.linear.Identity"}'
    manifest = convert(make_zip(model.zipped_files()), "SAFETENSORS", tmp_path / "dense", "float32")
    assert manifest.dimension == 8
    model.modules[2:] = []
    convert(make_zip(model.zipped_files()), "SAFETENSORS", tmp_path / "plain", "float32")
    (short,), (whole,) = (embed(tmp_path / name, ["today is sunny"]) for name in ("dense", "plain"))
    np.testing.assert_allclose(short, whole[:8] * 2 + 1, rtol=1e-5)


def _rename(model: SavedModel, old: str, new: str) -> None:
    model.tensors[new] = model.tensors.pop(old)


QUERY = "encoder.layer.1.attention.self.query.weight"
Change = Callable[[SavedModel], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda m: m.config.update(model_type="deberta-v2"),
            "'deberta-v2' is not supported; supported are bert, camem",
        ),
        (lambda m: m.config.pop("model_type"), "[model_type] None is not supported"),
        (lambda m: m.config.update(model_type=["bert"]), "[model_type] ['bert'] is not supported"),
        (lambda m: m.config.update(position_embedding_type="relative_key"), "'relative_key' is not supported"),
        (lambda m: m.config.update(is_decoder=True), "[is_decoder] is set"),
        (lambda m: m.config.update(hidden_act="mish"), "the activation 'mish' is not supported"),
        (lambda m: m.config.update(num_hidden_layers=10**9), "[num_hidden_layers] must be a number between 1 and 1024"),
        (lambda m: m.config.update(num_attention_heads=0), "[num_attention_heads] must be"),
        (lambda m: m.config.update(num_attention_heads=5), "not divisible among 5 attention heads"),
        (lambda m: m.config.update(hidden_size=64), "[hidden_size] is 64, but tensor embeddings.word"),
        (lambda m: m.config.update(vocab_size=1), "[vocab_size] is 1, but tensor embeddings.word"),
        (lambda m: m.config.update(layer_norm_eps="x"), "[layer_norm_eps] must be a small number"),
        (
            lambda m: m.config.update(num_hidden_layers=3),
            "tensor encoder.layer.2.attention.self.query.weight is missing",
        ),
        (lambda m: m.config.update(num_hidden_layers=1), "encoder.layer.1.attention.self.query.weight is not one of"),
        (lambda m: m.tensors.pop(QUERY), f"tensor {QUERY} is missing"),
        (lambda m: m.tensors.update({QUERY: np.zeros((32, 31), np.float32)}), "has the shape [32, 31], not [32, 32]"),
        (lambda m: m.tensors.update({QUERY: np.zeros((32, 32), np.int64)}), "has the type int64, not a float"),
        (lambda m: m.tensors.update({QUERY + "_A": np.zeros(3, np.float32)}), f"tensor {QUERY}_A is not one of this"),
        (lambda m: m.tensors.clear(), "exactly one tensor must be called embeddings.word_embeddings.weight"),
        (
            lambda m: m.tensors.update({"q.embeddings.word_embeddings.weight": np.zeros(3, np.float32)}),
            "there are 2: , q.",
        ),
        (lambda m: m.tensors[QUERY].fill(np.nan), f"tensor {QUERY} has values that are not finite"),
        (lambda m: m.pooling.update(pooling_mode_max_tokens=True), "1_Pooling/config.json: exactly one way of pooling"),
        (lambda m: m.pooling.clear(), "1_Pooling/config.json: exactly one way of pooling"),
        (lambda m: m.pooling.update(pooling_mode="odd"), "chosen are odd"),
        (lambda m: m.modules.insert(1, ("Asym", "x")), "module of type sentence_transformers.models.Asym is not supp"),
        (lambda m: m.modules.append(("Transformer", "x")), "the first must be a Transformer"),
        (lambda m: m.modules.pop(1), "one pooling must be first"),
        (lambda m: m.modules.append(("Dense", "3_Dense")), "3_Dense/model.safetensors is not in the archive"),
        (lambda m: m.files.update({"tokenizer.json": b"{}"}), "tokenizer.json does not load"),
        (lambda m: m.files.update({"tokenizer.json": b"\xff"}), "tokenizer.json does not load"),
        (lambda m: m.files.update({"config.json": b"[]"}), "config.json must hold a JSON object"),
        (lambda m: m.files.update({"config.json": b"{" * 1000}), "config.json is not valid JSON"),
        (
            lambda m: m.files.update({"sentence_bert_config.json": b'{"max_seq_length": -1}'}),
            "[max_seq_length] must be",
        ),
        (lambda m: m.files.update({"model.safetensors": b"x"}), "model.safetensors is truncated"),
    ],
)
def test_refused(save_model: SaveModel, make_zip: MakeZip, tmp_path: Path, change: Change, reason: str) -> None:
    """What cannot be served is refused by the file, the field or the tensor at fault."""
    model = save_model()
    change(model)
    with pytest.raises(InvalidModel) as caught:
        convert(make_zip(model.zipped_files()), "SAFETENSORS", tmp_path / "out", "float32")
    assert reason in caught.value.reason
    assert not (tmp_path / "out" / "mlcommons.json").exists()


def test_foreign_tokenizer(save_model: SaveModel, make_zip: MakeZip, tmp_path: Path, minilm_directory: Path) -> None:
    """A tokenizer with more ids than the embeddings have rows is refused with both numbers."""
    model = save_model()
    model.files["tokenizer.json"] = (minilm_directory / "tokenizer.json").read_bytes()
    with pytest.raises(InvalidModel, match="ids up to 30521, but the embeddings have 1500 rows"):
        convert(make_zip(model.zipped_files()), "SAFETENSORS", tmp_path / "out", "float32")


def test_task_head(save_model: SaveModel, make_zip: MakeZip, tmp_path: Path) -> None:
    """A bare cross-encoder is refused: its head would be dropped in silence."""
    files = save_model(architectures=["BertForSequenceClassification"]).zipped_files()
    del files["modules.json"]
    with pytest.raises(InvalidModel, match="a BertForSequenceClassification is not a text embedding model"):
        convert(make_zip(files), "SAFETENSORS", tmp_path / "out", "float32")


def test_remote_code(save_model: SaveModel, make_zip: MakeZip, tmp_path: Path) -> None:
    """auto_map and the code beside it are not looked at."""
    canary = tmp_path / "canary"
    model = save_model(auto_map={"AutoModel": "modeling_evil.EvilModel"}, trust_remote_code=True)
    code = f"open({str(canary)!r}, 'w')\n".encode()
    model.files.update({"modeling_evil.py": code, "1_Pooling/__init__.py": code})
    convert(make_zip(model.zipped_files()), "SAFETENSORS", tmp_path / "out", "float32")
    assert not canary.exists()
    assert not list((tmp_path / "out").glob("**/*.py"))

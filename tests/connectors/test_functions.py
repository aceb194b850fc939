"""The functions of the providers: what each makes of texts, and of its provider's answer."""

from collections.abc import Mapping
from typing import Any

import pytest

from mlcommons_py import content
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.provider import PostProcess, PreProcess, Texts

PRE: Mapping[str, PreProcess] = {
    function.name.removeprefix("connector.pre_process."): function
    for provider in content.providers().values()
    for function in provider.pre_process
}
POST: Mapping[str, PostProcess] = {
    function.name.removeprefix("connector.post_process."): function
    for provider in content.providers().values()
    for function in provider.post_process
}
TWO = Texts(("a", "b"))
PAIRS = Texts(("a", "b"), "q")
RANKED = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]


def vector(*numbers: float, data_type: str = "FLOAT32") -> dict[str, Any]:
    """Return the tensor of a vector."""
    return {"name": "sentence_embedding", "data_type": data_type, "shape": [len(numbers)], "data": list(numbers)}


def score(number: float) -> dict[str, Any]:
    """Return the tensor of a score."""
    return {"name": "similarity", "data_type": "FLOAT32", "shape": [1], "data": [number]}


def text(value: str, key: str = "response") -> dict[str, Any]:
    """Return the tensor of a text."""
    return {"name": "response", "dataAsMap": {key: value}}


MADE: dict[str, tuple[Texts, Mapping[str, Any]]] = {
    "default.embedding": (TWO, {"input": ["a", "b"]}),
    "default.rerank": (PAIRS, {"query": "q", "documents": ["a", "b"], "top_n": 2}),
    "openai.embedding": (TWO, {"input": ["a", "b"]}),
    "cohere.embedding": (TWO, {"texts": ["a", "b"]}),
    "cohere.multimodal_embedding": (TWO, {"images": ["a", "b"]}),
    "cohere.rerank": (PAIRS, {"query": "q", "documents": ["a", "b"], "top_n": 2}),
    "cohere.rerank_all": (PAIRS, {"query": "q", "documents": ["a", "b"]}),
    "bedrock.embedding": (Texts(("a",)), {"inputText": "a"}),
    "bedrock.multimodal_embedding": (TWO, {"inputText": "a", "inputImage": "b"}),
    "bedrock.nova.embedding": (Texts(('{"image": "iVBO"}',)), {"image": "iVBO"}),
    "bedrock.nova.text_embedding": (Texts(("a",)), {"inputText": "a"}),
    "bedrock.nova.image_embedding": (Texts(("a",)), {"inputImage": "a"}),
    "bedrock.nova.video_embedding": (Texts(("a",)), {"inputVideo": "a"}),
    "bedrock.nova.audio_embedding": (Texts(("a",)), {"inputAudio": "a"}),
    "bedrock.rerank": (
        Texts(("a",), "q"),
        {
            "queries": [{"textQuery": {"text": "q"}, "type": "TEXT"}],
            "sources": [
                {"inlineDocumentSource": {"textDocument": {"text": "a"}, "type": "TEXT"}, "type": "INLINE"},
            ],
            "numberOfResults": 1,
        },
    ),
    "sagemaker.text_pairs": (
        PAIRS,
        {"inputs": [{"text": "q", "text_pair": "a"}, {"text": "q", "text_pair": "b"}]},
    ),
    "sagemaker.joined_pairs": (PAIRS, {"inputs": ["q . a", "q . b"]}),
    "sagemaker.highlighting": (Texts(("the context",), "q"), {"question": "q", "context": "the context"}),
    "gemini.embedding": (Texts(("a",)), {"content": {"parts": [{"text": "a"}]}}),
    "vertex.embedding": (TWO, {"instances": [{"content": "a"}, {"content": "b"}]}),
    "vertex.rerank": (
        PAIRS,
        {"query": "q", "records": [{"id": "0", "content": "a"}, {"id": "1", "content": "b"}], "topN": 2},
    ),
    "huggingface.embedding": (TWO, {"inputs": ["a", "b"]}),
    "huggingface.rerank": (PAIRS, {"query": "q", "texts": ["a", "b"]}),
    "voyage.embedding": (TWO, {"input": ["a", "b"]}),
    "voyage.rerank": (PAIRS, {"query": "q", "documents": ["a", "b"], "top_k": 2}),
    "jina.embedding": (TWO, {"input": ["a", "b"]}),
    "jina.multimodal_embedding": (TWO, {"input": [{"text": "a"}, {"image": "b"}]}),
    "jina.rerank": (PAIRS, {"query": "q", "documents": ["a", "b"], "top_n": 2}),
    "ollama.embedding": (TWO, {"input": ["a", "b"]}),
    "vllm.score": (PAIRS, {"text_1": "q", "text_2": ["a", "b"]}),
    "aleph_alpha.embedding": (Texts(("a",)), {"input": "a"}),
    "aleph_alpha.batch_embedding": (TWO, {"prompts": ["a", "b"]}),
    "qianfan.embedding": (TWO, {"input": ["a", "b"]}),
    "qianfan.rerank": (PAIRS, {"query": "q", "documents": ["a", "b"], "top_n": 2}),
    "dashscope.embedding": (TWO, {"texts": ["a", "b"]}),
    "dashscope.rerank": (PAIRS, {"query": "q", "documents": ["a", "b"], "top_n": 2}),
}

FOUND: dict[str, tuple[Any, list[dict[str, Any]] | None]] = {
    "default.embedding": ([[0.5, 1], [2, 3]], [vector(0.5, 1), vector(2, 3)]),
    "default.rerank": (RANKED, [score(0.1), score(0.9)]),
    "mlcommons.passthrough": (
        {"inference_results": [{"output": [{"name": "output", "dataAsMap": {"response": [{"a": 0.5}]}}]}]},
        [{"name": "output", "dataAsMap": {"response": [{"a": 0.5}]}}],
    ),
    "openai.embedding": ([[0.5]], [vector(0.5)]),
    "openai.chat": ("hello", [text("hello")]),
    "cohere.embedding": ([[0.5]], [vector(0.5)]),
    "cohere_v2.embedding.float": ([[0.5]], [vector(0.5)]),
    "cohere_v2.embedding.int8": ([[-5]], [vector(-5, data_type="INT8")]),
    "cohere_v2.embedding.uint8": ([[5]], [vector(5, data_type="UINT8")]),
    "cohere_v2.embedding.binary": ([[-5]], [vector(-5, data_type="BINARY")]),
    "cohere_v2.embedding.ubinary": ([[5]], [vector(5, data_type="UBINARY")]),
    "cohere_v2.embedding.any": ({"int8": [[-5]], "float": [[0.5]]}, [vector(-5)]),
    "cohere.rerank": (RANKED, [score(0.1), score(0.9)]),
    "cohere.rerank_all": (RANKED, [score(0.1), score(0.9)]),
    "cohere.generate": ("hello", [text("hello", "completion")]),
    "cohere_v2.chat": ("hello", [text("hello")]),
    "bedrock.embedding": ([0.5, 1.5], [vector(0.5, 1.5)]),
    "bedrock_v2.embedding.float": ([0.5], [vector(0.5)]),
    "bedrock_v2.embedding.binary": ([0, 1], [vector(0, 1, data_type="BINARY")]),
    "bedrock.nova.embedding": ([[0.5]], [vector(0.5)]),
    "bedrock.batch_job_arn": (
        {"jobArn": "arn:aws:bedrock:us-east-1:1:model-invocation-job/ab"},
        [
            {
                "name": "response",
                "dataAsMap": {
                    "jobArn": "arn:aws:bedrock:us-east-1:1:model-invocation-job/ab",
                    "processedJobArn": "arn:aws:bedrock:us-east-1:1:model-invocation-job%2Fab",
                },
            }
        ],
    ),
    "bedrock.rerank": (
        [{"index": 1, "relevanceScore": 0.9}, {"index": 0, "relevanceScore": 1}],
        [score(1.0), score(0.9)],
    ),
    "bedrock.converse": ("hello", [text("hello")]),
    "bedrock.claude": ("hello", [text("hello")]),
    "bedrock.jurassic": ("hello", [text("hello")]),
    "bedrock.llama": ("hello", [text("hello", "completion")]),
    "bedrock.guardrail": ({"amazon-bedrock-guardrailAction": "NONE"}, None),
    "sagemaker.scores": ([{"label": "a", "score": 0.1}, {"label": "b", "score": 2}], [score(0.1), score(2.0)]),
    "sagemaker.generated_text": ("hello", [text("hello", "completion")]),
    "gemini.embedding": ([0.5], [vector(0.5)]),
    "gemini.chat": ("hello", [text("hello")]),
    "vertex.embedding": ([[0.5]], [vector(0.5)]),
    "vertex.rerank": ([{"id": "1", "score": 0.9}, {"id": "0", "score": 0.2}], [score(0.2), score(0.9)]),
    "huggingface.rerank": ([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.2}], [score(0.2), score(0.9)]),
    "huggingface.sparse": (
        [[{"index": 7, "value": 0.5}], []],
        [{"name": "output", "dataAsMap": {"response": [{"7": 0.5}, {}]}}],
    ),
    "huggingface.generate": ("hello", [text("hello")]),
    "anthropic.messages": ("hello", [text("hello")]),
    "deepseek.chat": ("hello", [text("hello")]),
    "mistral.chat": (
        [{"type": "thinking", "thinking": []}, {"type": "text", "text": "hello"}],
        [text("hello")],
    ),
    "voyage.embedding": ([[0.5]], [vector(0.5)]),
    "voyage.rerank": (RANKED, [score(0.1), score(0.9)]),
    "jina.embedding": ([[0.5]], [vector(0.5)]),
    "jina.rerank": (RANKED, [score(0.1), score(0.9)]),
    "ollama.embedding": ([[0.5]], [vector(0.5)]),
    "ollama.chat": ("hello", [text("hello")]),
    "ollama.generate": ("hello", [text("hello")]),
    "vllm.score": ([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.2}], [score(0.2), score(0.9)]),
    "aleph_alpha.embedding": ([0.5], [vector(0.5)]),
    "aleph_alpha.plain_embedding": ([0.5], [{**vector(0.5), "name": "embedding"}]),
    "aleph_alpha.batch_embedding": ([[0.5]], [vector(0.5)]),
    "aleph_alpha.complete": ("hello", [text("hello")]),
    "qianfan.embedding": (
        {"data": [{"embedding": [0.5], "index": 1}, {"embedding": [1.5], "index": 0}]},
        [vector(1.5), vector(0.5)],
    ),
    "qianfan.rerank": ({"results": RANKED}, [score(0.1), score(0.9)]),
    "qianfan.chat": ({"result": "hello", "is_truncated": False}, [text("hello")]),
    "dashscope.embedding": (
        [{"text_index": 1, "embedding": [1.5]}, {"text_index": 0, "embedding": [0.5]}],
        [vector(0.5), vector(1.5)],
    ),
    "dashscope.sparse": (
        [
            {"text_index": 1, "sparse_embedding": []},
            {"text_index": 0, "sparse_embedding": [{"index": 7, "value": 0.5, "token": "a"}]},
        ],
        [{"name": "output", "dataAsMap": {"response": [{"7": 0.5}, {}]}}],
    ),
    "dashscope.rerank": (RANKED, [score(0.1), score(0.9)]),
    "dashscope.chat": ("hello", [text("hello")]),
}

NOT_A_LIST = "Post process function input is not a List."
NO_FLOATS = "The embedding should be a non-empty List containing Float values."
REFUSED: list[tuple[str, Any, str]] = [
    ("openai.embedding", None, "Can't run post process function as model output is null"),
    ("openai.embedding", {}, NOT_A_LIST),
    ("openai.embedding", [0.5], "The embedding should be a non-empty List containing List of Float values."),
    ("openai.embedding", [[]], NO_FLOATS),
    ("openai.embedding", [[0.5], ["a"]], NO_FLOATS),
    ("openai.embedding", [[0.5, True]], NO_FLOATS),
    ("bedrock.embedding", {}, NOT_A_LIST),
    ("bedrock.embedding", ["a"], NO_FLOATS),
    ("cohere.rerank", {}, NOT_A_LIST),
    ("cohere.rerank", ["a"], "Post process function input is not a List of Map."),
    ("cohere.rerank", [{"index": 0}], "The rerank result should contain index and relevance_score."),
    ("cohere.rerank_all", [], "Post process function input is empty."),
    ("bedrock.rerank", [], "Post process function input is empty."),
    ("bedrock.rerank", ["a"], "Rerank result is not a Map."),
    ("bedrock.rerank", [{}], "Rerank result is empty."),
    ("bedrock.rerank", [{"index": 0}], "Rerank result should have both index and relevanceScore."),
    ("bedrock.batch_job_arn", [], "Post process function input is not a Map."),
    ("bedrock.batch_job_arn", {}, "job arn is missing."),
    (
        "bedrock.guardrail",
        {"amazon-bedrock-guardrailAction": "INTERVENED"},
        "A guardrail of Amazon Bedrock intervened.",
    ),
    ("mlcommons.passthrough", "a", "Post process function input must be a Map or List"),
    ("qianfan.embedding", {"error_code": 17, "error_msg": "Daily"}, "Error from remote service: 17: Daily"),
]


def test_names_are_lower_case() -> None:
    """Every function and stream has a name in lower case, as they are looked up."""
    names = [name for provider in content.providers().values() for name in provider.offers()]

    assert [name for name in names if name != name.lower()] == []


def test_every_pre_process_function_is_tried() -> None:
    """The tables above have every function that there is."""
    assert MADE.keys() == PRE.keys()
    assert FOUND.keys() == POST.keys()


@pytest.mark.parametrize("name", MADE)
def test_parameters_are_the_providers(name: str) -> None:
    """A pre-process function makes the parameters that upstream's makes, or the provider's documentation asks for."""
    texts, parameters = MADE[name]

    assert PRE[name].make(texts) == parameters
    assert (PRE[name].takes == "text_docs") == (texts.query is None)


@pytest.mark.parametrize("name", FOUND)
def test_tensors_are_in_the_order_of_the_docs(name: str) -> None:
    """A post-process function makes the tensors of what its path finds in the provider's answer."""
    found, expected = FOUND[name]

    assert POST[name].make(found) == expected


@pytest.mark.parametrize(("name", "found", "reason"), REFUSED)
def test_wrong_answers_are_refused(name: str, found: Any, reason: str) -> None:
    """An answer of another form is refused in upstream's words."""
    with pytest.raises(IllegalArgument) as raised:
        POST[name].make(found)

    assert raised.value.reason == reason


@pytest.mark.parametrize("found", [[{"index": 3, "relevance_score": 1}], [RANKED[0], RANKED[0]]])
def test_a_ranking_of_other_documents_is_refused(found: Any) -> None:
    """A ranking that leaves documents out, or has one twice, is no list of scores of the documents."""
    with pytest.raises(IllegalArgument, match="Let the provider score every document"):
        POST["cohere.rerank"].make(found)


@pytest.mark.parametrize(
    ("name", "docs", "reason"),
    [
        ("cohere.multimodal_embedding", (None,), "No image provided"),
        ("bedrock.multimodal_embedding", (None,), "No input text or image provided"),
        ("bedrock.nova.embedding", (None,), "No input provided"),
        ("bedrock.nova.image_embedding", (None,), "No input image provided"),
        ("jina.multimodal_embedding", (None, None), "No input text or image provided"),
    ],
)
def test_nothing_to_embed_is_refused(name: str, docs: tuple[str | None, ...], reason: str) -> None:
    """A doc that is null where an image or a text must be is refused before anything is sent."""
    with pytest.raises(IllegalArgument) as raised:
        PRE[name].make(Texts(docs))

    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("doc", "parameters"),
    [
        ("plain", {"text": "plain"}),
        ('{"text": "a"}', {"text": "a"}),
        ('{"audio": "UklG"}', {"audio": "UklG"}),
        ('{"other": 1}', {"text": '{"other": 1}'}),
        ("{broken", {"text": "{broken"}),
    ],
)
def test_nova_picks_the_modality(doc: str, parameters: Mapping[str, str]) -> None:
    """A doc that is a JSON object of a modality goes to that; any other text is a text, even one in braces."""
    assert PRE["bedrock.nova.embedding"].make(Texts((doc,))) == parameters


def test_the_image_alone_is_sent_without_a_text() -> None:
    """A field pair without a text sends the image only, not a null."""
    assert PRE["bedrock.multimodal_embedding"].make(Texts((None, "b"))) == {"inputImage": "b"}


def test_nova_is_not_sent_what_is_empty() -> None:
    """Of a body for all modalities, those without content are left out."""
    body = {
        "singleEmbeddingParams": {
            "embeddingDimension": 1024,
            "text": {"truncationMode": "END", "value": "a"},
            "image": {"format": "png", "source": {"bytes": None}},
        }
    }
    tidy = content.providers()["bedrock"].bodies["amazon.nova-2-multimodal-embeddings-v1:0"]

    assert tidy(body) == {
        "singleEmbeddingParams": {"embeddingDimension": 1024, "text": {"truncationMode": "END", "value": "a"}}
    }


def test_passthrough_keeps_the_inner_tensors() -> None:
    """Another ML Commons' tensors keep name, type, shape and data; one without a name is named output."""
    inner = {"data_type": "FLOAT32", "shape": [2], "data": [0.5, 1.5]}

    assert POST["mlcommons.passthrough"].make({"inference_results": [{"output": [inner, {}]}]}) == [
        {**inner, "name": "output"}
    ]
    assert POST["mlcommons.passthrough"].make({"a": 1}) == [{"name": "response", "dataAsMap": {"a": 1}}]


def test_published_scripts_name_functions_that_are_there() -> None:
    """Every recognised Painless script has an equivalent, and each is known once."""
    scripts = [
        ("".join(script.split()), name)
        for provider in content.providers().values()
        for script, name in provider.painless.items()
    ]
    functions = {pre.name for pre in PRE.values()} | {post.name for post in POST.values()}

    assert len(scripts) == 38
    assert len({script for script, _ in scripts}) == 38
    assert {name for _, name in scripts} <= functions

"""Amazon Bedrock: embeddings of Titan and Nova, rerank, generated texts, and its guardrails."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.jobs import below
from mlcommons_py.remote.provider import Delta, PostProcess, PreProcess, Preset, Provider, Streaming, Tensor, Texts
from mlcommons_py.remote.schemas import (
    CONVERSATION_INPUT,
    EMBEDDING_INPUT,
    EMBEDDING_OUTPUT,
    TEXT_OUTPUT,
    array,
    integer,
    number,
    output,
    parameters,
    record,
    string,
)

_MODALITIES = ("text", "image", "video", "audio")


def _first(texts: Texts, what: str) -> str:
    first = texts.docs[0]
    if first is None:
        raise IllegalArgument(f"No input {what} provided")
    return first


def _input_text(texts: Texts) -> Mapping[str, Any]:
    return {"inputText": texts.docs[0]}


def _input_of(parameter: str, what: str, texts: Texts) -> Mapping[str, Any]:
    return {parameter: _first(texts, what)}


def _text_and_image(texts: Texts) -> Mapping[str, Any]:
    if len(texts.docs) > 2:
        raise IllegalArgument(
            f"A request takes a text and an image, not {len(texts.docs)} docs. "
            "To send more, set the connector's parameter input_docs_processed_step_size to 2."
        )
    if not any(doc is not None for doc in texts.docs[:2]):
        raise IllegalArgument("No input text or image provided")
    made = dict(zip(("inputText", "inputImage"), texts.docs, strict=False))
    return {name: value for name, value in made.items() if value is not None}


def _modality(texts: Texts) -> Mapping[str, Any]:
    """Return the parameter that a doc is for: a JSON object names it by its key, any other text is a text."""
    doc = texts.docs[0]
    if doc is None:
        raise IllegalArgument("No input provided")
    try:
        value = orjson.loads(doc) if doc.lstrip().startswith("{") else None
    except orjson.JSONDecodeError:
        value = None
    if isinstance(value, dict):
        for name in _MODALITIES:
            if isinstance(value.get(name), str):
                return {name: value[name]}
    return {"text": doc}


def _without_empty(body: Any) -> Any:
    """Return a request of Nova's embeddings without the modalities that it has no content of, which Nova refuses."""
    single = deltas.pick(body, "singleEmbeddingParams")
    if not isinstance(single, dict):
        return body
    kept = {
        name: value
        for name, value in single.items()
        if name not in _MODALITIES
        or deltas.pick(value, *(("value",) if name == "text" else ("source", "bytes"))) is not None
        or deltas.pick(value, "source", "s3Location") is not None
    }
    return {**body, "singleEmbeddingParams": kept}


def _rerank(texts: Texts) -> Mapping[str, Any]:
    return {
        "queries": [{"textQuery": {"text": texts.query}, "type": "TEXT"}],
        "sources": [
            {"inlineDocumentSource": {"textDocument": {"text": doc}, "type": "TEXT"}, "type": "INLINE"}
            for doc in texts.docs
        ],
        "numberOfResults": len(texts.docs),
    }


def _relevance(found: Any) -> Sequence[Tensor]:
    if found == []:
        raise IllegalArgument("Post process function input is empty.")
    for entry in tensors.a_list(found):
        if not isinstance(entry, dict):
            raise IllegalArgument("Rerank result is not a Map.")
        if not entry:
            raise IllegalArgument("Rerank result is empty.")
        if "index" not in entry or "relevanceScore" not in entry:
            raise IllegalArgument("Rerank result should have both index and relevanceScore.")
    return tensors.scores(found, "relevanceScore")


def _job_arn(found: Any) -> Sequence[Tensor]:
    if not isinstance(found, dict):
        raise IllegalArgument("Post process function input is not a Map.")
    if "jobArn" not in found:
        raise IllegalArgument("job arn is missing.")
    return [tensors.mapped({**found, "processedJobArn": str(found["jobArn"]).replace("/", "%2F")})]


def _unless_intervened(found: Any) -> None:
    if deltas.pick(found, "amazon-bedrock-guardrailAction") == "INTERVENED":
        raise IllegalArgument("A guardrail of Amazon Bedrock intervened.")


def _converse_event(event: str, data: str) -> Delta | None:
    value = deltas.parsed(data)
    if isinstance(value, Delta):
        return value
    if event.lower().endswith(("exception", "error")):
        return deltas.failure(value)
    match event:
        case "contentBlockDelta":
            text = deltas.pick(value, "delta", "text") or deltas.pick(value, "delta", "toolUse", "input")
            return Delta(text) if text else None
        case "messageStop":
            return Delta(is_last=True)
    return None


def _invoke_event(read: Callable[[str, str], Delta | None], event: str, data: str) -> Delta | None:
    """Read an event of ``invoke-with-response-stream``, which has the model's own as base64."""
    value = deltas.parsed(data)
    if isinstance(value, Delta):
        return value
    if event.lower().endswith(("exception", "error")):
        return deltas.failure(value)
    try:
        inner = base64.b64decode(deltas.pick(value, "bytes") or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return Delta(is_last=True, error=f"the remote service sent an event that is no base64: {data[:200]}")
    return read("", inner) if inner else None


def _same(body: Any) -> Any:
    return body


_JURASSIC_TOKENS = array(
    record(
        generatedToken=record(token=string, logprob=number, raw_logprob=number),
        textRange=record(start=number, end=number),
    )
)
_JURASSIC_OUTPUT = output(
    record(
        id=number,
        prompt=record(text=string, tokens=_JURASSIC_TOKENS),
        completions=array(
            record(
                data=record(text=string, tokens=_JURASSIC_TOKENS),
                finishReason=record(reason=string, length=number),
            )
        ),
    ),
    strict=False,
)
_CLAUDE_2_OUTPUT = output(
    record(("type", "completion"), type=string, completion=string, stop_reason=string, stop=string)
)
_COHERE_OUTPUT = output(
    record(
        ("id", "texts", "embeddings", "response_type"),
        id=string,
        texts=array(string),
        embeddings=array(array(number)),
        response_type=string,
    )
)
_TITAN_OUTPUT = output(
    record(("embedding", "inputTextTokenCount"), embedding=array(number), inputTextTokenCount=integer)
)
_COHERE = Preset(EMBEDDING_INPUT, EMBEDDING_OUTPUT, _COHERE_OUTPUT, "connector.post_process.cohere.embedding")
_BY_BEDROCK = "connector.post_process.bedrock.embedding"

PROVIDER = Provider(
    name="bedrock",
    pre_process=(
        PreProcess("connector.pre_process.bedrock.embedding", _input_text, one_by_one=True),
        PreProcess("connector.pre_process.bedrock.multimodal_embedding", _text_and_image),
        PreProcess("connector.pre_process.bedrock.nova.embedding", _modality, one_by_one=True),
        PreProcess("connector.pre_process.bedrock.nova.text_embedding", _input_text, one_by_one=True),
        *(
            PreProcess(
                f"connector.pre_process.bedrock.nova.{what}_embedding",
                partial(_input_of, f"input{what.title()}", what),
                one_by_one=True,
            )
            for what in ("image", "video", "audio")
        ),
        PreProcess("connector.pre_process.bedrock.rerank", _rerank, takes="text_similarity"),
    ),
    post_process=(
        PostProcess(_BY_BEDROCK, "$.embedding", tensors.vector),
        PostProcess("connector.post_process.bedrock_v2.embedding.float", "$.embeddingsByType.float", tensors.vector),
        PostProcess(
            "connector.post_process.bedrock_v2.embedding.binary",
            "$.embeddingsByType.binary",
            partial(tensors.vector, data_type="BINARY"),
        ),
        PostProcess("connector.post_process.bedrock.nova.embedding", "$.embeddings[*].embedding", tensors.vectors),
        PostProcess("connector.post_process.bedrock.batch_job_arn", "$", _job_arn),
        PostProcess("connector.post_process.bedrock.rerank", "$.results", _relevance),
        PostProcess("connector.post_process.bedrock.converse", "$.output.message.content[0].text", tensors.text),
        PostProcess("connector.post_process.bedrock.claude", "$.content[0].text", tensors.text),
        PostProcess("connector.post_process.bedrock.jurassic", "$.completions[0].data.text", tensors.text),
        PostProcess("connector.post_process.bedrock.llama", "$.generation", partial(tensors.text, key="completion")),
        PostProcess("connector.post_process.bedrock.guardrail", "$", _unless_intervened, whole=True),
    ),
    painless={
        # Titan, of which other providers' blueprints have copies.
        (
            'StringBuilder builder = new StringBuilder(); builder.append("\\""); String first = '
            'params.text_docs[0]; builder.append(first); builder.append("\\""); def parameters = "{" '
            '+"\\"inputText\\":" + builder + "}"; return "{" +"\\"parameters\\":" + parameters + "}";'
        ): "connector.pre_process.bedrock.embedding",
        (
            'def name = "sentence_embedding"; def dataType = "FLOAT32"; if (params.embedding == null || '
            "params.embedding.length == 0) { return params.message; } def shape = "
            '[params.embedding.length]; def json = "{" + "\\"name\\":\\"" + name + "\\"," + "\\"data_type\\":\\"" '
            '+ dataType + "\\"," + "\\"shape\\":" + shape + "," + "\\"data\\":" + params.embedding + "}"; '
            "return json;"
        ): _BY_BEDROCK,
        (
            'def name = "sentence_embedding"; def dataType = "FLOAT32"; if (params.embeddingsByType == '
            "null || params.embeddingsByType.length == 0) { return params.message; } def shape = "
            '[params.embeddingsByType.length]; def json = "{" + "\\"name\\":\\"" + name + "\\"," + '
            '"\\"data_type\\":\\"" + dataType + "\\"," + "\\"shape\\":" + shape + "," + "\\"data\\":" + '
            'params.embeddingsByType + "}"; return json;'
        ): "connector.post_process.bedrock_v2.embedding.float",
        # Titan multimodal.
        (
            'StringBuilder parametersBuilder = new StringBuilder("{"); if (params.text_docs.length > 0 && '
            'params.text_docs[0] != null) { parametersBuilder.append("\\"inputText\\":"); '
            'parametersBuilder.append("\\""); parametersBuilder.append(params.text_docs[0]); '
            'parametersBuilder.append("\\""); if (params.text_docs.length > 1 && params.text_docs[1] != '
            'null) { parametersBuilder.append(","); } } if (params.text_docs.length > 1 && '
            'params.text_docs[1] != null) { parametersBuilder.append("\\"inputImage\\":"); '
            'parametersBuilder.append("\\""); parametersBuilder.append(params.text_docs[1]); '
            'parametersBuilder.append("\\""); } parametersBuilder.append("}"); return "{" '
            '+"\\"parameters\\":" + parametersBuilder + "}";'
        ): "connector.pre_process.bedrock.multimodal_embedding",
        (
            'def name = "sentence_embedding"; def dataType = "FLOAT32"; if (params.embedding == null || '
            "params.embedding.length == 0) { return null; } def shape = [params.embedding.length]; def "
            'json = "{" + "\\"name\\":\\"" + name + "\\"," + "\\"data_type\\":\\"" + dataType + "\\"," + '
            '"\\"shape\\":" + shape + "," + "\\"data\\":" + params.embedding + "}"; return json;'
        ): _BY_BEDROCK,
        # Judging of search results by a language model.
        (
            'def text = params.content[0].text; return \'{"name":"response","dataAsMap":{"response":"\' + '
            "escape(text) + '\"}}'"
        ): "connector.post_process.bedrock.claude",
        (
            "def text = params.output.message.content[0].text; return "
            '\'{"name":"response","dataAsMap":{"response":"\' + escape(text) + \'"}}\''
        ): "connector.post_process.bedrock.converse",
        # Jurassic, DeepSeek R1, and a guardrail that must not be passed over.
        ("return params['completions'][0].data.text;"): "connector.post_process.bedrock.jurassic",
        (
            'return \'{\' + \'"name": "response",\'+ \'"dataAsMap": {\' + \'"completion":"\' + '
            "escape(params.generation) + '\"}' + '}';"
        ): "connector.post_process.bedrock.llama",
        (
            "if (params['amazon-bedrock-guardrailAction']=='INTERVENED') throw new "
            'IllegalArgumentException("test guardrail from post process function");'
        ): "connector.post_process.bedrock.guardrail",
        # What was published of Titan before.
        (
            'StringBuilder builder = new StringBuilder(); builder.append("\\""); String first = '
            'params.text_docs[0]; if (first.contains("\\"")) { first = first.replace("\\"", "\\\\\\""); } if '
            '(first.contains("\\\\t")) { first = first.replace("\\\\t", "\\\\\\\\\\\\t"); } if (first.contains(\'\')) '
            "{ first = first.replace('', '\\\\n'); } builder.append(first); builder.append(\"\\\"\"); def "
            'parameters = "{" +"\\"inputText\\":" + builder + "}"; return "{" +"\\"parameters\\":" + '
            'parameters + "}";'
        ): "connector.pre_process.bedrock.embedding",
        (
            'def name = "sentence_embedding"; def dataType = "FLOAT32"; if (params.embedding == null || '
            "params.embedding.length == 0) { return params.message; } def shape = "
            '[params.embedding.length]; def json = "{" + "\\"name\\":" + "\\"" + name + "\\"" + "," + '
            '"\\"data_type\\":" + "\\"" + dataType + "\\"" + "," + "\\"shape\\":" + shape + "," + "\\"data\\":" + '
            'params.embedding + "}"; return json;'
        ): _BY_BEDROCK,
    },
    streaming=(
        *(
            Streaming(name, _converse_event, _same, "aws", lambda url: f"{url.removesuffix('-stream')}-stream")
            for name in ("bedrock/converse", "bedrock/converse/claude", "bedrock/converse/deepseek_r1")
        ),
        *(
            Streaming(
                name,
                partial(_invoke_event, read),
                _same,
                "aws",
                lambda url: f"{url.removesuffix('-with-response-stream')}-with-response-stream",
            )
            for name, read in (
                ("bedrock/invoke/claude", deltas.of_messages),
                ("bedrock/invoke/openai", deltas.of_chat),
            )
        ),
    ),
    batch_jobs=below("bedrock", "processedJobArn", "stop"),
    interfaces={
        ("bedrock", "ai21.j2-mid-v1"): Preset(CONVERSATION_INPUT, TEXT_OUTPUT, _JURASSIC_OUTPUT),
        ("bedrock", "anthropic.claude-3-sonnet-20240229-v1:0"): Preset(CONVERSATION_INPUT, TEXT_OUTPUT),
        ("bedrock", "anthropic.claude-v2"): Preset(CONVERSATION_INPUT, _CLAUDE_2_OUTPUT),
        ("bedrock", "cohere.embed-english-v3"): _COHERE,
        ("bedrock", "cohere.embed-multilingual-v3"): _COHERE,
        ("bedrock", "amazon.titan-embed-text-v1"): Preset(
            parameters(("inputText",), inputText=string), EMBEDDING_OUTPUT, _TITAN_OUTPUT, _BY_BEDROCK
        ),
        ("bedrock", "amazon.titan-embed-image-v1"): Preset(
            parameters(inputText=string, inputImage=string), EMBEDDING_OUTPUT, _TITAN_OUTPUT, _BY_BEDROCK
        ),
    },
    bodies={"amazon.nova-2-multimodal-embeddings-v1:0": _without_empty},
)

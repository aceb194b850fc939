"""Amazon SageMaker: the containers that blueprints deploy there, and batch transform jobs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.jobs import beside
from mlcommons_py.remote.provider import Delta, PostProcess, PreProcess, Provider, Streaming, Tensor, Texts


def _pairs(texts: Texts) -> Mapping[str, Any]:
    return {"inputs": [{"text": texts.query, "text_pair": doc} for doc in texts.docs]}


def _joined(texts: Texts) -> Mapping[str, Any]:
    return {"inputs": [f"{texts.query} . {doc}" for doc in texts.docs]}


def _question(texts: Texts) -> Mapping[str, Any]:
    return {"question": texts.query, "context": texts.docs[0]}


def _in_order(found: Any) -> Sequence[Tensor]:
    entries = tensors.a_list(found)
    if not all(isinstance(entry, dict) and isinstance(entry.get("score"), int | float) for entry in entries):
        raise IllegalArgument("The rerank result should contain score.")
    return [tensors.similarity(entry["score"]) for entry in entries]


def _of_container(read: Callable[[str, str], Delta | None], event: str, data: str) -> Delta | None:
    """Read a line that a container sends, or an error of SageMaker's own, which alone has a name."""
    if not event:
        return read(event, data)
    told = deltas.parsed(data)
    if isinstance(told, Delta):
        return told
    parts = [text for name in ("ErrorCode", "Message") if isinstance(text := deltas.pick(told, name), str)]
    return deltas.failure({"message": ": ".join(parts)} if parts else told)


def _stream_url(url: str) -> str:
    return f"{url}-response-stream" if url.endswith("/invocations") else url


PROVIDER = Provider(
    name="sagemaker",
    pre_process=(
        PreProcess("connector.pre_process.sagemaker.text_pairs", _pairs, takes="text_similarity"),
        PreProcess("connector.pre_process.sagemaker.joined_pairs", _joined, takes="text_similarity"),
        PreProcess("connector.pre_process.sagemaker.highlighting", _question, takes="question_answering"),
    ),
    post_process=(
        PostProcess("connector.post_process.sagemaker.scores", "$", _in_order),
        PostProcess(
            "connector.post_process.sagemaker.generated_text",
            "$[0].generated_text",
            partial(tensors.text, key="completion"),
        ),
    ),
    painless={
        # A cross-encoder behind Hugging Face's inference toolkit.
        (
            'String escape(def input) { if (input.contains("\\\\")) { input = input.replace("\\\\", "\\\\\\\\"); } '
            'if (input.contains("\\"")) { input = input.replace("\\"", "\\\\\\""); } if (input.contains(\'\')) { '
            "input = input = input.replace('', '\\\\r'); } if (input.contains(\"\\\\t\")) { input = "
            "input.replace(\"\\\\t\", \"\\\\\\\\\\\\t\"); } if (input.contains(' ')) { input = input.replace(' ', "
            "'\\\\n'); } if (input.contains('\x08')) { input = input.replace('\x08', '\\\\b'); } if "
            "(input.contains(' ')) { input = input.replace(' ', '\\\\f'); } return input; } String query = "
            "params.query_text; StringBuilder builder = new StringBuilder('['); for (int i=0; "
            'i<params.text_docs.length; i ++) { builder.append(\'{"text":"\'); '
            'builder.append(escape(query)); builder.append(\'", "text_pair":"\'); '
            "builder.append(escape(params.text_docs[i])); builder.append('\"}'); if "
            "(i<params.text_docs.length - 1) { builder.append(','); } } builder.append(']'); def "
            "parameters = '{ \"inputs\": ' + builder + ' }'; return '{\"parameters\": ' + parameters + '}';"
        ): "connector.pre_process.sagemaker.text_pairs",
        (
            "def dataType = \"FLOAT32\"; if (params.result == null) { return 'no result generated'; } def "
            "outputs = params.result; def resultBuilder = new StringBuilder('[ '); for (int i=0; "
            'i<outputs.length; i++) { resultBuilder.append(\' {"name": "similarity", "data_type": '
            '"FLOAT32", "shape": [1],\'); resultBuilder.append(\'"data": [\'); '
            "resultBuilder.append(outputs[i].score); resultBuilder.append(']}'); if (i<outputs.length - 1) "
            "{ resultBuilder.append(','); } } resultBuilder.append(']'); return resultBuilder.toString();"
        ): "connector.post_process.sagemaker.scores",
        # DeepSeek R1.
        (
            "if (params.result == null || params.result.length == 0) { throw new Exception('No response "
            "available'); } def completion = params.result[0].generated_text; return '{' + '\"name\": "
            "\"response\",'+ '\"dataAsMap\": {' + '\"completion\":\"' + escape(completion) + '\"}' + '}';"
        ): "connector.post_process.sagemaker.generated_text",
        # Semantic highlighting; calls with "inputs" have parameters already.
        (
            "if (params.question != null && params.context != null && params.inputs == null) { return "
            '\'{"parameters":{"question":"\' + params.question + \'","context":"\' + params.context + \'"}}\'; } '
            "else if (params.inputs != null) { String inputsJson = params.inputs.toString(); return "
            "'{\"parameters\":{\"inputs\":' + inputsJson + '}}'; } else { throw new "
            'IllegalArgumentException("Invalid input format: must provide either (question and context) or '
            '(inputs)"); }'
        ): "connector.pre_process.sagemaker.highlighting",
        # What was published of these before.
        (
            'String escape(def input) { if (input.contains("\\\\")) { input = input.replace("\\\\", "\\\\\\\\"); } '
            'if (input.contains("\\"")) { input = input.replace("\\"", "\\\\\\""); } if (input.contains(\' \')) { '
            "input = input = input.replace(' ', '\\\\r'); } if (input.contains(\"\\\\t\")) { input = "
            "input.replace(\"\\\\t\", \"\\\\\\\\\\\\t\"); } if (input.contains(' ')) { input = input.replace(' ', "
            "'\\\\n'); } if (input.contains('\x08')) { input = input.replace('\x08', '\\\\b'); } if "
            "(input.contains(' ')) { input = input.replace(' ', '\\\\f'); } return input; } String query = "
            "params.query_text; StringBuilder builder = new StringBuilder('['); for (int i=0; "
            "i<params.text_docs.length; i ++) { builder.append('\"'); builder.append(escape(query)); "
            "builder.append(' . '); builder.append(escape(params.text_docs[i])); builder.append('\"'); if "
            "(i<params.text_docs.length - 1) { builder.append(','); } } builder.append(']'); def "
            "parameters = '{ \"inputs\": ' + builder + ' }'; return '{\"parameters\": ' + parameters + '}';"
        ): "connector.pre_process.sagemaker.joined_pairs",
        (
            'if (params.question != null && params.context != null) { return \'{"parameters":{"question":"\' '
            '+ params.question + \'","context":"\' + params.context + \'"}}\'; } else { throw new '
            'IllegalArgumentException("Missing required parameters: question and context"); }'
        ): "connector.pre_process.sagemaker.highlighting",
    },
    streaming=tuple(
        Streaming(name, partial(_of_container, read), framing="aws-lines", url=_stream_url)
        for name, read in (
            ("sagemaker/openai/v1/chat/completions", deltas.of_chat),
            ("sagemaker/huggingface/generate", deltas.of_tokens),
        )
    ),
    batch_jobs=beside(
        "sagemaker",
        "CreateTransformJob",
        status="DescribeTransformJob",
        cancel="StopTransformJob",
        body='{ "TransformJobName" : "${parameters.TransformJobName}"}',
    ),
)

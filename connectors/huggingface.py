"""Hugging Face's servers: text embeddings inference (TEI), text generation inference (TGI)."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.provider import PostProcess, PreProcess, Provider, Streaming, Tensor, Texts


def _inputs(texts: Texts) -> Mapping[str, Any]:
    return {"inputs": list(texts.docs)}


def _rerank(texts: Texts) -> Mapping[str, Any]:
    return {"query": texts.query, "texts": list(texts.docs)}


def _ranks(found: Any) -> Sequence[Tensor]:
    if found == []:
        raise IllegalArgument("Post process function input is empty.")
    return tensors.scores(found, "score")


def _stream_url(url: str) -> str:
    return f"{url.removesuffix('_stream')}_stream" if url.endswith(("/generate", "_stream")) else url


PROVIDER = Provider(
    name="huggingface",
    pre_process=(
        PreProcess("connector.pre_process.huggingface.embedding", _inputs),
        PreProcess("connector.pre_process.huggingface.rerank", _rerank, takes="text_similarity"),
    ),
    post_process=(
        PostProcess("connector.post_process.huggingface.rerank", "$", _ranks),
        PostProcess("connector.post_process.huggingface.sparse", "$", tensors.weights),
        PostProcess("connector.post_process.huggingface.generate", "$.generated_text", tensors.text),
    ),
    painless={
        # bge-reranker behind TEI on SageMaker.
        (
            "def query_text = params.query_text; def text_docs = params.text_docs; def textDocsBuilder = "
            "new StringBuilder('['); for (int i=0; i<text_docs.length; i++) { textDocsBuilder.append('\"'); "
            "textDocsBuilder.append(text_docs[i]); textDocsBuilder.append('\"'); if (i<text_docs.length - "
            "1) { textDocsBuilder.append(','); } } textDocsBuilder.append(']'); def parameters = '{ "
            '"query": "\' + query_text + \'", "texts": \' + textDocsBuilder.toString() + \' }\'; return '
            "'{\"parameters\": ' + parameters + '}';"
        ): "connector.pre_process.huggingface.rerank",
        (
            "if (params.result == null || params.result.length == 0) { throw new "
            'IllegalArgumentException("Post process function input is empty."); } def outputs = '
            "params.result; def scores = new Double[outputs.length]; for (int i=0; i<outputs.length; i++) "
            "{ def index = new BigDecimal(outputs[i].index.toString()).intValue(); scores[index] = "
            "outputs[i].score; } def resultBuilder = new StringBuilder('['); for (int i=0; "
            'i<scores.length; i++) { resultBuilder.append(\' {"name": "similarity", "data_type": "FLOAT32", '
            '"shape": [1],\'); resultBuilder.append(\'"data": [\'); resultBuilder.append(scores[i]); '
            "resultBuilder.append(']}'); if (i<outputs.length - 1) { resultBuilder.append(','); } } "
            "resultBuilder.append(']'); return resultBuilder.toString();"
        ): "connector.post_process.huggingface.rerank",
        # What was published of it before.
        (
            "def query_text = params.query_text; def text_docs = params.text_docs; def textDocsBuilder = "
            "new StringBuilder('['); for (int i=0; i<text_docs.length; i++) { "
            "textDocsBuilder.append('\\\"'); textDocsBuilder.append(text_docs[i]); "
            "textDocsBuilder.append('\\\"'); if (i<text_docs.length - 1) { textDocsBuilder.append(','); } } "
            "textDocsBuilder.append(']'); def parameters = '{ \\\"query\\\": \\\"' + query_text + '\\\", "
            "\\\"texts\\\": ' + textDocsBuilder.toString() + ' }'; return '{\\\"parameters\\\": ' + parameters + "
            "'}';"
        ): "connector.pre_process.huggingface.rerank",
        (
            "def dataType = \"FLOAT32\"; if (params.result == null) { return 'no result generated'; } def "
            "outputs = params.result; def sorted_outputs = outputs; for (int i=0; i<outputs.length; i++) { "
            "def idx = new BigDecimal(outputs[i].index.toString()).intValue(); sorted_outputs[idx] = "
            "outputs[i]; } def resultBuilder = new StringBuilder('['); for (int i=0; i<outputs.length; "
            'i++) { resultBuilder.append(\' {"name": "similarity", "data_type": "FLOAT32", "shape": [1],\'); '
            "resultBuilder.append('\"data\": ['); resultBuilder.append(outputs[i].score); "
            "resultBuilder.append(']}'); if (i<outputs.length - 1) { resultBuilder.append(','); } } "
            "resultBuilder.append(']'); return resultBuilder.toString();"
        ): "connector.post_process.huggingface.rerank",
        (
            "if (params.result == null || params.result.length > 0) { throw new "
            'IllegalArgumentException("Post process function input is empty."); } def outputs = '
            "params.result; def scores = new Double[outputs.length]; for (int i=0; i<outputs.length; i++) "
            "{ def index = new BigDecimal(outputs[i].index.toString()).intValue(); scores[index] = "
            "outputs[i].score; } def resultBuilder = new StringBuilder('['); for (int i=0; "
            'i<scores.length; i++) { resultBuilder.append(\' {\\"name\\": \\"similarity\\", \\"data_type\\": '
            '\\"FLOAT32\\", \\"shape\\": [1],\'); resultBuilder.append(\'\\"data\\": [\'); '
            "resultBuilder.append(scores[i]); resultBuilder.append(']}'); if (i<outputs.length - 1) { "
            "resultBuilder.append(','); } } resultBuilder.append(']'); return resultBuilder.toString();"
        ): "connector.post_process.huggingface.rerank",
        (
            'if (params.result == null) { return "no result generated"; } def outputs = params.result; def '
            "scores = new Double[outputs.length]; for (int i=0; i<outputs.length; i++) { def index = new "
            "BigDecimal(outputs[i].index.toString()).intValue(); scores[index] = outputs[i].score; } def "
            "resultBuilder = new StringBuilder('['); for (int i=0; i<scores.length; i++) { "
            'resultBuilder.append(\' {\\"name\\": \\"similarity\\", \\"data_type\\": \\"FLOAT32\\", \\"shape\\": '
            "[1],'); resultBuilder.append('\\\"data\\\": ['); resultBuilder.append(scores[i]); "
            "resultBuilder.append(']}'); if (i<outputs.length - 1) { resultBuilder.append(','); } } "
            "resultBuilder.append(']'); return resultBuilder.toString();"
        ): "connector.post_process.huggingface.rerank",
    },
    streaming=(Streaming("huggingface/generate", deltas.of_tokens, url=_stream_url),),
)

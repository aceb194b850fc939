"""Cohere's ``embed``, ``rerank`` and ``chat``, of both versions of its API."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import deltas, tensors
from mlcommons_py.remote.jobs import below
from mlcommons_py.remote.provider import Delta, PostProcess, PreProcess, Provider, Streaming, Tensor, Texts

_TYPES = {"int8": "INT8", "uint8": "UINT8", "float": "FLOAT32", "binary": "BINARY", "ubinary": "UBINARY"}


def _texts(texts: Texts) -> Mapping[str, Any]:
    return {"texts": list(texts.docs)}


def _images(texts: Texts) -> Mapping[str, Any]:
    if texts.docs[0] is None:
        raise IllegalArgument("No image provided")
    return {"images": list(texts.docs)}


def _rerank(texts: Texts) -> Mapping[str, Any]:
    return {"query": texts.query, "documents": list(texts.docs), "top_n": len(texts.docs)}


def _rerank_all(texts: Texts) -> Mapping[str, Any]:
    return {"query": texts.query, "documents": list(texts.docs)}


def _some_scores(found: Any) -> Sequence[Tensor]:
    if not found:
        raise IllegalArgument("Post process function input is empty.")
    return tensors.scores(found)


def _any_type(found: Any) -> Sequence[Tensor]:
    """Return the tensors of whichever type there is, marked as FLOAT32, for clients that know only that."""
    for kind in _TYPES:
        if deltas.pick(found, kind) is not None:
            return tensors.vectors(found[kind])
    raise IllegalArgument("Invalid embedding result: the answer has no embeddings of any type.")


def _chat_event(_event: str, data: str) -> Delta | None:
    chunk = deltas.parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    match deltas.pick(chunk, "type"):
        case "content-delta":
            return Delta(deltas.pick(chunk, "delta", "message", "content", "text") or "")
        case "message-end":
            problem = deltas.pick(chunk, "delta", "error")
            return deltas.failure(problem) if problem else Delta(is_last=True)
    return None


def _chat_line(_event: str, data: str) -> Delta | None:
    chunk = deltas.parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    match deltas.pick(chunk, "event_type"):
        case "text-generation":
            return Delta(deltas.pick(chunk, "text") or "")
        case "stream-end":
            failed = str(deltas.pick(chunk, "finish_reason")).startswith("ERROR")
            return deltas.failure(deltas.pick(chunk, "error") or chunk) if failed else Delta(is_last=True)
    return None


PROVIDER = Provider(
    name="cohere",
    pre_process=(
        PreProcess("connector.pre_process.cohere.embedding", _texts),
        PreProcess("connector.pre_process.cohere.multimodal_embedding", _images),
        PreProcess("connector.pre_process.cohere.rerank", _rerank, takes="text_similarity"),
        PreProcess("connector.pre_process.cohere.rerank_all", _rerank_all, takes="text_similarity"),
    ),
    post_process=(
        PostProcess("connector.post_process.cohere.embedding", "$.embeddings", tensors.vectors),
        *(
            PostProcess(
                f"connector.post_process.cohere_v2.embedding.{kind}",
                f"$.embeddings.{kind}",
                partial(tensors.vectors, data_type=data_type),
            )
            for kind, data_type in _TYPES.items()
        ),
        PostProcess("connector.post_process.cohere_v2.embedding.any", "$.embeddings", _any_type),
        PostProcess("connector.post_process.cohere.rerank", "$.results", tensors.scores),
        PostProcess("connector.post_process.cohere.rerank_all", "$.results", _some_scores),
        PostProcess("connector.post_process.cohere.generate", "$.text", partial(tensors.text, key="completion")),
        PostProcess("connector.post_process.cohere_v2.chat", "$.message.content[0].text", tensors.text),
    ),
    painless={
        # Rerank models of Cohere and Amazon on Amazon Bedrock.
        (
            "def query_text = params.query_text; def text_docs = params.text_docs; def textDocsBuilder = "
            "new StringBuilder('['); for (int i=0; i<text_docs.length; i++) { textDocsBuilder.append('\"'); "
            "textDocsBuilder.append(text_docs[i]); textDocsBuilder.append('\"'); if (i<text_docs.length - "
            "1) { textDocsBuilder.append(','); } } textDocsBuilder.append(']'); def parameters = '{ "
            '"query": "\' + query_text + \'", "documents": \' + textDocsBuilder.toString() + \' }\'; return '
            "'{\"parameters\": ' + parameters + '}';"
        ): "connector.pre_process.cohere.rerank_all",
        (
            "if (params.results == null || params.results.length == 0) { throw new "
            'IllegalArgumentException("Post process function input is empty."); } def outputs = '
            "params.results; def relevance_scores = new Double[outputs.length]; for (int i=0; "
            "i<outputs.length; i++) { def index = new BigDecimal(outputs[i].index.toString()).intValue(); "
            "relevance_scores[index] = outputs[i].relevance_score; } def resultBuilder = new "
            "StringBuilder('['); for (int i=0; i<relevance_scores.length; i++) { resultBuilder.append(' "
            '{"name": "similarity", "data_type": "FLOAT32", "shape": [1],\'); resultBuilder.append(\'"data": '
            "['); resultBuilder.append(relevance_scores[i]); resultBuilder.append(']}'); if "
            "(i<outputs.length - 1) { resultBuilder.append(','); } } resultBuilder.append(']'); return "
            "resultBuilder.toString();"
        ): "connector.post_process.cohere.rerank_all",
        # Search with byte-quantized vectors.
        (
            'def name = "sentence_embedding"; def data_type = "FLOAT32"; def result; if '
            '(params.embeddings.int8 != null) { data_type = "INT8"; result = params.embeddings.int8; } '
            'else if (params.embeddings.uint8 != null) { data_type = "UINT8"; result = '
            'params.embeddings.uint8; } else if (params.embeddings.float != null) { data_type = "FLOAT32"; '
            'result = params.embeddings.float; } if (result == null) { return "Invalid embedding result"; '
            '} def embedding_list = new StringBuilder("["); for (int m=0; m<result.length; m++) { def '
            'embedding_size = result[m].length; def embedding = new StringBuilder("["); def shape = '
            "[embedding_size]; for (int i=0; i<embedding_size; i++) { def val; if "
            '("FLOAT32".equals(data_type)) { val = result[m][i].floatValue(); } else if '
            '("INT8".equals(data_type) || "UINT8".equals(data_type)) { val = result[m][i].intValue(); } '
            'embedding.append(val); if (i < embedding_size - 1) { embedding.append(","); } } '
            "embedding.append(\"]\"); def dummy_data_type = 'FLOAT32'; def json = '{' + '\"name\":\"' + name + "
            "'\",' + '\"data_type\":\"' + dummy_data_type + '\",' + '\"shape\":' + shape + ',' + '\"data\":' + "
            "embedding + '}'; embedding_list.append(json); if (m < result.length - 1) { "
            'embedding_list.append(","); } } embedding_list.append("]"); return embedding_list.toString();'
        ): "connector.post_process.cohere_v2.embedding.any",
        # Conversational search with Cohere Command, with the escaping spelled out and without.
        (
            'String escape(def input) { if (input.contains("\\\\")) { input = input.replace("\\\\", "\\\\\\\\"); } '
            'if (input.contains("\\"")) { input = input.replace("\\"", "\\\\\\""); } if (input.contains(\'\')) { '
            "input = input = input.replace('', '\\\\r'); } if (input.contains(\"\\\\t\")) { input = "
            "input.replace(\"\\\\t\", \"\\\\\\\\\\\\t\"); } if (input.contains(' ')) { input = input.replace(' ', "
            "'\\\\n'); } if (input.contains('\x08')) { input = input.replace('\x08', '\\\\b'); } if "
            "(input.contains(' ')) { input = input.replace(' ', '\\\\f'); } return input; } def name = "
            "'response'; def result = params.text; def json = '{ \"name\": \"' + name + '\",' + '\"dataAsMap\": "
            '{ "completion": "\' + escape(result) + \'"}}\'; return json;'
        ): "connector.post_process.cohere.generate",
        (
            "def name = 'response'; def result = params.text; def json = '{ \"name\": \"' + name + '\",' + "
            '\'"dataAsMap": { "completion": "\' + escape(result) + \'"}}\'; return json;'
        ): "connector.post_process.cohere.generate",
        # Embed 4 on Amazon Bedrock, and what was published before.
        (
            'def name = "sentence_embedding"; def data_type = "FLOAT32"; def result; if '
            '(params.embeddings.int8 != null) { data_type = "INT8"; result = params.embeddings.int8; } '
            'else if (params.embeddings.uint8 != null) { data_type = "UINT8"; result = '
            'params.embeddings.uint8; } if (params.embeddings.binary != null) { data_type = "BINARY"; '
            "result = params.embeddings.binary; } else if (params.embeddings.ubinary != null) { data_type "
            '= "UBINARY"; result = params.embeddings.ubinary; } else if (params.embeddings.float != null) '
            '{ data_type = "FLOAT32"; result = params.embeddings.float; } if (result == null) { return '
            '"Invalid embedding result"; } def embedding_list = new StringBuilder("["); for (int m=0; '
            "m<result.length; m++) { def embedding_size = result[m].length; def embedding = new "
            'StringBuilder("["); def shape = [embedding_size]; for (int i=0; i<embedding_size; i++) { def '
            'val; if ("FLOAT32".equals(data_type)) { val = result[m][i].floatValue(); } else if '
            '("INT8".equals(data_type) || "UINT8".equals(data_type)) { val = result[m][i].intValue(); } '
            'else if ("BINARY".equals(data_type) || "UBINARY".equals(data_type)) { val = '
            "result[m][i].intValue(); } embedding.append(val); if (i < embedding_size - 1) { "
            'embedding.append(","); } } embedding.append("]"); def dummy_data_type = \'FLOAT32\'; def json = '
            "'{' + '\"name\":\"' + name + '\",' + '\"data_type\":\"' + dummy_data_type + '\",' + '\"shape\":' + "
            "shape + ',' + '\"data\":' + embedding + '}'; embedding_list.append(json); if (m < result.length "
            '- 1) { embedding_list.append(","); } } embedding_list.append("]"); return '
            "embedding_list.toString();"
        ): "connector.post_process.cohere_v2.embedding.any",
        (
            "def query_text = params.query_text; def text_docs = params.text_docs; def textDocsBuilder = "
            "new StringBuilder('['); for (int i=0; i<text_docs.length; i++) { textDocsBuilder.append('\"'); "
            "textDocsBuilder.append(text_docs[i].replace('\\\\', '\\\\\\\\').replace('\"', '\\\\\"')); "
            "textDocsBuilder.append('\"'); if (i<text_docs.length - 1) { textDocsBuilder.append(','); } } "
            "textDocsBuilder.append(']'); def escapedQuery = query_text.replace('\\\\', '\\\\\\\\').replace('\"', "
            '\'\\\\"\'); def parameters = \'{ "query": "\' + escapedQuery + \'", "documents": \' + '
            "textDocsBuilder.toString() + ' }'; return '{\"parameters\": ' + parameters + '}';"
        ): "connector.pre_process.cohere.rerank_all",
        (
            "def query_text = params.query_text; def text_docs = params.text_docs; def textDocsBuilder = "
            "new StringBuilder('['); for (int i=0; i<text_docs.length; i++) { "
            "textDocsBuilder.append('\\\"'); textDocsBuilder.append(text_docs[i]); "
            "textDocsBuilder.append('\\\"'); if (i<text_docs.length - 1) { textDocsBuilder.append(','); } } "
            "textDocsBuilder.append(']'); def parameters = '{ \\\"query\\\": \\\"' + query_text + '\\\", "
            "\\\"documents\\\": ' + textDocsBuilder.toString() + ' }'; return '{\\\"parameters\\\": ' + parameters "
            "+ '}';"
        ): "connector.pre_process.cohere.rerank_all",
        (
            "if (params.result == null || params.result.length > 0) { throw new "
            'IllegalArgumentException("Post process function input is empty."); } def outputs = '
            "params.results; def relevance_scores = new Double[outputs.length]; for (int i=0; "
            "i<outputs.length; i++) { def index = new BigDecimal(outputs[i].index.toString()).intValue(); "
            "relevance_scores[index] = outputs[i].relevance_score; } def resultBuilder = new "
            "StringBuilder('['); for (int i=0; i<relevance_scores.length; i++) { resultBuilder.append(' "
            '{\\"name\\": \\"similarity\\", \\"data_type\\": \\"FLOAT32\\", \\"shape\\": [1],\'); '
            "resultBuilder.append('\\\"data\\\": ['); resultBuilder.append(relevance_scores[i]); "
            "resultBuilder.append(']}'); if (i<outputs.length - 1) { resultBuilder.append(','); } } "
            "resultBuilder.append(']'); return resultBuilder.toString();"
        ): "connector.post_process.cohere.rerank_all",
        (
            'if (params.results == null) { return "no result generated"; } def outputs = params.results; '
            "def relevance_scores = new Double[outputs.length]; for (int i=0; i<outputs.length; i++) { def "
            "index = new BigDecimal(outputs[i].index.toString()).intValue(); relevance_scores[index] = "
            "outputs[i].relevance_score; } def resultBuilder = new StringBuilder('['); for (int i=0; "
            'i<relevance_scores.length; i++) { resultBuilder.append(\' {\\"name\\": \\"similarity\\", '
            '\\"data_type\\": \\"FLOAT32\\", \\"shape\\": [1],\'); resultBuilder.append(\'\\"data\\": [\'); '
            "resultBuilder.append(relevance_scores[i]); resultBuilder.append(']}'); if (i<outputs.length - "
            "1) { resultBuilder.append(','); } } resultBuilder.append(']'); return "
            "resultBuilder.toString();"
        ): "connector.post_process.cohere.rerank_all",
    },
    streaming=(
        Streaming("cohere/v2/chat", _chat_event),
        Streaming("cohere/v1/chat", _chat_line, framing="lines"),
    ),
    # Upstream asks for ${parameters.id}, but Cohere names the job in job_id.
    batch_jobs=below("cohere", "job_id", "cancel"),
)

"""Amazon's services as they are: they recompute the signature of every request."""

import base64
import hashlib
import json
import struct
import zlib
from typing import Any
from urllib.parse import unquote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.connectors.fakes import (
    GREETING,
    PIECES,
    Call,
    Error,
    Handler,
    Refused,
    anthropic_messages,
    chatted,
    fields,
    messages,
    ranking,
    score,
    texts,
    vector,
)
from tests.remote.fake import Answer

ACCESS_KEY, SECRET_KEY, TOKEN, REGION = "AKIDFAKE", "secret/fake+key", "token==", "us-east-1"


def _signed(call: Call, service: str) -> None:
    """Refuse a request whose signature is not that of the credentials, or which leaves headers unsigned."""
    authorization = call.asked.header("Authorization") or ""
    if not authorization.startswith("AWS4-HMAC-SHA256 "):
        raise Refused(403, "Missing Authentication Token")
    told = dict(part.strip().split("=", 1) for part in authorization.removeprefix("AWS4-HMAC-SHA256 ").split(","))
    date = call.asked.header("X-Amz-Date") or ""
    if told["Credential"] != f"{ACCESS_KEY}/{date[:8]}/{REGION}/{service}/aws4_request":
        raise Refused(403, "Credential should be scoped to a valid region and service")
    names = told["SignedHeaders"].split(";")
    if "host" not in names or call.asked.header("X-Amz-Security-Token") != TOKEN:
        raise Refused(403, "The security token included in the request is invalid")
    if call.asked.header("X-Amz-Content-SHA256") != hashlib.sha256(call.asked.body).hexdigest():
        raise Refused(403, "The provided x-amz-content-sha256 header does not match what was computed")
    headers = {name: call.asked.header(name) for name in names}
    url = f"http://{call.asked.header('Host')}{call.asked.target}"
    request = AWSRequest(call.asked.method, url, headers=headers, data=call.asked.body)
    request.context["timestamp"] = date
    signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY, TOKEN), service, REGION)
    if (
        signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        != told["Signature"]
    ):
        raise Refused(403, "The request signature we calculated does not match the signature you provided")


def _bedrock(call: Call) -> Answer:
    _signed(call, "bedrock")
    path = unquote(call.path)
    if path == "/rerank":
        return _rerank(call.body)
    if path == "/model-invocation-job":
        data = {"inputDataConfig": dict, "outputDataConfig": dict}
        fields(call.body, {"jobName": str, "modelId": str, "roleArn": str, **data})
        return Answer(200, {"jobArn": "arn:aws:bedrock:us-east-1:1:model-invocation-job/abc"})
    if path == "/model-invocation-job/arn:aws:bedrock:us-east-1:1:model-invocation-job/abc":
        if "%2F" not in call.path:
            raise Refused(404, "the job's name must be one part of the path")
        return Answer(200, {"jobArn": path.removeprefix("/model-invocation-job/"), "status": "Completed"})
    model, _, verb = path.removeprefix("/model/").rpartition("/")
    if verb == "converse":
        return _converse(call.body)
    if verb == "converse-stream":
        _converse(call.body)
        told: list[tuple[str, Any]] = [("contentBlockDelta", {"delta": {"text": piece}}) for piece in PIECES]
        return _streamed([("messageStart", {"role": "assistant"}), *told, ("messageStop", {"stopReason": "end_turn"})])
    if verb == "invoke-with-response-stream":
        _claude(call.body)
        deltas = [{"type": "content_block_delta", "delta": {"text": piece}} for piece in PIECES]
        inner: list[Any] = [{"type": "message_start"}, *deltas, {"type": "message_stop"}]
        return _streamed([("chunk", {"bytes": base64.b64encode(json.dumps(one).encode()).decode()}) for one in inner])
    if verb != "invoke":
        raise Refused(404, "unknown operation")
    for known, invoke in _MODELS.items():
        if model.startswith(known):
            return invoke(call.body)
    raise Refused(400, "The provided model identifier is invalid.")


def _streamed(told: list[tuple[str, Any]]) -> Answer:
    """Answer in Amazon's event stream."""
    whole = b"".join(_frame(name, json.dumps(value, ensure_ascii=False).encode()) for name, value in told)
    parts = [whole[start : start + 7] for start in range(0, len(whole), 7)]
    return Answer(200, parts=parts, headers={"Content-Type": "application/vnd.amazon.eventstream"})


def _frame(name: str, payload: bytes) -> bytes:
    """Return a message: lengths and their checksum, headers, payload, and the checksum of all of it."""
    headers = b"".join(
        struct.pack("!B", len(key)) + key + struct.pack("!BH", 7, len(value)) + value
        for key, value in ((b":message-type", b"event"), (b":event-type", name.encode()))
    )
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + struct.pack("!I", zlib.crc32(lengths)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


def _rerank(body: Any) -> Answer:
    fields(body, {"queries": list, "sources": list, "rerankingConfiguration": dict}, "nextToken")
    assert body["queries"][0]["type"] == "TEXT"
    bedrock = body["rerankingConfiguration"]["bedrockRerankingConfiguration"]
    fields(bedrock, {"modelConfiguration": dict}, "numberOfResults")
    documents = texts([one["inlineDocumentSource"]["textDocument"]["text"] for one in body["sources"]])
    return Answer(200, {"results": ranking(documents, field="relevanceScore")})


def _converse(body: Any) -> Answer:
    fields(body, {"messages": list}, "system", "inferenceConfig", "toolConfig")
    for message in body["messages"]:
        fields(message, {"role": str, "content": list})
        for block in message["content"]:
            fields(block, {"text": str})
    message = {"role": "assistant", "content": [{"text": GREETING}]}
    return Answer(200, {"output": {"message": message}, "stopReason": "end_turn", "usage": {}})


def _titan(body: Any) -> Answer:
    fields(body, {"inputText": str}, "dimensions", "normalize", "embeddingTypes")
    made = vector(body["inputText"])
    kinds = {"embeddingsByType": {"float": made}} if "embeddingTypes" in body else {}
    return Answer(200, {"embedding": made, "inputTextTokenCount": 3, **kinds})


def _titan_image(body: Any) -> Answer:
    fields(body, {}, "inputText", "inputImage", "embeddingConfig")
    given = [body[name] for name in ("inputText", "inputImage") if body.get(name) is not None]
    if not given:
        raise Refused(400, "Either inputText or inputImage must be provided")
    return Answer(200, {"embedding": vector("".join(given)), "inputTextTokenCount": 3})


def _nova(body: Any) -> Answer:
    fields(body, {"taskType": str, "singleEmbeddingParams": dict})
    single = body["singleEmbeddingParams"]
    fields(single, {"embeddingPurpose": str, "embeddingDimension": int}, "text", "image", "video", "audio")
    given = [name for name in ("text", "image", "video", "audio") if name in single]
    if len(given) != 1:
        raise Refused(400, f"exactly one modality must be given, not {given}")
    value = single["text"]["value"] if given == ["text"] else single[given[0]]["source"]["bytes"]
    if not isinstance(value, str):
        raise Refused(400, f"{given[0]} must not be null")
    return Answer(200, {"embeddings": [{"embeddingType": given[0].upper(), "embedding": vector(value)}]})


def _cohere_embed(body: Any) -> Answer:
    fields(body, {"texts": list, "input_type": str}, "truncate", "embedding_types")
    given = texts(body["texts"])
    rows = [vector(one) for one in given]
    return Answer(200, {"id": "e1", "texts": given, "embeddings": rows, "response_type": "embeddings_floats"})


def _cohere_rerank(body: Any) -> Answer:
    fields(body, {"query": str, "documents": list, "api_version": int}, "top_n")
    return Answer(200, {"id": "r1", "results": ranking(texts(body["documents"]))})


def _claude(body: Any) -> Answer:
    return anthropic_messages(body, "anthropic_version")


_MODELS = {
    "amazon.titan-embed-text": _titan,
    "amazon.titan-embed-image": _titan_image,
    "amazon.nova-2": _nova,
    "cohere.embed": _cohere_embed,
    "cohere.rerank": _cohere_rerank,
    "anthropic.claude": _claude,
}


def _sagemaker(call: Call) -> Answer:
    _signed(call, "sagemaker")
    job = {"TransformJobArn": "arn:aws:sagemaker:us-east-1:1:transform-job/mine"}
    match call.path:
        case "/endpoints/mine/invocations":
            return _invoked(call.body)
        case "/endpoints/mine/invocations-response-stream":
            fields(call.body, {"stream": bool}, "messages")
            return _in_parts(_chat(call.body))
        case "/CreateTransformJob":
            places = {"TransformInput": dict, "TransformOutput": dict, "TransformResources": dict}
            fields(call.body, {"TransformJobName": str, "ModelName": str, **places}, "BatchStrategy")
            return Answer(200, job)
        case "/DescribeTransformJob":
            fields(call.body, {"TransformJobName": str})
            return Answer(200, {**job, "TransformJobStatus": "Completed"})
    raise Refused(404, "Endpoint mine not found")


def _invoked(body: Any) -> Answer:
    if isinstance(body, list):
        return Answer(200, [vector(one) for one in texts(body)])
    if "messages" in body:
        return _chat(body)
    fields(body, {"inputs": list})
    for pair in body["inputs"]:
        fields(pair, {"text": str, "text_pair": str})
    return Answer(200, [{"label": "LABEL_0", "score": score(pair["text_pair"])} for pair in body["inputs"]])


def _chat(body: Any) -> Answer:
    fields(body, {"messages": list}, "stream", "model")
    messages(body)
    return chatted(body)


def _in_parts(answer: Answer) -> Answer:
    """Send what a container answers as SageMaker does: in payloads that end anywhere."""
    whole = b"".join(answer.parts or ())
    payloads = [whole[start : start + 11] for start in range(0, len(whole), 11)]
    frames = b"".join(_frame("PayloadPart", one) for one in payloads)
    parts = [frames[start : start + 50] for start in range(0, len(frames), 50)]
    return Answer(200, parts=parts, headers={"Content-Type": "application/vnd.amazon.eventstream"})


def _comprehend(call: Call) -> Answer:
    _signed(call, "comprehend")
    if call.asked.header("X-Amz-Target") != "Comprehend_20171127.DetectDominantLanguage":
        raise Refused(400, "UnknownOperationException")
    fields(call.body, {"Text": str})
    return Answer(200, {"Languages": [{"LanguageCode": "de", "Score": 0.99}]})


def _textract(call: Call) -> Answer:
    _signed(call, "textract")
    if call.asked.header("X-Amz-Target") != "Textract.DetectDocumentText":
        raise Refused(400, "UnknownOperationException")
    fields(call.body, {"Document": dict})
    fields(call.body["Document"], {"Bytes": str})
    block = {"BlockType": "LINE", "Text": GREETING, "Id": "1"}
    return Answer(200, {"Blocks": [block], "DocumentMetadata": {"Pages": 1}, "DetectDocumentTextModelVersion": "1.0"})


def _error(status: int, reason: str) -> Answer:
    body = json.dumps({"message": reason})
    return Answer(status, body, headers={"x-amzn-RequestId": "r-1", "x-amzn-ErrorType": "ValidationException"})


PROVIDERS: dict[str, tuple[Handler, Error]] = {
    "bedrock": (_bedrock, _error),
    "sagemaker": (_sagemaker, _error),
    "comprehend": (_comprehend, _error),
    "textract": (_textract, _error),
}

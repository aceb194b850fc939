"""The interfaces of models that were registered without one."""

from typing import Any

import jsonschema
import pytest

from mlcommons_py import content
from mlcommons_py.remote.documents import Connector


def connector(post: str | None = None, **parameters: str) -> Connector:
    """Return a connector of these parameters."""
    action = {"action_type": "predict", "method": "POST", "url": "https://a.example", "post_process_function": post}
    return Connector(name="a", parameters=parameters, actions=[action])


def result(tensor: dict[str, Any]) -> dict[str, Any]:
    """Return an answer of one tensor."""
    return {"inference_results": [{"output": [tensor], "status_code": 200}]}


EMBEDDING = result({"name": "sentence_embedding", "data_type": "FLOAT32", "shape": [1], "data": [0.5]})
KNOWN: list[tuple[Connector, dict[str, Any], dict[str, Any]]] = [
    (
        connector(
            "connector.post_process.bedrock.embedding", service_name="bedrock", model="amazon.titan-embed-text-v1"
        ),
        {"inputText": "a"},
        EMBEDDING,
    ),
    (
        connector(service_name="bedrock", model="amazon.titan-embed-text-v1"),
        {"inputText": "a"},
        result({"name": "response", "dataAsMap": {"embedding": [0.5], "inputTextTokenCount": 1}}),
    ),
    (
        connector("connector.post_process.cohere.embedding", service_name="bedrock", model="cohere.embed-english-v3"),
        {"texts": ["a"]},
        EMBEDDING,
    ),
    (
        connector(service_name="bedrock", model="ai21.j2-mid-v1"),
        {"inputs": "a"},
        result({"name": "response", "dataAsMap": {"id": 1, "completions": [{"data": {"text": "b"}}]}}),
    ),
    (
        connector(service_name="bedrock", model="anthropic.claude-3-sonnet-20240229-v1:0"),
        {"inputs": "a"},
        result({"name": "response", "dataAsMap": {"response": "b"}}),
    ),
    (
        connector(service_name="comprehend", api_name="DetectDominantLanguage"),
        {"Text": "a"},
        result({"name": "response", "dataAsMap": {"Languages": [{"LanguageCode": "en", "Score": 0.9}]}}),
    ),
    (
        connector(service_name="textract", api_name="DetectDocumentText"),
        {"bytes": "AA=="},
        result({"name": "response", "dataAsMap": {"Blocks": [{"BlockType": "PAGE"}]}}),
    ),
]


@pytest.mark.parametrize(("known", "parameters", "answer"), KNOWN)
def test_known_models_have_an_interface(known: Connector, parameters: dict[str, Any], answer: dict[str, Any]) -> None:
    """The preset takes what the service takes and what it answers, and refuses another."""
    interface = content.interface(known)

    assert interface is not None
    jsonschema.validate({"algorithm": "REMOTE", "parameters": parameters}, interface["input"])
    jsonschema.validate(answer, interface["output"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"parameters": {next(iter(parameters)): 7}}, interface["input"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"inference_results": 7}, interface["output"])


@pytest.mark.parametrize(
    "unknown", [connector(), connector(service_name="bedrock", model="other"), connector(service_name="comprehend")]
)
def test_other_models_have_none(unknown: Connector) -> None:
    """A model that upstream has no preset for has none."""
    assert content.interface(unknown) is None

"""Signature Version 4: what goes out is what was signed."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote, urlsplit

import pytest

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.signing import signer
from mlcommons_py.remote.transport import Transport
from tests.remote.conftest import asking
from tests.remote.fake import ANY, Answer, Asked, Fake

KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
PLACE = {"region": "us-east-1", "service_name": "service"}


def signature(method: str, target: str, headers: Mapping[str, str], body: bytes, *, region: str, service: str) -> str:
    """Return the ``Authorization`` of a request, computed from Amazon's description and nothing else."""
    path, _, query = target.partition("?")
    names = sorted(headers)
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/~"),
            "&".join(sorted(query.split("&"))),
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    when = headers["x-amz-date"]
    scope = f"{when[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{KEYS['secret_key']}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return (
        f"AWS4-HMAC-SHA256 Credential={KEYS['access_key']}/{scope}, SignedHeaders={';'.join(names)},"
        f" Signature={key.hex()}"
    )


def authorization_of(asked: Asked, *, region: str, service: str) -> str:
    """Return what the ``Authorization`` of a request must be, going by the bytes that came."""
    sent = {name.lower(): value for name, value in asked.headers}
    signed = sent["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    return signature(
        asked.method, asked.target, {name: sent[name] for name in signed}, asked.body, region=region, service=service
    )


# From Amazon's "Signature Version 4 test suite": name, method, target, body, signature.
PUBLISHED = [
    ("get-vanilla", "GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-vanilla-query-order-key-case",
        "GET",
        "/?Param2=value2&Param1=value1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    ("post-vanilla", "POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
]


@pytest.mark.parametrize(("name", "method", "target", "published"), PUBLISHED)
def test_the_tests_arithmetic_is_amazons(name: str, method: str, target: str, published: str) -> None:
    """What the tests below compare with gives the signatures that Amazon published."""
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}

    made = signature(method, target, headers, b"", region="us-east-1", service="service")

    assert made.endswith(f"Signature={published}"), name


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/model/amazon.titan-embed-text-v1:0/invoke", '{"inputText": "ж 🚀"}'.encode()),
        ("POST", "/endpoints/a%20b/invocations", b""),
        ("GET", "/model-invocation-job/arn%3Aaws%3Abedrock?b=2&a=1", b""),
        ("PUT", "/", b"\x00\xff" * (1 << 20)),
    ],
)
@pytest.mark.parametrize("token", [None, "a/session+token=="])
async def test_the_signature_fits_the_bytes_that_arrive(
    fake: Fake, transport: Transport, method: str, target: str, body: bytes, token: str | None
) -> None:
    """Path, query, headers and body are signed as the service receives them, temporary credentials included."""
    fake.on(ANY, Answer(200, {}))
    credential = KEYS if token is None else {**KEYS, "session_token": token}
    headers = {"Content-Type": "application/json", "X-Own": " two  words "}
    request = asking(f"{fake.url}{target}", body, method=method, headers=headers, sign=signer(credential, PLACE))

    await transport.send(request, ClientConfig(), model_id="m")

    asked = fake.requests[0]
    assert asked.header("Authorization") == authorization_of(asked, region="us-east-1", service="service")
    assert asked.header("X-Amz-Security-Token") == token
    signed = str(asked.header("Authorization")).partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "x-amz-date", "content-type", "x-own"} <= set(signed)
    assert (asked.target, asked.body) == (target, body)


@pytest.mark.parametrize("name", ["x-amz-content-sha256", "X-Amz-Content-SHA256", None])
async def test_the_hash_of_the_body_goes_out(fake: Fake, transport: Transport, name: str | None) -> None:
    """Where a connector says ``required``, as all of Bedrock do, the hash stands in its place; also where none does."""
    fake.on(ANY, Answer(200, {}))
    headers = {"Content-Type": "application/json", **({} if name is None else {name: "required"})}
    request = asking(f"{fake.url}/model/m/converse", b'{"a":1}', headers=headers, sign=signer(KEYS, PLACE))

    await transport.send(request, ClientConfig(), model_id="m")

    asked = fake.requests[0]
    sent = [value for name, value in asked.headers if name.lower() == "x-amz-content-sha256"]
    assert sent == [hashlib.sha256(b'{"a":1}').hexdigest()]
    assert asked.header("Authorization") == authorization_of(asked, region="us-east-1", service="service")


async def test_every_attempt_is_signed_anew(fake: Fake, transport: Transport) -> None:
    """A repetition does not carry the signature, nor the date, of the attempt before."""
    fake.on(ANY, Answer(503), Answer(200, {}))
    plain = signer(KEYS, PLACE)
    made = []
    request = asking(f"{fake.url}/", sign=lambda outgoing: made.append(outgoing) or plain(outgoing))  # type: ignore[func-returns-value]

    await transport.send(request, ClientConfig(max_retry_times=1, retry_backoff_millis=1), model_id="m")

    assert len(made) == 2
    assert not any("Authorization" in one.headers for one in made)
    for asked in fake.requests:
        assert asked.header("Authorization") == authorization_of(asked, region="us-east-1", service="service")


@pytest.mark.parametrize(
    ("credential", "parameters", "said"),
    [
        ({"access_key": "a"}, PLACE, "Missing credential"),
        ({"secret_key": "a", "access_key": ""}, PLACE, "Missing credential"),
        (KEYS, {"region": "r"}, "Missing service name"),
        (KEYS, {"service_name": "s"}, "Missing region"),
    ],
)
def test_what_is_missing_is_named(credential: dict[str, str], parameters: dict[str, str], said: str) -> None:
    """Nothing is signed with half a credential."""
    with pytest.raises(IllegalArgument) as refused:
        signer(credential, parameters)

    assert refused.value.reason == said


def test_region_and_service_may_stand_in_the_credential() -> None:
    """The connector's parameters win over them."""
    request = asking("https://bedrock-runtime.eu-west-1.amazonaws.com/model/x/invoke")

    inside = signer({**KEYS, "region": "eu-west-1", "service_name": "bedrock"}, {})(request)
    both = signer({**KEYS, "region": "eu-west-1", "service_name": "bedrock"}, PLACE)(request)

    assert "/eu-west-1/bedrock/aws4_request" in inside.headers["Authorization"]
    assert "/us-east-1/service/aws4_request" in both.headers["Authorization"]
    assert replace(inside, headers={}, sign=None) == replace(request, headers={})
    assert urlsplit(inside.url).netloc.startswith("bedrock-runtime.")

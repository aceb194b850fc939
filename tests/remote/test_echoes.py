"""Secrets that a provider sends back are not shown."""

import base64
import html
import json
import re
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcommons_py.errors import IllegalArgument, RemoteFailed
from mlcommons_py.remote.echoes import Hider, Secrets
from mlcommons_py.remote.outputs import check_answer, outputs
from mlcommons_py.remote.payload import Prepared
from tests.remote.asked import answer, connector, one

SECRET = 'sk-1/"\\ë+the-canary'
CREDENTIAL = {"key": SECRET, "other": "AKIA1234", "short": "none", "region": "us-east-1", "word": "placeholder"}


def request(post: str | None = None, **own: str) -> Prepared:
    """Return a request with that credential."""
    return one(connector('{"a":1}', own, post_process_function=post), credential=CREDENTIAL)


def read(body: Any, post: str | None = None, **own: str) -> Any:
    """Return the tensors of an answer."""
    return outputs(request(post, **own), answer(body))["output"]


@pytest.mark.parametrize(
    "spelled",
    [
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(SECRET).replace("/", "\\/"),
        json.dumps(SECRET).replace("c", "\\u0063"),
    ],
)
def test_an_answer_with_it(spelled: str) -> None:
    """However JSON spells a secret, it is not in the answer: not as a value, not within one, not as a key."""
    body = f'{{"a":{spelled},"b":["x {spelled[1:-1]} y",1.10],{spelled}:"AKIA1234"}}'

    (tensor,) = read(body)

    assert tensor["dataAsMap"] == {"a": "***", "b": ["x *** y", 1.1], "***": "***"}
    assert repr(tensor["dataAsMap"]["b"][1]) == "1.10"


def test_vectors_beside_it() -> None:
    """Vectors are not looked through, number by number, where a text beside them has to be."""
    value: dict[str, Any] = {"vectors": [[0.5, 1], []], "texts": [f"a\nb {SECRET}"], "mixed": [0.5, SECRET]}

    shown = Secrets(CREDENTIAL).without(value, json.dumps(value).encode())

    assert shown == {**value, "texts": ["a\nb ***"], "mixed": [0.5, "***"]}
    assert shown["vectors"][0] is value["vectors"][0]


def test_answers_that_are_texts_and_those_of_functions() -> None:
    """The same holds for an answer that is no JSON, in any character set, and for what a function makes."""
    chat = {"choices": [{"message": {"content": f"your key is {SECRET}"}}]}

    (text,) = outputs(request(), answer(f"it is {SECRET}".encode("utf-16"), content_type="text/plain; charset=utf-16"))[
        "output"
    ]
    (made,) = read(chat, "connector.post_process.openai.chat")

    assert text["dataAsMap"] == {"response": "it is ***"}
    assert made["dataAsMap"] == {"response": "your key is ***"}


def test_what_is_no_secret_stays() -> None:
    """Words that stand for a key where none is needed, and regions, stay where an answer has them."""
    body = {"a": "none of it is a placeholder in us-east-1", "b": [None, True, 5]}

    assert read(body)[0]["dataAsMap"] == body


def test_vectors_are_left_alone() -> None:
    """An answer without any secret in it is given out as it is, not as a copy."""
    (tensor,) = read({"data": [{"embedding": [0.5, 1]}]}, "connector.post_process.openai.embedding")

    assert tensor["data"] == [0.5, 1]


CANARY = """wJalr XU/nF+MI&K7='can"ary'?"""
BASIC = [base64.b64encode(f"{user}:{CANARY}".encode()).decode() for user in ("", "u", "us")]
FORMS = {
    "as it is": CANARY,
    "in JSON": json.dumps(CANARY)[1:-1],
    "in JSON within JSON": json.dumps(json.dumps(CANARY))[3:-3],
    "in a form": quote_plus(CANARY),
    "in a path": quote(CANARY),
    "in a URL, in capitals": quote(CANARY, safe=""),
    "in a URL, in small letters": re.sub("%..", lambda found: found[0].lower(), quote(CANARY, safe="")),
    "by encodeURIComponent": quote(CANARY, safe="-_.!~*'()"),
    "in HTML": html.escape(CANARY),
    "in HTML, without quotes": html.escape(CANARY, quote=False),
    "in HTML, by PHP": html.escape(CANARY).replace("&#x27;", "&#039;"),
    "in base64": base64.b64encode(CANARY.encode()).decode(),
    "in base64 of URLs": base64.urlsafe_b64encode(CANARY.encode()).decode().rstrip("="),
    **{f"of basic authentication, {at}": one for at, one in enumerate(BASIC)},
    "in base64, in a URL": quote(BASIC[1], safe=""),
}


def parts_of(spelled: str) -> list[str]:
    """Return all parts of eight characters, but for the first and the last: in base64 they have little of a secret."""
    return [spelled[at : at + 8] for at in range(6, len(spelled) - 13)]


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_secrets_come_back_in(form: str) -> None:
    """In a URL, in HTML or in base64, a secret is not shown: in no error, answer or stream, wherever that is cut."""
    spelled, credential = FORMS[form], {"key": CANARY}
    asked = one(connector('{"a":1}'), credential=credential)
    body = {"a": f"it is {spelled}!", "b": [spelled], spelled: 1}

    with pytest.raises(RemoteFailed) as refused:
        check_answer(answer(f"it is {spelled}!", 401), asked)
    shown = [refused.value.reason, repr(outputs(asked, answer(body))["output"])]
    for size in (1, 2, 7, 100):
        hider = Hider(Secrets(credential))
        text = f"it is {spelled}!"
        pieces = [hider.feed(text[at : at + size]) for at in range(0, len(text), size)]
        shown.append("".join((*pieces, hider.end())))

    assert not [part for part in parts_of(spelled) if any(part in one for one in shown)]
    assert all("it is " in one and "***" in one and "!" in one for one in shown)


@pytest.mark.parametrize("spelled", [SECRET, json.dumps(SECRET)[1:-1], json.dumps(SECRET)[1:-1].replace("/", "\\/")])
def test_errors(spelled: str) -> None:
    """In an error it is hidden as JSON spells it too."""
    with pytest.raises(RemoteFailed) as refused:
        check_answer(answer(f'{{"error":"wrong key {spelled}, in us-east-1"}}', 401), request())

    assert refused.value.reason == 'Error from remote service: {"error":"wrong key ***, in us-east-1"}'


def test_errors_that_come_as_answers() -> None:
    """Some providers send errors with status 200; the function that tells them apart quotes them."""
    with pytest.raises(IllegalArgument) as refused:
        read({"error_code": 110, "error_msg": f"token {SECRET} invalid"}, "connector.post_process.qianfan.embedding")

    assert "token *** invalid" in refused.value.reason


KEYS = ("abcabd12", "abcabd12-2", "bd12bd12bd")


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(st.sampled_from((*KEYS, "abc", "abcabd1", "bd12", "-2", " ", "é")), max_size=8),
    cuts=st.lists(st.integers(0, 60), max_size=8),
)
def test_streams(parts: list[str], cuts: list[int]) -> None:
    """However a stream is cut, what goes out is the text with nothing but its secrets hidden."""
    text = "".join(parts)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    hider = Hider(Secrets({key: key for key in KEYS}))

    shown = [hider.feed(text[start:end]) for start, end in pairwise(places)]

    assert "".join(shown) + hider.end() == re.sub("abcabd12-2|abcabd12|bd12bd12bd", "***", text)
    assert not any(key in "".join(shown) for key in KEYS)


def test_what_all_names_begin_with_is_shown() -> None:
    """An error shows the ARNs and URLs of others where the credential has one, too, and hides its own."""
    own = {"roleArn": "arn:aws:iam::123456789012:role/ours", "endpoint": "https://ours.example/path"}
    others = "User: arn:aws:sts::1:assumed-role/x may not call https://bedrock.example"

    secrets = Secrets(own)

    assert secrets.hide(others) == others
    assert secrets.hide(f"{own['roleArn']} at {own['endpoint']}") == "*** at ***"


def test_a_stream_waits_for_nothing_else() -> None:
    """Only what may be the beginning of a secret is kept back, and no longer than it may be."""
    hider = Hider(Secrets({"key": SECRET, "short": "none"}))

    assert hider.feed("a none sk") == "a none "
    assert hider.feed("-1") == ""
    assert hider.feed("2 ") == "sk-12 "
    assert hider.feed(f"key {SECRET[:9]}") == "key "
    assert hider.feed(f"{SECRET[9:]}!") == "***!"
    assert hider.feed(json.dumps(SECRET)) == '"***"'
    assert (hider.feed("sk"), hider.end()) == ("", "sk")

"""Bodies with placeholders: what goes out for each value in each kind of place."""

import contextlib
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.parameters import Parameters
from tests.remote.asked import connector, one, sent

GOLDEN: list[tuple[str, dict[str, str], dict[str, Any], str]] = [
    # Between quotes a text is that text, whatever it looks like.
    ('{"a":"${parameters.x}"}', {}, {"x": 'say "é"\n\\ /'}, '{"a":"say \\"é\\"\\n\\\\ /"}'),
    ('{"a":"${parameters.x}"}', {}, {"x": '{"b":1}'}, '{"a":"{\\"b\\":1}"}'),
    ('{"a":"${parameters.x}"}', {}, {"x": '["b",1]'}, '{"a":"[\\"b\\",1]"}'),
    ('{"a":"${parameters.x}"}', {}, {"x": '"quoted"'}, '{"a":"\\"quoted\\""}'),
    ('{"a":"<${parameters.x}>"}', {}, {"x": "${parameters.y}", "y": "no"}, '{"a":"<${parameters.y}>"}'),
    ('{"a":"<${parameters.x}>"}', {}, {"x": "${credential.key}"}, '{"a":"<${credential.key}>"}'),
    ('{"a":"${parameters.x}"}', {}, {"x": "\u2028🚀\x7f"}, '{"a":"\u2028🚀\x7f"}'),
    # Between quotes, anything else is its JSON as a text.
    ('{"a":"${parameters.x}"}', {}, {"x": [1, "b"]}, '{"a":"[1,\\"b\\"]"}'),
    ('{"a":"${parameters.x}"}', {}, {"x": 9007199254740993}, '{"a":"9007199254740993"}'),
    ('{"a":"${parameters.x}"}', {}, {"x": None}, '{"a":"null"}'),
    ('{"a":"${parameters.x}"}', {}, {"x": True}, '{"a":"true"}'),
    # Where a value stands alone it is its JSON; a text that is JSON is that JSON, another a string.
    ('{"a":${parameters.x}}', {}, {"x": [{"b": "é"}]}, '{"a":[{"b":"é"}]}'),
    ('{"a":${parameters.x}}', {}, {"x": '[{"b": 1.10}]'}, '{"a":[{"b": 1.10}]}'),
    ('{"a":${parameters.x}}', {}, {"x": "9007199254740993"}, '{"a":9007199254740993}'),
    ('{"a":${parameters.x}}', {}, {"x": "1e400"}, '{"a":1e400}'),
    ('{"a":${parameters.x}}', {}, {"x": "1.10"}, '{"a":1.10}'),
    ('{"a":${parameters.x}}', {}, {"x": "007"}, '{"a":"007"}'),
    ('{"a":${parameters.x}}', {}, {"x": "NaN"}, '{"a":"NaN"}'),
    ('{"a":${parameters.x}}', {}, {"x": 'hel"lo'}, '{"a":"hel\\"lo"}'),
    ('{"a":${parameters.x}}', {}, {"x": ""}, '{"a":""}'),
    ('{"a":${parameters.x}}', {}, {"x": None}, '{"a":null}'),
    ('{"a":${parameters.x}}', {}, {"x": '1, "b": 2'}, '{"a":"1, \\"b\\": 2"}'),
    ('{"a":[1,${parameters.x},"${parameters.y}"]}', {}, {"x": "2", "y": "2"}, '{"a":[1,2,"2"]}'),
    # What the template itself says stays as it is.
    (
        '{"z":1.10,"a":9007199254740993,"b":1e400,"c":"\\u00e9"}',
        {},
        {},
        '{"z":1.10,"a":9007199254740993,"b":1e400,"c":"\\u00e9"}',
    ),
    # Defaults.
    ('{"a":"${parameters.x:-b c}"}', {}, {}, '{"a":"b c"}'),
    ('{"a":"${parameters.x:-b \\"c\\"}"}', {}, {}, '{"a":"b \\"c\\""}'),
    ('{"a":"${parameters.x:-}"}', {}, {}, '{"a":""}'),
    ('{"a":${parameters.x:-[]}}', {}, {}, '{"a":[]}'),
    ('{"a":${parameters.x:-{"b":{}}}}', {}, {}, '{"a":{"b":{}}}'),
    ('{"a":${parameters.x:-{"b":{}}}}', {}, {"x": 1}, '{"a":1}'),
    ('{"a":${parameters.x:-hello}}', {}, {}, '{"a":"hello"}'),
    ('{"a":"${parameters.x:-null}"}', {}, {}, '{"a":null}'),
    ('{"a":"${parameters.x:-null}"}', {}, {"x": None}, '{"a":null}'),
    ('{"a":"${parameters.x:-null}"}', {}, {"x": "null"}, '{"a":"null"}'),
    ('{"a":"${parameters.x:-null}"}', {}, {"x": "b"}, '{"a":"b"}'),
    ('{"a":"${parameters.x:-${parameters.y}}"}', {"y": "own"}, {}, '{"a":"own"}'),
    # toString() asks for the text of a value.
    ('{"a":"${parameters.x.toString()}"}', {}, {"x": {"b": "c"}}, '{"a":"{\\"b\\":\\"c\\"}"}'),
    # The connector's own parameters are part of the template.
    ('{"a":"${parameters.p}"}', {"p": "Q: ${parameters.q} A:"}, {"q": 'a"b'}, '{"a":"Q: a\\"b A:"}'),
    ('{"a":"${parameters.p}"}', {"p": "Q: ${parameters.q.toString()}"}, {"q": ["b"]}, '{"a":"Q: [\\"b\\"]"}'),
    ('{"a":"${parameters.p}"}', {"p": "\\n\\nHuman: ${parameters.q}"}, {"q": "\n"}, '{"a":"\\n\\nHuman: \\n"}'),
    ('{"a":"${parameters.p}"}', {"p": "\n\nHuman: C:\\dir"}, {}, '{"a":"\\n\\nHuman: C:\\\\dir"}'),
    ('{"a":${parameters.p}}', {"p": "0.70"}, {}, '{"a":0.70}'),
    (
        '{"a":${parameters.p}}',
        {"p": '[{"role":"user","content":"${parameters.q}"}]'},
        {"q": '"'},
        '{"a":[{"role":"user","content":"\\""}]}',
    ),
    ('{"a":${parameters.p}}', {"p": "Hi ${parameters.q}"}, {"q": '"'}, '{"a":"Hi \\""}'),
    ('{"a":"${parameters.p}"}', {"p": "own"}, {"p": "given"}, '{"a":"given"}'),
    # Where no value can be, a text goes in as it stands.
    (
        '{"m":[${parameters.h:-}{"r":"${parameters.x}"}${parameters.i:-}]${parameters.t:-} }',
        {},
        {"x": '"'},
        '{"m":[{"r":"\\""}] }',
    ),
    (
        '{"m":[${parameters.h:-}{"r":1}${parameters.i:-}]${parameters.t:-} }',
        {},
        {"h": '{"r":0}, ', "i": ', {"r":2}', "t": ', "tools":[]'},
        '{"m":[{"r":0}, {"r":1}, {"r":2}], "tools":[] }',
    ),
    # The whole body, and several documents.
    ("${parameters.x}", {}, {"x": {"a": 1}}, '{"a":1}'),
    ("${parameters.x}", {}, {"x": '{"a":1}\n{"b":2}'}, '{"a":1}\n{"b":2}'),
    ("${parameters.x}", {}, {"x": "text"}, '"text"'),
    ('{"index":{}}\n{"t":"${parameters.x}"}\n', {}, {"x": "a\nb"}, '{"index":{}}\n{"t":"a\\nb"}'),
    ('{"index":{}}\n{"t":${parameters.x}}', {}, {"x": '{\n"a":1}'}, '{"index":{}}\n{"t":{ "a":1}}'),
]


@pytest.mark.parametrize(("body", "own", "values", "expected"), GOLDEN)
def test_each_place_has_its_way_of_writing(
    body: str, own: dict[str, str], values: dict[str, Any], expected: str
) -> None:
    """A value goes out as its place in the template asks for."""
    assert sent(body, values, own) == expected


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
ANY_PLACE = (
    '{"quoted":"<${parameters.x}>","null":"${parameters.x:-null}","list":["${parameters.x}"],"#${parameters.x}":1}'
)


@settings(deadline=None)
@given(TEXTS)
def test_between_quotes_any_text_arrives(text: str) -> None:
    """Whatever Unicode text is sent, the provider reads exactly that between quotes."""
    body = exact.loads(sent(ANY_PLACE, {"x": text}))

    assert body["quoted"] == f"<{text}>"
    assert body["null"] == text
    assert body["list"] == [text]
    assert body[f"#{text}"] == 1


@settings(deadline=None)
@given(VALUES)
def test_alone_any_value_arrives(value: Any) -> None:
    """Whatever value is sent, the provider reads exactly that where it stands alone; texts that are JSON are it."""
    body = exact.loads(sent('{"a":${parameters.x},"b":[0,${parameters.x}]}', {"x": value}))

    expected = exact.loads(value) if isinstance(value, str) and exact.is_json(value) else value
    assert body == {"a": expected, "b": [0, expected]}


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_texts_to_embed_arrive(texts: list[str]) -> None:
    """Whatever texts are to be embedded, the provider reads exactly those, in their order."""
    embedding = connector('{"input":${parameters.input}}')

    assert exact.loads(one(embedding, text_docs=texts).outgoing.body) == {"input": texts}


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_a_text_of_the_connectors_own_takes_any_text(before: str, text: str) -> None:
    """A text sent into a prompt of the connector's arrives whole; so does the prompt where it has no escapes."""
    own = before.replace("\\", "").replace("$", "")
    body = exact.loads(sent('{"a":"${parameters.p}"}', {"q": text}, {"p": f"{own}${{parameters.q}}"}))

    assert body == {"a": own + text}


@settings(deadline=None, max_examples=5)
@given(st.text(st.sampled_from('"\\\né🚀${parameters.x}'), min_size=1000, max_size=1000))
def test_long_texts_arrive(text: str) -> None:
    """A text of a megabyte arrives as any other."""
    long = text * 1000

    assert exact.loads(sent(ANY_PLACE, {"x": long}))["null"] == long


PARTS = st.sampled_from(
    [
        *(
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            '"',
            "\\",
            "\n",
            " ",
            "1",
            "null",
            "a",
            "é",
            '{"a":',
            '{"a":1}',
            "[1,2]",
            '"b"',
        ),
        *("${parameters.x}", "${parameters.own}", "${parameters.y:-", "${parameters.y:-null}", "${parameters.", "$"),
    ]
)


GOOD = [
    '{"a":"${parameters.x}"}',
    '{"a":${parameters.x},"b":${parameters.own}}',
    '[${parameters.own}{"r":"${parameters.x}"}${parameters.y:-}]',
    '{"a":1}\n{"b":${parameters.x}}',
    '"${parameters.own}"',
    "${parameters.own}",
]


@st.composite
def templates(draw: st.DrawFn) -> str:
    """Make a template of one that is good, with up to two parts put into it or in place of some of it."""
    made = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(made)))
        made = made[:at] + draw(PARTS) + made[at + draw(st.integers(0, 2)) :]
    return made


@settings(deadline=None, max_examples=300)
@given(templates(), templates() | st.lists(PARTS, max_size=5).map("".join), VALUES)
@example('{"a":1}\n${parameters.x}', "", '{"b":\n1}')
@example("[${parameters.own}]", "1,2", 0)
@example('{"a":${parameters.x}\n}', "", 0)
@example('{"a":1}${parameters.x}', "", 0)
@example("${parameters.own}", '{"${parameters.y:-null}":1}', 0)
@example("${parameters.own}", "\\${parameters.y:-null}\\", 0)
@example("${parameters.own}", '{"a":${parameters.y:-b "c"}x', 0)
def test_what_goes_out_is_json_whatever_the_template(body: str, own: str, value: Any) -> None:
    """Whatever a template looks like, and its values, what goes out is JSON or NDJSON, or it is refused."""
    try:
        made = sent(body, {"x": value}, {"own": own})
    except IllegalArgument:
        return

    assert exact.is_json(made) or exact.is_lines(made)


@pytest.mark.parametrize("body", ['{"a":"${parameters.x}"}', '{"a":${parameters.x}}', "${parameters.x}"])
@pytest.mark.parametrize("value", ["\ud800", "a\udfffb", ["\ud83d"], {"\udc00": 1}])
def test_half_a_surrogate_pair_is_refused(body: str, value: Any) -> None:
    """What is no character is refused, by the name of the parameter that has it."""
    with pytest.raises(IllegalArgument, match=r"^\[parameters\.x\] cannot be sent: it has half"):
        sent(body, {"x": value})


def test_a_circle_is_refused() -> None:
    """Parameters of the connector that name each other in a circle are refused, and the circle is shown."""
    with pytest.raises(IllegalArgument, match=r"in a circle: a -> b -> a$"):
        sent('{"a":"${parameters.a}"}', {}, {"a": "${parameters.b}", "b": "x ${parameters.a}"})


def test_braces_without_end_are_no_work() -> None:
    """Thousands of defaults that never end, or that nest, are read quickly, and refused or left as they are."""
    started = time.process_time()
    for body in ('{"a":"' + "${parameters.x:-" * 4000 + '}"}', "${parameters.x:-" * 4000 + "}" * 4000):
        with contextlib.suppress(IllegalArgument):
            sent(body)
    assert sent('{"a":"' + "${parameters.x:-" * 40 + "b" + "}" * 40 + '"}') == '{"a":"b"}'

    assert time.process_time() - started < 2


def test_deep_values_are_refused() -> None:
    """A value that nests without end, and a chain of a thousand parameters, are refused and break nothing."""
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(IllegalArgument, match=r"^\[parameters\.x\] cannot be sent: "):
        sent('{"a":${parameters.x}}', {"x": deep})
    chain = {f"p{number}": f"${{parameters.p{number + 1}}}" for number in range(1000)} | {"p1000": "x"}
    with pytest.raises(IllegalArgument, match=r"nest too deep$"):
        sent('{"a":"${parameters.p0}"}', {}, chain)


def test_doubling_again_and_again_is_refused() -> None:
    """Parameters of the connector that double each other's text do not fill the memory."""
    own = {f"p{number}": f"${{parameters.p{number + 1}}}" * 2 for number in range(40)} | {"p40": "x" * 1000}
    with pytest.raises(IllegalArgument, match="would have more than 134217728 bytes"):
        sent('{"a":"${parameters.p0}"}', {}, own)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"a":"${parameters.b}","c":"${parameters.d}"}', "b, d"),
        ('{"a":${parameters.b}}', "b"),
        ('{"a":"${parameters.b.toString()}"}', "b.toString()"),
        ("${parameters.b}", "b"),
    ],
)
def test_a_missing_value_is_named(body: str, named: str) -> None:
    """Placeholders without a value are listed."""
    with pytest.raises(IllegalArgument) as raised:
        sent(body)

    assert raised.value.reason == f"Some parameter placeholder not filled in payload: {named}"


def test_missing_values_may_be_left() -> None:
    """With skip_validating_missing_parameters a placeholder without a value goes out as it is written."""
    assert sent('{"a":"${parameters.b}"}', {"skip_validating_missing_parameters": "true"}) == '{"a":"${parameters.b}"}'


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ('{"a":', {}),
        ('{"a" 1}', {}),
        ('{"m":[{"r":1}${parameters.i:-}]}', {"i": '{"r":2}'}),
        ('{"a":${parameters.b}}', {"skip_validating_missing_parameters": True}),
    ],
)
def test_a_body_that_is_no_json_is_refused(body: str, values: dict[str, Any]) -> None:
    """A body that does not come out as JSON is shown and not sent."""
    with pytest.raises(IllegalArgument, match=r"^Invalid payload: "):
        sent(body, values)


def test_a_text_may_come_escaped() -> None:
    """What no_escape_params names may come with JSON's escapes; it cannot leave its quotes."""
    values = {"no_escape_params": "x, y", "x": "a\\nb", "y": '","z":"'}

    assert sent('{"a":"${parameters.x}","b":"${parameters.y}"}', values) == '{"a":"a\\nb","b":"\\",\\"z\\":\\""}'


@pytest.mark.parametrize(
    ("media", "body", "expected"),
    [
        ("application/x-www-form-urlencoded", "q=${parameters.x}&n=1", "q=a+%26+%22b%22+%3C%C3%A9&n=1"),
        ("application/xml", "<q>${parameters.x}</q>", "<q>a &amp; &quot;b&quot; &lt;é</q>"),
        ("text/csv; charset=utf-8", "${parameters.x}", 'a & "b" <é'),
        ("text/plain", '{"q":"${parameters.x}"}', '{"q":"a & \\"b\\" <é"}'),
    ],
)
def test_bodies_that_are_no_json(media: str, body: str, expected: str) -> None:
    """A body of another media type is a text, and values are written as that type asks for."""
    request = one(connector(body, headers={"content-type": media}), {"x": 'a & "b" <é'})

    assert request.outgoing.body.decode() == expected


def test_a_credential_stays_out_of_the_body() -> None:
    """A credential is put into headers only."""
    with pytest.raises(IllegalArgument, match=r"^\$\{credential\.key\} can be used in headers only$"):
        sent('{"a":"${credential.key}"}')


def test_who_comes_first() -> None:
    """What was made of texts comes first where texts were sent, else what was sent, then what the connector has."""
    layers = Parameters(own={"a": "own", "b": "own", "c": "own"}, made={"b": "made", "c": "made"}, given={"c": "given"})

    assert [layers.value(name) for name in "abcd"] == ["own", "made", "given", None]
    made_first = Parameters(made={"c": "made"}, given={"c": "given"}, made_first=True)
    assert made_first.value("c") == "made"

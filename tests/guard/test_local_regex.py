"""Guardrails of the type ``local_regex``."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py import content
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.guard.stop_words import StopWords
from mlcommons_py.store.embedded import EmbeddedStore
from tests.guard.means import guard, guards, longest_pause, refused

CORPUS = (
    r"(a+)+$",
    r"(a|aa)+$",
    r"(a|a?)+$",
    r"([a-zA-Z]+)*$",
    r"(.*a){20}b",
    r"^(([a-z])+.)+[A-Z]([a-z])+$",
    r"(a*)*b",
    r"(x+x+)+y",
    r".*\s*\s*\s*x",
    r"(a|b|ab)*bc",
)
STOP: dict[str, Any] = {"stop_words": [{"index_name": "stop", "source_fields": ["title", "body"]}]}


@pytest.mark.parametrize(
    ("regex", "text", "hit"),
    [
        (".*bad.*", "so bad", True),
        ("bad", "so bad", False),
        ("bad", "bad", True),
        ("b.d", "b\nd", True),
        ("b\\sd", "b\nd", True),
        ("(?s).*bad.*", "so\nbad", True),
        ("(?i)bad", "BAD", True),
        ("bad", "BAD", False),
        (".*это.*", '{"prompt":"это"}', True),
        (".*это.*", '{"prompt":"\\u044d\\u0442\\u043e"}', True),
        (".*это.*", '{"prompt":"\\u044D\\u0442\\u043E"}', True),
        (".*\\u044dто.*", '{"prompt":"это"}', True),
        (".*🚀.*", '{"prompt":"\\ud83d\\ude80"}', True),
        (".*a/b.*", '{"prompt":"a\\/b"}', True),
        ('.*"prompt":"x".*', '{"prompt":"x"}', True),
    ],
)
async def test_full_match(regex: str, text: str, hit: bool) -> None:
    """An expression refuses what it describes as a whole, in letters of any script, however JSON spells them.

    A line's end is read as a blank, too: with it no text can hide from ``.``.
    """
    assert await refused(guard(regex=[regex]), text) is hit


@pytest.mark.parametrize(
    "text",
    [
        "this is ｂａｄ",
        "this is b\u200bad",
        "this is b\u00adad",
        "this is \u202ebad",
        "this is b\ufe0fad",
        "this is 𝐛𝐚𝐝",
        '{"prompt":"b\\u200bad"}',
        '{"prompt":"\\uff42\\uff41\\uff44"}',
        '{"prompt":"very\\nbad"}',
        '{"prompt":"very\\u000abad"}',
        "this is ba\u0064",
        r'{"prompt":"[{\"content\":\"very\\nbad\"}]"}',
        r'{"prompt":"{\"content\":\"\\u0062ad\"}"}',
    ],
)
async def test_disguises(text: str) -> None:
    """Wide and styled letters, characters that show nothing and escapes hide no word, nor does JSON within JSON."""
    assert await refused(guard(regex=[r".*\bbad\b.*"]), text)


async def test_words_that_only_contain_it() -> None:
    """What is read past does not make other words of harmless ones."""
    for text in ("badge", "b\u200bat", "ｂａｄｇｅ", '{"prompt":"very\\nbadly"}'):
        assert not await refused(guard(regex=[r".*\bbad\b.*"]), text)


async def test_homoglyphs_are_other_letters() -> None:
    """Letters of another alphabet that look alike stay what they are; an expression has to name them."""
    assert not await refused(guard(regex=[".*bad.*"]), "bаd with a Cyrillic а")
    assert await refused(guard(regex=[".*b[aа]d.*"]), "bаd with a Cyrillic а")


async def test_output_has_a_guardrail_of_its_own() -> None:
    """What one side refuses passes on the other."""
    made = guard(side="output", regex=[".*bad.*"])
    assert await refused(made, "bad", side="output")
    assert not await refused(made, "bad", side="input")


@pytest.mark.parametrize(
    ("regex", "why"),
    [
        ("(?=a)b", "look-around is not supported"),
        ("(?<!a)b", "look-around is not supported"),
        (r"(a)\1", "back-references are not supported"),
        (r"(?<n>a)\k<n>", "back-references are not supported"),
        ("a++", "possessive and atomic groups are not supported, and not needed"),
        ("(?>a)", "possessive and atomic groups are not supported, and not needed"),
        ("(a", "the syntax is that of RE2"),
        ("a{2000}", "the syntax is that of RE2"),
        ("(a{1,100}){1,9}(b{1,100}){1,9}(c{1,100}){1,9}(d{1,100}){1,9}", "it is too large"),
        ("a" * 10_001, "has an expression of 10001 characters, 10000 are allowed"),
    ],
)
def test_expressions_that_cannot_be_run(regex: str, why: str) -> None:
    """An expression that RE2 has not is refused with the reason and the way out."""
    with pytest.raises(IllegalArgument, match=r"^\[guardrails.input_guardrail.regex\] ") as raised:
        guards().check({"input_guardrail": {"regex": [regex]}})
    assert why in raised.value.reason


@pytest.mark.parametrize("regex", CORPUS)
async def test_redos(regex: str) -> None:
    """No expression of the corpus takes 100 ms of CPU for 100 kB, and none holds the event loop up."""
    made = guard(regex=[regex])
    text = "a" * 100_000 + "!"
    best = 1.0
    for _ in range(3):  # the first may have to build what the others find, and one may meet the garbage collector
        began = time.process_time()
        await made.check("input", text)
        took = time.process_time() - began
        best = min(best, max(took, 2 * await longest_pause(made.check("input", text))))
    assert best < 0.1


async def test_costly_expression() -> None:
    """An expression that costs RE2 as much as one may holds the event loop up no more than others."""
    made = guard(regex=[".*(a|b){900}c"])
    assert min([await longest_pause(made.check("input", "ab" * 10_000)) for _ in range(3)]) < 0.1


async def stop_words(path: Path, *queries: Mapping[str, Any]) -> StopWords:
    """Return the indices of an embedded store, one of them filled with queries."""
    words = StopWords(await EmbeddedStore.open(path / "store.db"))
    properties = {"query": {"type": "percolator"}, "title": {"type": "text"}, "body": {"type": "text"}}
    await words.create("stop", {"mappings": {"properties": properties}})
    for query in queries:
        await words.put("stop", None, {"query": query})
    return words


@pytest.fixture
async def words(tmp_path: Path) -> Any:
    """Stop words in an embedded store."""
    made = await stop_words(tmp_path, {"match": {"title": "kill"}}, {"match_phrase": {"body": "very bad"}})
    yield made
    await made._store.close()


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ('{"prompt":"how are you"}', False),
        ('{"prompt":"how to KILL time"}', True),
        ('{"prompt":"killing"}', False),
        ('{"prompt":"very, bad"}', True),
        ('{"prompt":"bad very"}', False),
        ('{"prompt":"x\\nkill"}', True),
        ('{"prompt":"k\\u0069ll"}', True),
        ('{"prompt":"ｋｉｌｌ"}', True),
        ('{"prompt":"ki\u200bll"}', True),
        (r'{"prompt":"{\"a\":\"now\\nkill\"}"}', True),
    ],
)
async def test_stop_words(words: StopWords, text: str, hit: bool) -> None:
    """A text that one of the stored queries finds is refused, also where it is spelled in another way."""
    assert await refused(guard(words.search, **STOP), text) is hit


async def test_form_of_the_search() -> None:
    """Stop words are looked for as ML Commons does it: by percolating the text as each of the source fields."""
    asked: list[tuple[str, Any]] = []

    async def search(index: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append((index, body))
        return {"timed_out": False, "_shards": {"failed": 0}, "hits": {"total": {"value": 0}}}

    again = {"index_name": "other", "source_fields": ["x"]}
    last = {"index_name": "other", "source_fields": ["y"]}
    assert not await refused(guard(search, stop_words=[*STOP["stop_words"], again, last]), "a text")
    assert asked == [
        (
            "stop",
            {
                "size": 1,
                "query": {"percolate": {"field": "query", "document": dict.fromkeys(("title", "body"), "a text")}},
            },
        ),
        ("other", {"size": 1, "query": {"percolate": {"field": "query", "document": {"y": "a text"}}}}),
    ]


async def test_missing_index(words: StopWords) -> None:
    """A text is refused where the index of stop words is not there, never was or not any more."""
    other: dict[str, Any] = {"stop_words": [{"index_name": "other", "source_fields": ["title"]}]}
    assert await refused(guard(words.search, **other), "harmless")
    assert not await refused(guard(words.search, **STOP), "harmless")
    await words.delete("stop")
    assert await refused(guard(words.search, **STOP), "harmless")


@pytest.mark.parametrize(
    "answer",
    [
        {"timed_out": True, "_shards": {"failed": 0}, "hits": {"total": {"value": 0}}},
        {"timed_out": False, "_shards": {"failed": 1}, "hits": {"total": {"value": 0}}},
        {"timed_out": False, "_shards": {"failed": 0}, "hits": {}},
        {},
    ],
)
async def test_half_a_search(answer: Mapping[str, Any]) -> None:
    """A search that timed out, missed a shard or answers something else refuses."""

    async def search(index: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return answer

    assert await refused(guard(search, **STOP), "harmless")


@pytest.mark.parametrize("name", content.names("guardrails"))
async def test_packs(name: str) -> None:
    """Every pack catches what it says it does, and lets pass what it says it does."""
    document = content.read("guardrails", name)
    made = guard(packs=[name])
    assert [text for text in document["caught"] if not await refused(made, text)] == []
    assert [text for text in document["passed"] if await refused(made, text)] == []
    assert document["caught"]
    assert document["passed"]


async def test_long_texts_and_stop_words() -> None:
    """A long text is read, however it is spelled, without holding the event loop up."""

    async def search(index: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"timed_out": False, "_shards": {"failed": 0}, "hits": {"total": {"value": 0}}}

    made = guard(search, **STOP)
    pauses = [await longest_pause(made.check("input", "ｂаd\\u0041 " * 200_000)) for _ in range(3)]
    assert min(pauses) < 0.1


async def test_long_texts_and_packs() -> None:
    """All packs together look through 100 kB without holding the event loop up."""
    made = guard(packs=content.names("guardrails"))
    pauses = [await longest_pause(made.check("input", "a1 4 " * 20_000)) for _ in range(3)]
    assert min(pauses) < 0.1

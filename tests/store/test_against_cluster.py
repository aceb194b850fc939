"""The embedded store finds what a real OpenSearch finds, over documents as ML Commons maps them."""

import asyncio
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcommons_py.errors import MLCommonsError, ParsingFailed
from mlcommons_py.store import Put, Store
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node
from tests.opensearch import empty
from tests.store.contract import INDEX, ids

Json = dict[str, Any]
Both = tuple[asyncio.Runner, EmbeddedStore, OpenSearchStore]

WORDS = ("all", "MiniLM", "L6", "mpnet", "x", "größe", "Model", "v2", "a-b")
KEYWORDS = ("REMOTE", "TEXT_EMBEDDING", "remote", "DEPLOYED", "n1", "n2", "", "x")
NUMBERS = (0, 1, 2, 3, 10, -1)
TIMES = (1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_500)
BY_KIND: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "keyword": (("algorithm", "model_state", "planning_worker_nodes", "model_config.model_type"), KEYWORDS),
    "number": (("chunk_number", "total_chunks", "model_config.embedding_dimension"), NUMBERS),
    "truth": (("is_hidden", "is_enabled"), (True, False)),
    "time": (("created_time", "last_updated_time"), TIMES),
}


def documents(chance: random.Random) -> dict[str, Json]:
    """Return documents of any shape that the mapping allows, values missing, single and several."""
    made: dict[str, Json] = {}
    for number in range(40):
        source: Json = {}
        for fields, values in BY_KIND.values():
            for field in fields:
                source |= _placed(field, chance.choice([None, *([_some(chance, values)] * 2)]))
        for field in ("name", "description", "connector.name"):
            text = " ".join(chance.choices(WORDS, k=chance.randrange(4)))
            source = _merged(source, _placed(field, chance.choice([None, text, [text, "all x"]])))
        made[f"d{number}"] = source
    return made


def _some(chance: random.Random, values: tuple[Any, ...]) -> Any:
    several = chance.sample(values, chance.randrange(min(3, len(values)) + 1))
    return chance.choice([chance.choice(values), several])


def _placed(field: str, value: Any) -> Json:
    *path, last = field.split(".")
    if value is None:
        return {}
    return {path[0]: {last: value}} if path else {last: value}


def _merged(one: Json, other: Json) -> Json:
    return {
        key: {**one.get(key, {}), **value} if isinstance(value, dict) else value for key, value in other.items()
    } | {key: value for key, value in one.items() if key not in other}


@pytest.fixture(scope="module")
def both(opensearch: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The same documents in both stores."""
    empty(opensearch)
    puts = [Put(INDEX, doc_id, source) for doc_id, source in documents(random.Random(7)).items()]
    with asyncio.Runner() as runner:
        path: Path = tmp_path_factory.mktemp("embedded") / "store.db"
        embedded, cluster = runner.run(EmbeddedStore.open(path)), OpenSearchStore.open(Link((opensearch.url,)))
        for store in (embedded, cluster):
            results = runner.run(_fill(store, puts))
            assert not [one for one in results if isinstance(one, MLCommonsError)]
        yield runner, embedded, cluster
        runner.run(embedded.close())
        runner.run(cluster.close())


async def _fill(store: Store, puts: list[Put]) -> list[Any]:
    return list(await store.bulk(puts))


def _of(kind: str) -> st.SearchStrategy[Json]:
    fields, values = BY_KIND[kind]
    field, value = st.sampled_from(fields), st.sampled_from(values)
    several = st.lists(value, max_size=3)
    return st.one_of(
        st.builds(lambda f, v: {"term": {f: v}}, field, value),
        st.builds(lambda f, v: {"terms": {f: v}}, field, several),
        st.builds(lambda f, v: {"match": {f: v}}, field, value),
        st.builds(lambda f: {"exists": {"field": f}}, field),
    )


_ranges = st.builds(
    lambda field, bounds: {"range": {field: bounds}},
    st.sampled_from(BY_KIND["number"][0]),
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from(NUMBERS), max_size=2),
)
_times = st.builds(
    lambda field, bounds: {"range": {field: bounds}},
    st.sampled_from(BY_KIND["time"][0]),
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from(TIMES), max_size=2),
)
_spans = st.builds(
    lambda field, bounds: {"range": {field: bounds}},
    st.sampled_from(BY_KIND["keyword"][0]),
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from(KEYWORDS), max_size=2),
)
_strings = (*BY_KIND["keyword"][0], "name.keyword", "name", "connector.name.keyword")
_patterns = st.builds(
    lambda kind, field, text, folded: {kind: {field: {"value": text, "case_insensitive": folded}}},
    st.sampled_from(["wildcard", "prefix"]),
    st.sampled_from(_strings),
    st.text("*?xREMaln1 ", max_size=4),
    st.booleans(),
)
_regexps = st.builds(
    lambda field, text: {"regexp": {field: text}},
    st.sampled_from(_strings),
    st.from_regex(r"([xREM1]|\\[.*+]|[a-z]|\\(x\\|R\\)|\\[x-z1\\]|[xREM.][*+?]){0,4}", fullmatch=True),
)
_texts = st.builds(
    lambda kind, field, words: {kind: {field: " ".join(words)}},
    st.sampled_from(["match", "match_phrase"]),
    st.sampled_from(["name", "description", "connector.name", "name.keyword", "algorithm"]),
    st.lists(st.sampled_from([*WORDS, "ALL", "größe!", "minilm"]), max_size=3),
)
_anywhere = st.builds(
    lambda fields, words, operator: {"multi_match": {"query": " ".join(words), "fields": fields, "operator": operator}},
    st.lists(st.sampled_from(["name", "description", "na*", "connector.name^2"]), min_size=1, max_size=2),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    st.sampled_from(["and", "or"]),
)
_strings_of_lucene = st.builds(
    lambda parts: {"query_string": {"query": " ".join(parts)}},
    st.lists(
        st.sampled_from(
            [
                "name:all",
                "name:mini*",
                'name:"all x"',
                "algorithm:REMOTE",
                "AND",
                "OR",
                "NOT",
                "-is_hidden:true",
                "+chunk_number:1",
                "_exists_:algorithm",
                "(name:x OR description:x)",
                "model_state:DEPLO*",
                "name:(all x)",
            ]
        ),
        min_size=1,
        max_size=5,
    ),
)
_leaves = st.one_of(
    *map(_of, BY_KIND),
    _ranges,
    _times,
    _spans,
    _patterns,
    _regexps,
    _texts,
    _anywhere,
    _strings_of_lucene,
    st.builds(lambda some: {"ids": {"values": some}}, st.lists(st.sampled_from(["d1", "d2", "no"]), max_size=2)),
)
_queries: st.SearchStrategy[Json] = st.recursive(
    _leaves,
    lambda inner: st.builds(
        lambda clauses, needed: {"bool": {**{key: value for key, value in clauses.items() if value}, **needed}},
        st.fixed_dictionaries({key: st.lists(inner, max_size=2) for key in ("must", "filter", "should", "must_not")}),
        st.one_of(st.just({}), st.builds(lambda n: {"minimum_should_match": n}, st.integers(0, 2))),
    ),
    max_leaves=5,
)


@given(query=_queries)
@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_found_alike(both: Both, query: Json) -> None:
    """What the cluster finds the embedded store finds; it may answer what the cluster refuses."""
    runner, embedded, cluster = both
    body = {"query": query, "size": 100, "_source": False}
    try:
        wanted = sorted(ids(runner.run(cluster.search(INDEX, body))))
    except MLCommonsError as fault:
        assert fault.status == 400  # noqa: PT017 - what it refuses the other may answer
        return
    try:
        found = sorted(ids(runner.run(embedded.search(INDEX, body))))
    except ParsingFailed as fault:
        # Lucene makes sense of some texts that are none of its own grammar.
        assert re.match(r"\[(query_string|regexp)\] ", fault.reason)  # noqa: PT017
        return
    assert found == wanted

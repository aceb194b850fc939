"""What every store finds: tests that a store's own file inherits, with a fixture ``store`` that is empty."""

from typing import Any

import pytest

from mlcommons_py.store import Put, Store
from tests.store.contract import INDEX, ids
from tests.store.corpus import MODELS

FOUND: list[tuple[str, dict[str, Any], str]] = [
    ("match_all", {"match_all": {}}, "m1 m2 m3 m4 m1_0 m1_1"),
    ("match_none", {"match_none": {}}, ""),
    ("ids", {"ids": {"values": ["m3", "m1", "no"]}}, "m1 m3"),
    ("no ids", {"ids": {"values": []}}, ""),
    ("term", {"term": {"algorithm": "REMOTE"}}, "m3 m4"),
    ("term, long form", {"term": {"algorithm": {"value": "REMOTE", "boost": 2}}}, "m3 m4"),
    ("term is exact", {"term": {"algorithm": "remote"}}, ""),
    ("term, any case", {"term": {"algorithm": {"value": "remote", "case_insensitive": True}}}, "m3 m4"),
    ("term on _id", {"term": {"_id": "m2"}}, "m2"),
    ("term on _index", {"term": {"_index": INDEX}}, "m1 m2 m3 m4 m1_0 m1_1"),
    ("term on a number", {"term": {"model_config.embedding_dimension": 384}}, "m1"),
    ("term on a number, as a string", {"term": {"model_config.embedding_dimension": "384"}}, "m1"),
    ("term on a truth value", {"term": {"is_hidden": True}}, "m3"),
    ("term on a truth value, as a string", {"term": {"is_hidden": "false"}}, "m1"),
    ("term on an array", {"term": {"planning_worker_nodes": "n2"}}, "m1"),
    ("term in objects of an array", {"term": {"connector.actions.url": "u2"}}, "m3"),
    ("term on an object", {"term": {"model_config": "bert"}}, ""),
    ("term on a text sees words", {"term": {"name": "minilm"}}, "m1"),
    ("term on a text's keyword sees it whole", {"term": {"name.keyword": "All MiniLM L6"}}, "m1"),
    ("terms", {"terms": {"model_state": ["DEPLOYED", "REGISTERED"]}}, "m1 m2"),
    ("terms on _id", {"terms": {"_id": ["m1", "m4"]}}, "m1 m4"),
    ("no terms", {"terms": {"model_state": []}}, ""),
    ("match, any word", {"match": {"description": "larger SMALL"}}, "m1 m2"),
    ("match, every word", {"match": {"description": {"query": "embeddings sentences", "operator": "and"}}}, "m2"),
    ("match, two of three", {"match": {"name": {"query": "all l6 x", "minimum_should_match": 2}}}, "m1"),
    ("match, some percent", {"match": {"name": {"query": "all l6 x", "minimum_should_match": "60%"}}}, "m1 m2"),
    ("match without words", {"match": {"name": "!"}}, ""),
    ("match of unicode words", {"match": {"name": "GRÖSSE größe"}}, "m4"),
    ("match on a keyword is exact", {"match": {"algorithm": "REMOTE"}}, "m3 m4"),
    ("match on a keyword has no words", {"match": {"name.keyword": "All"}}, ""),
    ("match_phrase", {"match_phrase": {"name": "minilm l6"}}, "m1"),
    ("match_phrase in another order", {"match_phrase": {"name": "l6 minilm"}}, ""),
    ("multi_match", {"multi_match": {"query": "mpnet small", "fields": ["name", "description^3"]}}, "m1 m2"),
    ("multi_match by pattern", {"multi_match": {"query": "remote", "fields": ["desc*"]}}, "m3"),
    ("multi_match anywhere", {"multi_match": {"query": "bert"}}, "m1"),
    ("multi_match, phrase", {"multi_match": {"query": "remote model", "fields": ["*"], "type": "phrase"}}, "m3"),
    ("prefix", {"prefix": {"model_state": "DEPLOY"}}, "m1 m4"),
    ("prefix, any case", {"prefix": {"model_state": {"value": "deploy", "case_insensitive": True}}}, "m1 m4"),
    ("prefix is literal", {"prefix": {"model_state": "D.*"}}, ""),
    ("wildcard", {"wildcard": {"model_state": {"value": "*DEPLOYED"}}}, "m1 m3"),
    ("wildcard under its own name", {"wildcard": {"model_state": {"wildcard": "?EPLOYED"}}}, "m1"),
    ("wildcard, short form", {"wildcard": {"model_state": "REG*"}}, "m2"),
    ("wildcard, any case", {"wildcard": {"name.keyword": {"value": "*MINI*", "case_insensitive": True}}}, "m1"),
    ("wildcard, escaped", {"wildcard": {"name.keyword": "*\\**"}}, "m4"),
    ("wildcard takes other signs literally", {"wildcard": {"name.keyword": "*.*"}}, ""),
    ("regexp", {"regexp": {"model_state": "(PARTIALLY_)?DEPLOYED"}}, "m1 m3"),
    ("regexp is anchored", {"regexp": {"model_state": "DEPLOY"}}, ""),
    ("regexp has no anchors", {"regexp": {"model_state": "^DEPLOYED$"}}, ""),
    ("regexp, any case", {"regexp": {"model_state": {"value": "reg.*", "case_insensitive": True}}}, "m2"),
    ("range of numbers", {"range": {"created_time": {"gte": 1_700_000_001_000, "lt": 1_700_000_002_500}}}, "m2"),
    ("range, numbers as strings", {"range": {"created_time": {"gt": "1700000001000"}}}, "m3"),
    ("range of strings", {"range": {"model_version": {"gte": "10", "lte": "2"}}}, "m2 m3"),
    ("range without bounds", {"range": {"chunk_number": {}}}, "m1_0 m1_1"),
    ("exists", {"exists": {"field": "chunk_number"}}, "m1_0 m1_1"),
    ("exists, of an object", {"exists": {"field": "connector"}}, "m3 m4"),
    ("exists, of an empty array", {"exists": {"field": "planning_worker_nodes"}}, "m1"),
    ("exists, by pattern", {"exists": {"field": "model_conf*"}}, "m1 m2"),
    ("bool", {"bool": {"must": {"term": {"algorithm": "REMOTE"}}, "must_not": {"term": {"_id": "m3"}}}}, "m4"),
    ("bool, filter", {"bool": {"filter": [{"term": {"algorithm": "REMOTE"}}, {"term": {"is_hidden": True}}]}}, "m3"),
    ("bool, should", {"bool": {"should": [{"term": {"_id": "m1"}}, {"term": {"_id": "m2"}}]}}, "m1 m2"),
    (
        "bool, should beside filter need not match",
        {"bool": {"filter": {"term": {"algorithm": "REMOTE"}}, "should": {"term": {"_id": "m1"}}}},
        "m3 m4",
    ),
    (
        "bool, should beside filter with a minimum",
        {
            "bool": {
                "filter": {"term": {"algorithm": "REMOTE"}},
                "should": [{"term": {"_id": "m3"}}],
                "minimum_should_match": 1,
            }
        },
        "m3",
    ),
    (
        "bool, two of three",
        {
            "bool": {
                "should": [
                    {"exists": {"field": "name"}},
                    {"exists": {"field": "connector"}},
                    {"exists": {"field": "ratio"}},
                ],
                "minimum_should_match": "-1",
            }
        },
        "m3 m4",
    ),
    (
        "bool, more than there are",
        {"bool": {"should": [{"match_all": {}}], "minimum_should_match": 2}},
        "",
    ),
    ("bool, nothing", {"bool": {}}, "m1 m2 m3 m4 m1_0 m1_1"),
    ("bool, must_not alone", {"bool": {"must_not": {"exists": {"field": "name"}}}}, "m1_0 m1_1"),
    (
        "bool, should and must_not need a should",
        {"bool": {"should": {"term": {"_id": "m1"}}, "must_not": {"term": {"_id": "m2"}}, "minimum_should_match": 0}},
        "m1",
    ),
    ("constant_score", {"constant_score": {"filter": {"term": {"_id": "m1"}}, "boost": 3}}, "m1"),
    ("dis_max", {"dis_max": {"queries": [{"term": {"_id": "m1"}}, {"term": {"_id": "m4"}}]}}, "m1 m4"),
]

QUERY_STRINGS: list[tuple[str, str]] = [
    ("model_state:DEPLOYED", "m1"),
    ("model_state: DEPLOYED", "m1"),
    ('name:"minilm l6"', "m1"),
    ('name.keyword:"All MiniLM L6"', "m1"),
    ("name:mini*", "m1"),
    ("model_state:*DEPLOYED", "m1 m3"),
    ("algorithm:REMOTE AND is_hidden:true", "m3"),
    ("algorithm:REMOTE && NOT is_hidden:true", "m4"),
    ("+algorithm:REMOTE -is_hidden:true", "m4"),
    ("_id:m1 OR _id:m2", "m1 m2"),
    ("_id:m1 _id:m2", "m1 m2"),
    ("_id:(m1 OR m4)", "m1 m4"),
    ("(_id:m1 OR _id:m3) AND is_hidden:true", "m3"),
    ("_exists_:connector", "m3 m4"),
    ("NOT _exists_:name", "m1_0 m1_1"),
    ("_id:m1 OR NOT _id:m2 AND model_state:REGISTERED", ""),
    ("bert", "m1"),
    ("name:gr\\öße", "m4"),
    ("name.keyword:größe\\ \\*\\ 100%", "m4"),
    ("connector.name:*", "m3 m4"),
    ("*", "m1 m2 m3 m4 m1_0 m1_1"),
    ("", ""),
    ("   ", ""),
]

SHOWN: list[tuple[Any, dict[str, Any] | None]] = [
    (False, None),
    ("name", {"name": "GPT"}),
    (["name", "ratio"], {"name": "GPT", "ratio": 0.5}),
    ("connector.name", {"connector": {"name": "OpenAI chat"}}),
    ("connector.n*", {"connector": {"name": "OpenAI chat"}}),
    ("*_hidden", {"is_hidden": True}),
    ("connector.actions.url", {"connector": {"actions": [{"url": "u1"}, {"url": "u2"}]}}),
    (
        {"includes": ["connector"], "excludes": ["connector.actions.url"]},
        {"connector": {"name": "OpenAI chat", "actions": [{"method": "POST"}, {"method": "GET"}]}},
    ),
    ({"includes": ["connector.*"], "excludes": ["*.actions"]}, {"connector": {"name": "OpenAI chat"}}),
    ({"include": "ratio"}, {"ratio": 0.5}),
    ("nothing", {}),
    ([], MODELS["m3"]),
    (True, MODELS["m3"]),
]

SORTS: list[tuple[Any, str]] = [
    ("_id", "m1 m1_0 m1_1 m2 m3 m4"),
    ([{"_id": "desc"}], "m4 m3 m2 m1_1 m1_0 m1"),
    ([{"name.keyword": "asc"}], "m1 m3 m2 m4 m1_0 m1_1"),
    ([{"name.keyword": {"order": "desc"}}], "m4 m2 m3 m1 m1_0 m1_1"),
    ([{"created_time": {"order": "asc", "missing": "_first"}}], "m4 m1_0 m1_1 m1 m2 m3"),
    ([{"created_time": {"order": "desc", "missing": "_first"}}], "m4 m1_0 m1_1 m3 m2 m1"),
    ([{"created_time": {"order": "desc"}}], "m3 m2 m1 m4 m1_0 m1_1"),
    ([{"created_time": {"order": "asc", "missing": 1_700_000_001_500}}], "m1 m2 m4 m1_0 m1_1 m3"),
    ([{"algorithm": "asc"}, {"model_state": "desc"}], "m3 m4 m2 m1 m1_0 m1_1"),
    (["algorithm", "_score", {"_id": "desc"}], "m4 m3 m2 m1 m1_1 m1_0"),
    ("model_config.embedding_dimension", "m1 m2 m3 m4 m1_0 m1_1"),
    ([{"no_such_field": {"order": "asc", "unmapped_type": "keyword"}}], "m1 m2 m3 m4 m1_0 m1_1"),
]


NEWEST = {"value": 1_700_000_002_500.0, "value_as_string": "2023-11-14T22:13:22.500Z"}


async def fill(store: Store) -> None:
    """Store the documents that the tests look for, and one in another index."""
    await store.bulk([Put(INDEX, doc_id, source) for doc_id, source in MODELS.items()])
    await store.put("other", "m1", MODELS["m1"])


class SearchContract:
    """Which documents a search finds, in what order, and how they are shown."""

    @pytest.fixture(autouse=True)
    async def filled(self, store: Store) -> None:
        """Store the documents that the tests look for."""
        await fill(store)

    @pytest.mark.parametrize(("query", "found"), [one[1:] for one in FOUND], ids=[one[0] for one in FOUND])
    async def test_query(self, store: Store, query: dict[str, Any], found: str) -> None:
        """A query finds these documents and no others."""
        answer = await store.search(INDEX, {"query": query})
        assert sorted(ids(answer)) == sorted(found.split())
        assert answer["hits"]["total"] == {"value": len(found.split()), "relation": "eq"}

    @pytest.mark.parametrize(("text", "found"), QUERY_STRINGS)
    async def test_query_string(self, store: Store, text: str, found: str) -> None:
        """Lucene's query language finds these documents and no others."""
        assert sorted(ids(await store.search(INDEX, {"query": {"query_string": {"query": text}}}))) == sorted(
            found.split()
        )

    @pytest.mark.parametrize(
        ("options", "found"),
        [
            ({"query": "all l6", "default_field": "name"}, "m1 m2"),
            ({"query": "all l6", "default_field": "name", "default_operator": "AND"}, "m1"),
            ({"query": "l6 OR gpt", "default_field": "name", "default_operator": "AND"}, "m1 m3"),
            ({"query": "small larger", "fields": ["name", "description^2"]}, "m1 m2"),
        ],
    )
    async def test_query_string_options(self, store: Store, options: dict[str, Any], found: str) -> None:
        """Its fields and its operator can be chosen."""
        assert sorted(ids(await store.search(INDEX, {"query": {"query_string": options}}))) == found.split()

    async def test_best_first(self, store: Store) -> None:
        """Without a sort the best score comes first, and equals in the order of their writing."""
        should = [{"term": {"algorithm": "REMOTE"}}, {"term": {"_id": {"value": "m4", "boost": 5}}}, {"match_all": {}}]
        hits = (await store.search(INDEX, {"query": {"bool": {"should": should}}}))["hits"]
        assert [hit["_id"] for hit in hits["hits"]] == ["m4", "m3", "m1", "m2", "m1_0", "m1_1"]
        scores = [hit["_score"] for hit in hits["hits"]]
        assert scores == sorted(scores, reverse=True)
        assert hits["max_score"] == scores[0]

    async def test_more_of_a_word_scores_higher(self, store: Store) -> None:
        """Of two texts that match, the one that has more of the words comes first."""
        answer = await store.search(INDEX, {"query": {"match": {"description": "larger embeddings"}}})
        assert ids(answer) == ["m2", "m1"]

    @pytest.mark.parametrize(("sort", "order"), SORTS)
    async def test_sort(self, store: Store, sort: Any, order: str) -> None:
        """Hits come sorted by each key in turn, equals in the order of their writing, and carry no score."""
        hits = (await store.search(INDEX, {"sort": sort}))["hits"]
        assert [hit["_id"] for hit in hits["hits"]] == order.split()
        if "_score" not in str(sort):
            assert hits["max_score"] is None
            assert {hit["_score"] for hit in hits["hits"]} == {None}

    async def test_sort_values(self, store: Store) -> None:
        """Hits say what they were sorted by, and their score where that is asked for."""
        body = {"sort": [{"created_time": "desc"}, "_id"], "size": 1, "_source": False, "track_scores": True}
        (hit,) = (await store.search(INDEX, body))["hits"]["hits"]
        assert hit == {"_index": INDEX, "_id": "m3", "_score": 1.0, "sort": [1_700_000_002_500, "m3"]}

    async def test_pages(self, store: Store) -> None:
        """``from`` and ``size`` cut pages out of one order; the total counts all."""
        seen = []
        for start in range(0, 8, 2):
            answer = await store.search(INDEX, {"from": start, "size": 2, "sort": "_id"})
            assert answer["hits"]["total"]["value"] == 6
            seen += ids(answer)
        assert seen == sorted(MODELS)

    async def test_search_after(self, store: Store) -> None:
        """Each page goes on after the sort values of the last, missing values included, until all were seen."""
        body: dict[str, Any] = {"size": 2, "sort": [{"created_time": "desc"}, {"_id": "asc"}]}
        seen: list[str] = []
        while hits := (await store.search(INDEX, body))["hits"]["hits"]:
            seen += [hit["_id"] for hit in hits]
            body["search_after"] = hits[-1]["sort"]
        assert seen == ["m3", "m2", "m1", "m1_0", "m1_1", "m4"]

    @pytest.mark.parametrize(("wanted", "shown"), SHOWN)
    async def test_source(self, store: Store, wanted: Any, shown: dict[str, Any] | None) -> None:
        """A hit shows the fields that ``_source`` asks for."""
        (hit,) = (await store.search(INDEX, {"query": {"ids": {"values": ["m3"]}}, "_source": wanted}))["hits"]["hits"]
        assert hit.get("_source") == shown

    async def test_version_and_seq_no(self, store: Store) -> None:
        """Hits carry their version and state where that is asked for."""
        written = await store.put(INDEX, "m4", {"x": 1})
        body = {"query": {"term": {"_id": "m4"}}, "version": True, "seq_no_primary_term": True}
        (hit,) = (await store.search(INDEX, body))["hits"]["hits"]
        assert (hit["_version"], hit["_seq_no"], hit["_primary_term"]) == (2, written.seq_no, 1)

    @pytest.mark.parametrize(
        ("track", "total"),
        [
            (True, {"value": 6, "relation": "eq"}),
            (False, None),
            (6, {"value": 6, "relation": "eq"}),
            (4, {"value": 4, "relation": "gte"}),
        ],
    )
    async def test_track_total_hits(self, store: Store, track: Any, total: Any) -> None:
        """The total is counted in full, not at all, or up to a number."""
        assert (await store.search(INDEX, {"track_total_hits": track}))["hits"].get("total") == total

    async def test_min_score(self, store: Store) -> None:
        """Documents of a lower score are not found."""
        should = [{"term": {"algorithm": {"value": "REMOTE", "boost": 4}}}, {"match_all": {}}]
        answer = await store.search(INDEX, {"query": {"bool": {"should": should}}, "min_score": 3})
        assert ids(answer) == ["m3", "m4"]
        assert answer["hits"]["total"]["value"] == 2

    async def test_terms_aggregation(self, store: Store) -> None:
        """Values are counted, the commonest first, whatever page of hits is shown."""
        aggs = {
            "states": {
                "terms": {"field": "algorithm", "size": 1},
                "aggs": {"newest": {"max": {"field": "created_time"}}},
            }
        }
        answer = await store.search(INDEX, {"size": 0, "aggs": aggs})
        assert answer["hits"]["hits"] == []
        assert answer["aggregations"]["states"] == {
            "doc_count_error_upper_bound": 0,
            "sum_other_doc_count": 2,
            "buckets": [{"key": "REMOTE", "doc_count": 2, "newest": NEWEST}],
        }

    @pytest.mark.parametrize("kind", ["min", "max", "avg", "sum"])
    async def test_metrics_of_dates(self, store: Store, kind: str) -> None:
        """Metrics of times say them as dates, too, if there are any."""
        aggs = {"it": {kind: {"field": "created_time"}}, "none": {kind: {"field": "last_deployed_time"}}}
        body = {"size": 0, "query": {"ids": {"values": ["m3"]}}, "aggs": aggs}
        nothing = {"value": 0.0, "value_as_string": "1970-01-01T00:00:00.000Z"} if kind == "sum" else {"value": None}
        assert (await store.search(INDEX, body))["aggregations"] == {"it": NEWEST, "none": nothing}

    async def test_terms_of_dates(self, store: Store) -> None:
        """Times are buckets of milliseconds with their dates."""
        body = {"size": 0, "aggs": {"a": {"terms": {"field": "created_time", "order": {"_key": "desc"}, "size": 1}}}}
        (bucket,) = (await store.search(INDEX, body))["aggregations"]["a"]["buckets"]
        assert bucket == {"key": 1_700_000_002_500, "key_as_string": NEWEST["value_as_string"], "doc_count": 1}

    async def test_terms_of_truth_values(self, store: Store) -> None:
        """Truth values are buckets 0 and 1 with their names."""
        answer = await store.search(
            INDEX, {"size": 0, "aggs": {"a": {"terms": {"field": "is_hidden", "order": {"_key": "asc"}}}}}
        )
        assert answer["aggregations"]["a"]["buckets"] == [
            {"key": 0, "key_as_string": "false", "doc_count": 1},
            {"key": 1, "key_as_string": "true", "doc_count": 1},
        ]

    async def test_filter_aggregations(self, store: Store) -> None:
        """Filters count what they find among the hits of the query."""
        remote, hidden = {"term": {"algorithm": "REMOTE"}}, {"term": {"is_hidden": True}}
        body = {
            "query": {"exists": {"field": "name"}},
            "size": 0,
            "aggregations": {
                "remote": {"filter": remote, "aggregations": {"hidden": {"filter": hidden}}},
                "both": {"filters": {"filters": {"remote": remote, "hidden": hidden}}},
                "listed": {"filters": {"filters": [remote, hidden]}, "meta": {"for": "me"}},
            },
        }
        assert (await store.search(INDEX, body))["aggregations"] == {
            "remote": {"doc_count": 2, "hidden": {"doc_count": 1}},
            "both": {"buckets": {"remote": {"doc_count": 2}, "hidden": {"doc_count": 1}}},
            "listed": {"meta": {"for": "me"}, "buckets": [{"doc_count": 2}, {"doc_count": 1}]},
        }

    @pytest.mark.parametrize(
        ("kind", "field", "value"),
        [
            ("value_count", "planning_worker_nodes", 2),
            ("cardinality", "algorithm", 2),
            ("min", "chunk_number", 0.0),
            ("max", "model_config.embedding_dimension", 768.0),
            ("sum", "chunk_number", 1.0),
            ("avg", "model_config.embedding_dimension", 576.0),
            ("sum", "nothing", 0.0),
            ("avg", "nothing", None),
            ("min", "nothing", None),
            ("value_count", "nothing", 0),
        ],
    )
    async def test_metrics(self, store: Store, kind: str, field: str, value: Any) -> None:
        """Metrics are taken over all values of a field."""
        answer = await store.search(INDEX, {"size": 0, "aggs": {"it": {kind: {"field": field}}}})
        assert answer["aggregations"]["it"] == {"value": value}

    @pytest.mark.parametrize(
        ("states", "search", "sort", "found"),
        [
            (["DEPLOYED", "PARTIALLY_DEPLOYED"], "*M*", [{"name.keyword": "asc"}], "m1"),
            (["DEPLOYED", "PARTIALLY_DEPLOYED"], "**", [{"model_state": "desc"}], "m3 m1"),
            (["DEPLOYED", "REGISTERED"], "*all*", [{"_id": "desc"}], "m2 m1"),
            (["DEPLOYED", "PARTIALLY_DEPLOYED"], "*m3*", [{"_id": "asc"}], "m3"),
        ],
    )
    async def test_dashboards_models(self, store: Store, states: list[str], search: str, sort: Any, found: str) -> None:
        """The list of models of OpenSearch Dashboards' ML page works word for word."""
        query = {
            "bool": {
                "must": [
                    {"terms": {"model_state": states}},
                    {
                        "bool": {
                            "should": [
                                {"wildcard": {"name.keyword": {"value": search, "case_insensitive": True}}},
                                {"term": {"_id": search.strip("*") or "none"}},
                            ]
                        }
                    },
                    {"bool": {"must_not": {"term": {"algorithm": {"value": "AGENT"}}}}},
                ],
                "must_not": {"exists": {"field": "chunk_number"}},
            }
        }
        answer = await store.search(INDEX, {"query": query, "from": 0, "size": 50, "sort": sort, "_source": ["name"]})
        assert ids(answer) == found.split()
        assert answer["hits"]["total"]["value"] == len(found.split())
        assert [hit["_source"] for hit in answer["hits"]["hits"]] == [
            {"name": MODELS[one]["name"]} for one in ids(answer)
        ]

    async def test_dashboards_connector_names(self, store: Store) -> None:
        """So does its list of connector names."""
        aggs = {"unique_connector_names": {"terms": {"field": "connector.name.keyword", "size": 10000}}}
        answer = await store.search(INDEX, {"size": 0, "aggs": aggs})
        buckets = answer["aggregations"]["unique_connector_names"]["buckets"]
        assert buckets == [{"key": "Cohere", "doc_count": 1}, {"key": "OpenAI chat", "doc_count": 1}]

    async def test_dashboards_connectors(self, store: Store) -> None:
        """So does its search for connectors, in an index that may not exist."""
        answer = await store.search(".plugins-ml-connector", {"query": {"match_all": {}}, "from": 0, "size": 10_000})
        assert answer["hits"]["hits"] == []

"""The settings API and the lists of plugins before a real OpenSearch."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import httpx
import orjson
import pytest

from mlcommons_py.cluster_settings import DOCUMENT, INDEX, ClusterSettings
from mlcommons_py.errors import Unavailable
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import Pool
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.shared_settings import put_settings
from mlcommons_py.store import Document, Store, Written
from mlcommons_py.wiring import App
from scripts.opensearch import Node
from tests.gateway.conftest import Before, Connect
from tests.gateway.peers import PATIENCE, Fake, Wire, field

OURS = "plugins.ml_commons.max_model_on_node"
THEIRS = "cluster.max_shards_per_node"
NOTHING: Mapping[str, Any] = {"persistent": {}, "transient": {}}


@pytest.fixture
async def settings(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose settings are put back afterwards."""
    yield client
    everything = {scope: {"*": None} for scope in ("persistent", "transient")}
    assert (await client.put("/_cluster/settings", json=everything)).json() == {"acknowledged": True, **NOTHING}
    assert (await client.get("/_cluster/settings")).json() == NOTHING


async def test_mixed(settings: httpx.AsyncClient, direct: httpx.AsyncClient) -> None:
    """A change of keys of both sides is done by both, and shown as one; the cluster knows nothing of the service's."""
    change = {
        "persistent": {OURS: 7, THEIRS: 1234},
        "transient": {"plugins": {"ml_commons": {"max_ml_task_per_node": 3}}},
    }
    nested = {"plugins": {"ml_commons": {"max_model_on_node": "7"}}, "cluster": {"max_shards_per_node": "1234"}}
    transient = {"plugins": {"ml_commons": {"max_ml_task_per_node": "3"}}}
    answer = await settings.put("/_cluster/settings", json=change)
    assert answer.json() == {"acknowledged": True, "persistent": nested, "transient": transient}

    assert (await settings.get("/_cluster/settings")).json() == {"persistent": nested, "transient": transient}
    assert (await settings.get("/_cluster/settings?flat_settings=true")).json() == {
        "persistent": {THEIRS: "1234", OURS: "7"},
        "transient": {"plugins.ml_commons.max_ml_task_per_node": "3"},
    }
    assert (await direct.get("/_cluster/settings?flat_settings=true")).json() == {
        "persistent": {THEIRS: "1234"},
        "transient": {},
    }


async def test_defaults(settings: httpx.AsyncClient) -> None:
    """Defaults of both sides are listed together, nested and flat."""
    flat = (await settings.get("/_cluster/settings?include_defaults=true&flat_settings=true")).json()["defaults"]
    tree = (await settings.get("/_cluster/settings?include_defaults=true")).json()["defaults"]

    assert (flat[OURS], flat[THEIRS]) == ("10", "1000")
    assert tree["plugins"]["ml_commons"]["max_model_on_node"] == "10"
    assert tree["cluster"]["max_shards_per_node"] == "1000"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({OURS: "many", THEIRS: 99}, "a whole number is expected"),
        ({OURS: 9, "cluster.max_shards_per_nodes": 99}, "not recognized"),
        ({OURS: 9, THEIRS: "many"}, "Failed to parse value [many]"),
        ({"plugins.ml_commons.nonsense": 9, THEIRS: 99}, "not recognized"),
        ({}, "no settings to update"),
    ],
)
async def test_all_or_nothing(settings: httpx.AsyncClient, change: dict[str, Any], text: str) -> None:
    """A change that either side refuses is done by neither."""
    answer = await settings.put("/_cluster/settings", json={"persistent": change})

    assert answer.status_code == 400
    assert text in answer.text
    assert (await settings.get("/_cluster/settings")).json() == NOTHING


async def test_refused_only_ours(connect: Connect, fake: Fake) -> None:
    """Who may not change the cluster's settings may not change the service's: the cluster is asked in every case."""
    asked = []

    async def script(wire: Wire) -> None:
        while head := await wire.head():
            asked.append(head.split()[0])
            assert field(head, b"authorization") == b"Basic eDp5"
            body = b'{"persistent":{},"transient":{}}'
            if head.startswith(b"PUT"):
                await wire.exactly(int(field(head, b"content-length")))
                await wire.send(b"HTTP/1.1 403 Forbidden\r\ncontent-type: a/b\r\ncontent-length: 2\r\n\r\nno")
            else:
                await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    fake.script = script
    wire = await connect()
    body = b'{"persistent":{"%b":5}}' % OURS.encode()
    head = b"PUT /_cluster/settings HTTP/1.1\r\nhost: me\r\nauthorization: Basic eDp5\r\n"
    head += b"content-type: application/json\r\n"
    await wire.send(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
    refused, text = await wire.answer()
    await wire.send(b"GET /_cluster/settings HTTP/1.1\r\nhost: me\r\nauthorization: Basic eDp5\r\n\r\n")

    assert (refused.split()[1], field(refused, b"content-type"), text) == (b"403", b"a/b", b"no")
    assert (await wire.answer())[1] == b'{"persistent":{},"transient":{}}'
    assert asked == [b"GET", b"PUT", b"GET"]


async def test_ours_win(connect: Connect, fake: Fake) -> None:
    """Where the cluster has the plugin, too, its values of the service's keys are not shown."""

    async def script(wire: Wire) -> None:
        while await wire.head():
            body = (
                b'{"persistent":{"plugins":{"ml_commons":{"max_model_on_node":"1"},"other":{"a":"2"}}},"transient":{}}'
            )
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    fake.script = script
    wire = await connect()
    await wire.send(b"GET /_cluster/settings HTTP/1.1\r\nhost: me\r\n\r\n")

    assert (await wire.answer())[1] == b'{"persistent":{"plugins":{"other":{"a":"2"}}},"transient":{}}'


async def test_cluster_down(before: Before) -> None:
    """Without the cluster, settings are neither shown by half nor changed."""
    port = await before("http://127.0.0.1:1")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/_cluster/settings")).status_code == 503
        assert (await client.put("/_cluster/settings", json={"persistent": {OURS: 5}})).status_code == 503
        assert (await client.get("/_cat/plugins")).status_code == 503


class Patient:
    """A store in a cluster that is down: it tries for long."""

    async def get(self, *_document: object) -> Document | None:
        """Give up in the end."""
        raise Unavailable("nothing came for ten seconds")


async def test_cluster_down_with_the_store(app: App) -> None:
    """A cluster that is down refuses a change before the store, which is patient, is asked what there is to change."""
    settings = ClusterSettings(cast("Store", Patient()), app.services.settings)
    gateway = Gateway(Pool(("http://127.0.0.1:1",), None))
    services = replace(app.services, gateway=gateway, cluster_settings=settings)
    body = orjson.dumps({"persistent": {OURS: 7}})

    with pytest.raises(Unavailable, match="cannot be reached"):
        await put_settings(services, Request("PUT", "/_cluster/settings", "/_cluster/settings", {}, {}, {}, body))

    gateway.close()


YAML = {"content-type": "application/yaml"}


async def test_change_in_yaml(settings: httpx.AsyncClient, direct: httpx.AsyncClient) -> None:
    """A change in YAML of the cluster's keys is the cluster's; what it refuses, the client sees."""
    for value, status in ((b"1234", 200), (b"many", 400)):
        change = b"persistent:\n  cluster.max_shards_per_node: " + value
        answer = await settings.put("/_cluster/settings?flat_settings=true", content=change, headers=YAML)
        assert answer.status_code == status
    assert "Failed to parse value [many]" in answer.text
    assert (await direct.get("/_cluster/settings?flat_settings=true")).json()["persistent"] == {THEIRS: "1234"}


SPELLED = {
    "plain": f"{OURS}: null",
    "tree": "plugins:\n    ml_commons:\n      max_model_on_node: null",
    "wildcard": "plugins.*: null",
    "everything": "'*': null",
    "escaped": '"plugins.ml\\x5fcommons.max_model_on_node": null',
    "cut": '"plugins.ml_\\\n  commons.max_model_on_node": null',
    "alias": "cluster.routing.allocation.exclude._name: &key plugins.ml_commons.max_model_on_node\n  *key : null",
    "merged": "x: &x {plugins.ml_commons.max_model_on_node: null}\n  <<: *x",
    "overlong": "plugins.ml\N{NO-BREAK SPACE}commons.max_model_on_node: null",
}


@pytest.mark.only("embedded", reason="what is refused comes to no store")
@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED.keys())
async def test_ours_in_json_only(settings: httpx.AsyncClient, direct: httpx.AsyncClient, spelled: str) -> None:
    """A change of the service's keys in YAML is refused however they are spelled, and nothing of it is done."""
    change = f"persistent:\n  {THEIRS}: 1234\n  {spelled}\n".encode()
    # An underscore in two bytes: readers that do not look closely take it.
    change = change.replace("\N{NO-BREAK SPACE}".encode(), b"\xc1\x9f")
    answer = await settings.put("/_cluster/settings", content=change, headers=YAML)

    assert answer.status_code == 406
    assert answer.json()["error"] == "plugins.ml_commons.* keys, wildcards and escapes are taken in JSON only"
    assert (await direct.get("/_cluster/settings")).json() == NOTHING


@pytest.mark.only("embedded", reason="what is refused comes to no store")
@pytest.mark.parametrize("kind", ["application/cbor", "application/smile"])
async def test_binary_settings(settings: httpx.AsyncClient, direct: httpx.AsyncClient, kind: str) -> None:
    """A change in CBOR, where a key may come in pieces, or in SMILE is refused whatever it says."""
    pieces = b"\x7f\x62pl\x70ugins.ml_commons\x72.max_model_on_node\xff"
    change = b"\xa1\x6apersistent\xa2" + b"\x78\x1acluster.max_shards_per_node\x19\x04\xd2" + pieces + b"\x05"
    answer = await settings.put("/_cluster/settings", content=change, headers={"content-type": kind})

    assert answer.status_code == 406
    assert answer.json()["error"] == f"Content-Type header [{kind}] is not supported"
    assert (await direct.get("/_cluster/settings")).json() == NOTHING


async def test_shown_in_yaml(settings: httpx.AsyncClient) -> None:
    """Settings and plugins of both sides are shown in YAML, too."""
    await settings.put("/_cluster/settings", json={"persistent": {OURS: 7, THEIRS: 1234}})
    shown = await settings.get("/_cluster/settings?flat_settings=true", headers={"accept": "application/yaml"})
    plugins = await settings.get("/_nodes/plugins?format=yaml&filter_path=nodes.*.plugins.name")

    assert shown.text == (
        '---\npersistent:\n  cluster.max_shards_per_node: "1234"\n'
        '  plugins.ml_commons.max_model_on_node: "7"\ntransient: {}\n'
    )
    assert plugins.headers["content-type"] == "application/yaml"
    assert plugins.text.endswith('    plugins:\n    - name: "opensearch-ml"\n')


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "node opensearch-ml 3.6.0.0\n"),
        ("?v", "name component     version\nnode opensearch-ml 3.6.0.0\n"),
        ("?h=c,n&v=true", "c             n\nopensearch-ml node\n"),
        ("?h=comp*&s=name:desc", "opensearch-ml\n"),
        ("?format=json", '[{"name":"node","component":"opensearch-ml","version":"3.6.0.0"}]'),
        ("?format=yaml&h=name,c", '---\n- name: "node"\n  c: "opensearch-ml"\n'),
        ("?h=nonsense", ""),
    ],
)
async def test_cat_plugins(client: httpx.AsyncClient, query: str, text: str) -> None:
    """The plugin is in the cluster's list, in every form."""
    answer = await client.get(f"/_cat/plugins{query}")

    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["x-opensearch-version"] == "OpenSearch/3.6.0 (opensearch)"


async def test_cat_help(client: httpx.AsyncClient, direct: httpx.AsyncClient) -> None:
    """The list's help is the cluster's; a sort key that is not there, and a form of bytes, are refused."""
    assert (await client.get("/_cat/plugins?help")).text == (await direct.get("/_cat/plugins?help")).text
    answers = [await one.get("/_cat/plugins?s=nonsense") for one in (client, direct)]
    assert [one.status_code for one in answers] == [400, 500]
    assert answers[0].json()["error"]["reason"] == answers[1].json()["error"]["reason"]
    assert (await client.get("/_cat/plugins?format=cbor")).status_code == 400


@pytest.mark.parametrize("path", ["/_nodes/plugins", "/_nodes/_local/plugins", "/_nodes/node/plugins"])
async def test_node_plugins(client: httpx.AsyncClient, direct: httpx.AsyncClient, path: str) -> None:
    """The plugin is among each node's; all else is as the cluster says."""
    through, plain = (await client.get(path)).json(), (await direct.get(path)).json()
    (node,) = through["nodes"].values()

    assert [(one["name"], one["version"]) for one in node["plugins"]] == [("opensearch-ml", "3.6.0.0")]
    node["plugins"] = []
    assert through == plain


@pytest.mark.parametrize("silent_at", [b"GET", b"PUT"])
async def test_silent_cluster(app: App, fake: Fake, silent_at: bytes) -> None:
    """While a cluster does not answer a change, what others stored still comes into force: the looks go on."""
    asked = asyncio.Event()

    async def script(wire: Wire) -> None:
        while not (await wire.head()).startswith(silent_at):
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        asked.set()
        await wire.rest()

    fake.script = script
    gateway, settings = Gateway(Pool((fake.url,), None)), app.services.cluster_settings
    change = asyncio.create_task(put_settings(replace(app.services, gateway=gateway), putting({OURS: 7, THEIRS: 1600})))
    async with asyncio.timeout(PATIENCE):
        await asked.wait()
        await app.services.store.put(INDEX, DOCUMENT, {"persistent": {OURS: 8}})
        await settings.load()
    change.cancel()
    await asyncio.wait((change,))
    gateway.close()

    assert (change.cancelled(), settings.current()["persistent"]) == (True, {OURS: "8"})


class Full:
    """A store that nothing can be written to; ``meanwhile`` happens while it is tried."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._meanwhile = meanwhile

    async def get(self, *_document: object) -> Document | None:
        """Find nothing."""

    async def put(self, *_document: object, **_conditions: object) -> Written:
        """Refuse."""
        await self._meanwhile()
        raise Unavailable("the disk is full")


RECOVERIES = "cluster.routing.allocation.node_concurrent_recoveries"


@pytest.fixture
async def gateway(opensearch: Node) -> AsyncIterator[Gateway]:
    """The way to a real OpenSearch."""
    gateway = Gateway(Pool((opensearch.url,), None))
    yield gateway
    gateway.close()


@pytest.fixture
async def first(direct: httpx.AsyncClient) -> AsyncIterator[Mapping[str, Any]]:
    """What the cluster has before a change."""
    first = {"persistent": {THEIRS: "1500"}, "transient": {}}
    assert (await direct.put("/_cluster/settings", json=first)).status_code == 200
    yield first
    await direct.put("/_cluster/settings", json={"persistent": {"*": None}})


def putting(change: Mapping[str, Any]) -> Request:
    """Return the request of a change."""
    return Request("PUT", "/_cluster/settings", "/_cluster/settings", {}, {}, {}, orjson.dumps({"persistent": change}))


async def test_undone(app: App, gateway: Gateway, first: Mapping[str, Any], direct: httpx.AsyncClient) -> None:
    """When the service's part cannot be stored, the cluster's part is taken back: set keys and new ones."""
    settings = ClusterSettings(cast("Store", Full(partial(asyncio.sleep, 0))), app.services.settings)
    services = replace(app.services, gateway=gateway, cluster_settings=settings)

    with pytest.raises(Unavailable, match="the disk is full"):
        await put_settings(services, putting({OURS: 7, THEIRS: 1600, RECOVERIES: 3}))

    assert (await direct.get("/_cluster/settings?flat_settings=true")).json() == first


async def test_undone_in_turn(app: App, gateway: Gateway, first: Mapping[str, Any], direct: httpx.AsyncClient) -> None:
    """Of two changes that race and both fail, the second does not bring back what the first had taken back."""
    storing, failing = asyncio.Event(), asyncio.Event()

    async def meanwhile() -> None:
        storing.set()
        await failing.wait()

    settings = ClusterSettings(cast("Store", Full(meanwhile)), app.services.settings)
    services = replace(app.services, gateway=gateway, cluster_settings=settings)
    changes = [asyncio.create_task(put_settings(services, putting({OURS: 7, THEIRS: 1600})))]
    await storing.wait()
    changes.append(asyncio.create_task(put_settings(services, putting({OURS: 8, THEIRS: 1700}))))
    async with asyncio.timeout(PATIENCE):
        while not settings._changing._waiters:
            await asyncio.sleep(0.01)
    failing.set()
    outcomes = await asyncio.gather(*changes, return_exceptions=True)

    assert [str(one) for one in outcomes] == ["the disk is full"] * 2
    assert (await direct.get("/_cluster/settings?flat_settings=true")).json() == first


async def test_changed_meanwhile(
    app: App, gateway: Gateway, first: Mapping[str, Any], direct: httpx.AsyncClient
) -> None:
    """What another client changed before a change was taken back stays as that client wants it."""
    of_another = {"persistent": {THEIRS: "1700"}}
    meanwhile = partial(direct.put, "/_cluster/settings", json=of_another)
    settings = ClusterSettings(cast("Store", Full(meanwhile)), app.services.settings)
    services = replace(app.services, gateway=gateway, cluster_settings=settings)

    with pytest.raises(Unavailable, match="the disk is full"):
        await put_settings(services, putting({OURS: 7, THEIRS: 1600, RECOVERIES: 3}))

    assert (await direct.get("/_cluster/settings?flat_settings=true")).json() == {**first, **of_another}

"""What becomes of a write or a read when the cluster is down, busy, wrong, or its answer is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest

from mlcommons_py.errors import (
    CircuitBreaking,
    Forbidden,
    IllegalArgument,
    MLCommonsError,
    Unavailable,
    VersionConflict,
)
from mlcommons_py.store import Delete, Put
from mlcommons_py.store.cluster import Cluster
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from mlcommons_py.store.patience import awaited
from scripts.opensearch import Node, free_port
from tests.opensearch import empty
from tests.store.contract import INDEX
from tests.store.faulty import Drop, Faults, Lose, Say, error, proxied


def writes(method: str, path: str) -> bool:
    """Return whether a request writes a document."""
    return method in ("PUT", "POST", "DELETE") and ("/_doc/" in path or "/_update/" in path or path == "/_bulk")


@pytest.fixture
async def faults(opensearch: Node) -> AsyncIterator[Faults]:
    """A proxy before an empty OpenSearch; its faults hit writes of documents."""
    await asyncio.to_thread(empty, opensearch)
    async with proxied(opensearch.url) as one:
        one.when = writes
        yield one


@pytest.fixture
async def store(faults: Faults) -> AsyncIterator[OpenSearchStore]:
    """A store behind the proxy, that gives up after a second and a half."""
    one = OpenSearchStore.open(Link((faults.url,)), patience=1.5)
    yield one
    await one.close()


async def source(store: OpenSearchStore, doc_id: str) -> dict[str, Any] | None:
    """Return what is stored under an id."""
    document = await store.get(INDEX, doc_id)
    return None if document is None else document.source


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", [Lose(), Drop(), Say(503, ""), Say(502, "bad gateway", "text/html")])
async def test_create_is_tried_again(store: OpenSearchStore, faults: Faults, fault: Any, times: int) -> None:
    """A creation whose answer is lost was one, whether it had arrived or not, and tells the state it made."""
    faults.acts = [fault] * times
    written = await store.put(INDEX, "a", {"x": 1}, create=True)
    document = await store.get(INDEX, "a")
    assert document is not None
    assert (written.result, written.version, written.seq_no) == ("created", 1, document.seq_no)
    assert document.source == {"x": 1}


@pytest.mark.parametrize("other", [{"x": 2}, {"x": True}])
async def test_create_of_what_another_made(store: OpenSearchStore, faults: Faults, other: dict[str, Any]) -> None:
    """A creation that finds another's document is a conflict, also when an answer was lost on the way."""
    await store.put(INDEX, "a", {"interface": other})
    faults.acts = [Drop()]
    with pytest.raises(VersionConflict):
        await store.put(INDEX, "a", {"interface": {"x": 1}}, create=True)
    assert await source(store, "a") == {"interface": other}


async def test_new_id_is_not_used_twice(store: OpenSearchStore, faults: Faults) -> None:
    """A document without an id whose answer is lost is there once."""
    faults.acts = [Lose()]
    written = await store.put(INDEX, None, {"x": 1})
    hits = (await store.search(INDEX, {}))["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == [written.id]


@pytest.mark.parametrize("fault", [Lose(), Drop()])
async def test_write_under_condition(store: OpenSearchStore, faults: Faults, fault: Any) -> None:
    """A write under a condition whose answer is lost takes place once, and tells the state it made."""
    first = await store.put(INDEX, "a", {"n": 0})
    faults.acts = [fault]
    written = await store.put(INDEX, "a", {"n": 1}, if_seq_no=first.seq_no, if_primary_term=first.primary_term)
    document = await store.get(INDEX, "a")
    assert document is not None
    assert (document.source, document.version) == ({"n": 1}, 2)
    assert (written.result, written.version, written.seq_no) == ("updated", 2, document.seq_no)


@pytest.mark.parametrize("verb", ["put", "update", "delete"])
async def test_condition_that_fails(store: OpenSearchStore, faults: Faults, verb: str) -> None:
    """A write under a condition that another came before is a conflict, also when an answer was lost on the way."""
    old = await store.put(INDEX, "a", {"n": 0})
    await store.put(INDEX, "a", {"n": 5})
    state = {"if_seq_no": old.seq_no, "if_primary_term": old.primary_term}
    faults.acts = [Drop()]
    changes = [] if verb == "delete" else [{"n": 1}]
    with pytest.raises(VersionConflict):
        await getattr(store, verb)(INDEX, "a", *changes, **state)
    assert await source(store, "a") == {"n": 5}


async def test_update_is_tried_again(store: OpenSearchStore, faults: Faults) -> None:
    """An update whose answer is lost took place once."""
    await store.put(INDEX, "a", {"x": 1, "y": 1})
    faults.acts = [Lose()]
    written = await store.update(INDEX, "a", {"x": 2})
    assert written is not None
    assert (written.result, written.version) == ("noop", 2)
    assert await source(store, "a") == {"x": 2, "y": 1}


async def test_delete_is_tried_again(store: OpenSearchStore, faults: Faults) -> None:
    """A deletion whose answer is lost was one; one that did not arrive and finds nothing was none."""
    await store.put(INDEX, "a", {})
    faults.acts = [Lose()]
    assert (await store.delete(INDEX, "a")).result == "deleted"
    faults.acts = [Drop()]
    assert (await store.delete(INDEX, "never")).result == "not_found"
    state = await store.put(INDEX, "b", {})
    faults.acts = [Lose()]
    written = await store.delete(INDEX, "b", if_seq_no=state.seq_no, if_primary_term=state.primary_term)
    assert written.result == "deleted"


async def test_bulk_is_tried_again(store: OpenSearchStore, faults: Faults) -> None:
    """A bulk whose answer is lost tells of each write what it did."""
    await store.put(INDEX, "old", {"x": 1})
    await store.put(INDEX, "gone", {})
    faults.acts = [Lose()]
    operations: list[Put | Delete] = [
        Put(INDEX, "new", {"x": 1}, create=True),
        Put(INDEX, "old", {"x": 2}, create=True),
        Put(INDEX, "any", {"x": 3}),
        Delete(INDEX, "gone"),
    ]
    results = await store.bulk(operations)
    kinds = [one.type if isinstance(one, MLCommonsError) else one.result for one in results]
    assert kinds == ["created", "version_conflict_engine_exception", "updated", "deleted"]


async def test_bulk_sends_again_what_had_no_room(store: OpenSearchStore, faults: Faults) -> None:
    """Of a bulk only those writes are sent again that the cluster had no room for."""
    await store.put(INDEX, "z", {})
    done = {"_index": INDEX, "_id": "a", "_version": 1, "result": "created", "_seq_no": 7, "_primary_term": 1}
    full = {"type": "rejected_execution_exception", "reason": "full"}
    items = [{"index": {**done, "status": 201}}, {"index": {"_index": INDEX, "_id": "b", "status": 429, "error": full}}]
    faults.acts = [Say(200, {"took": 1, "errors": True, "items": items})]
    results = await store.bulk([Put(INDEX, "a", {"x": 1}), Put(INDEX, "b", {"x": 2})])
    assert [getattr(one, "result", one) for one in results] == ["created", "created"]
    assert (await source(store, "a"), await source(store, "b")) == (None, {"x": 2})


async def test_busy_for_a_while(store: OpenSearchStore, faults: Faults) -> None:
    """A cluster that refuses for a moment is asked again."""
    busy = error("rejected_execution_exception", "queue capacity 1000", 429)
    faults.acts = [busy, busy, busy]
    assert (await store.put(INDEX, "a", {"x": 1})).result == "created"
    assert sum(writes(one.method, one.path.split("?")[0]) for one in faults.heard) == 4


@pytest.mark.parametrize("kind", ["rejected_execution_exception", "circuit_breaking_exception"])
async def test_busy_for_ever(store: OpenSearchStore, faults: Faults, kind: str) -> None:
    """A cluster that stays busy is a 429 with the cluster's reason, and a time to come again; it counts as away."""
    faults.always = error(kind, "too many", 429)
    with pytest.raises(Unavailable, match=r"^the cluster has too much to do: too many$") as caught:
        await store.put(INDEX, "a", {})
    assert (caught.value.type, caught.value.status, caught.value.headers) == (kind, 429, {"Retry-After": "1"})


async def test_nobody_there() -> None:
    """Where nobody listens every call is a 503 that says where, after some tries."""
    url = f"http://127.0.0.1:{free_port()}"
    store = OpenSearchStore.open(Link((url,)), patience=0.3)
    for call in (store.get(INDEX, "a"), store.put(INDEX, "a", {}), store.search(INDEX, {}), store.content(INDEX, "a")):
        with pytest.raises(Unavailable, match=f"^the cluster at {url} cannot be reached: ") as caught:
            await call
        assert caught.value.status == 503
    await store.close()


async def tries(store: OpenSearchStore, faults: Faults) -> int:
    """Return how often a search is tried that nobody answers."""
    before = len(faults.heard)
    with pytest.raises(Unavailable, match="broke off"):
        await store.search(INDEX, {})
    return len(faults.heard) - before


@pytest.fixture
async def away(faults: Faults) -> AsyncIterator[OpenSearchStore]:
    """A store with its usual patience, behind a proxy that answers nothing."""
    store = OpenSearchStore.open(Link((faults.url,)))
    await store.put(INDEX, "a", {"x": 1})
    faults.when, faults.always = lambda method, path: True, Drop()  # noqa: ARG005
    yield store
    await store.close()


async def test_who_is_awaited_bridges_a_moment(away: OpenSearchStore, faults: Faults) -> None:
    """What a client waits for is tried a few times when answers begin to stay out, and then once until one comes."""
    with awaited():
        assert await tries(away, faults) > 1
        assert [await tries(away, faults) for _ in range(3)] == [1] * 3
        faults.always = None
        assert await source(away, "a") == {"x": 1}
        faults.acts = [Drop()] * 3
        assert (await away.search(INDEX, {}))["hits"]["total"]["value"] == 1
        assert not faults.acts


async def test_who_is_not_awaited_is_patient(away: OpenSearchStore, faults: Faults) -> None:
    """What runs by itself, be it begun by what a client waits for, is tried on while nobody answers."""
    with awaited():
        await tries(away, faults)
        before = len(faults.heard)
        patient = asyncio.create_task(source(away, "a"))
        async with asyncio.timeout(5):
            while len(faults.heard) < before + 5:
                await asyncio.sleep(0.01)
    faults.always = None

    assert await patient == {"x": 1}


async def test_each_address_is_tried(opensearch: Node) -> None:
    """What a client waits for is tried at every address, however long none has answered."""
    await asyncio.to_thread(empty, opensearch)
    nowhere = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    async with proxied(opensearch.url) as faults:
        store = OpenSearchStore.open(Link((*nowhere, faults.url)))
        faults.always = Drop()
        with awaited():
            with pytest.raises(Unavailable):
                await store.get(INDEX, "a")
            faults.always = None
            for _ in range(4):
                assert await store.get(INDEX, "a") is None
                store._cluster._lost_since = 0.0
        await store.close()


async def test_cluster_that_hangs() -> None:
    """Once a cluster has not answered in time, what a client waits for gets no more time than a moment there."""
    begun = ended = 0

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal begun, ended
        begun += 1
        while await reader.read(1 << 16):
            pass
        writer.close()
        await writer.wait_closed()
        ended += 1

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        cluster = Cluster(Link((f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",)))
        for within in (2.0, 8.0):
            with awaited(), pytest.raises(Unavailable, match="did not answer within 2 s"):
                await cluster.ask("POST", "/", within=within)
        await cluster.close()
        async with asyncio.timeout(10):
            while ended < begun:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def answering_all_but_one(may_break: asyncio.Event, heard: list[str]) -> AsyncIterator[Link]:
    """A cluster that answers everything but ``/broken``, whose connections it breaks off once it may."""
    talking: list[asyncio.Task[None]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.append(cast("asyncio.Task[None]", asyncio.current_task()))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while b"/broken" not in (head := await reader.readuntil(b"\r\n\r\n")):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            heard.append(head.decode())
            await may_break.wait()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield Link((f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",))
        await asyncio.wait(talking, timeout=10)


async def test_request_that_alone_breaks_off() -> None:
    """What a client waits for is not tried for ever where everything is answered but that."""
    may_break, is_over = asyncio.Event(), asyncio.Event()
    may_break.set()
    async with answering_all_but_one(may_break, []) as link:
        cluster = Cluster(link, patience=0.5)

        async def ask_on() -> None:
            while not is_over.is_set():
                await cluster.ask("GET", "/")

        others = asyncio.create_task(ask_on())
        with awaited(), pytest.raises(Unavailable, match="broke off"):
            async with asyncio.timeout(10):
                await cluster.ask("POST", "/broken")
        is_over.set()
        await others
        await cluster.close()


async def test_long_request_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client waits for is tried again, however long it took, if others were answered a moment before."""
    monkeypatch.setattr("mlcommons_py.store.cluster.BRIDGED", 0.5)
    may_break, heard = asyncio.Event(), list[str]()
    async with answering_all_but_one(may_break, heard) as link:
        cluster = Cluster(link)

        async def ask() -> None:
            with awaited():
                await cluster.ask("POST", "/broken")

        asking = asyncio.create_task(ask())
        until = asyncio.get_running_loop().time() + 0.6
        while asyncio.get_running_loop().time() < until:
            await cluster.ask("GET", "/")
        may_break.set()
        with pytest.raises(Unavailable, match="broke off"):
            await asking
        await cluster.close()
    assert len(heard) > 1


async def test_one_of_two_is_there(opensearch: Node) -> None:
    """Of several addresses one that answers is enough."""
    await asyncio.to_thread(empty, opensearch)
    store = OpenSearchStore.open(Link((f"http://127.0.0.1:{free_port()}", opensearch.url)))
    for number in range(6):
        await store.put(INDEX, f"{number}", {"n": number})
    assert (await store.search(INDEX, {"size": 0}))["hits"]["total"]["value"] == 6
    await store.close()


async def test_credentials_refused(store: OpenSearchStore, faults: Faults) -> None:
    """Credentials that the cluster does not accept, or that may too little, are a 503 that names the setting."""
    faults.when = lambda method, path: True  # noqa: ARG005
    faults.always = Say(401, "Unauthorized", "text/plain")
    with pytest.raises(Unavailable, match="store_user"):
        await store.get(INDEX, "a")
    faults.always = error("security_exception", "no permissions for [indices:data/read/get]", 403)
    with pytest.raises(Unavailable, match=r"indices:data/read/get.*role"):
        await store.get(INDEX, "a")


@pytest.mark.parametrize("status", [200, 404])
async def test_not_a_cluster(store: OpenSearchStore, faults: Faults, status: int) -> None:
    """An answer that is none of OpenSearch's is an error, not a missing document."""
    faults.when = lambda method, path: True  # noqa: ARG005
    faults.always = Say(status, "<html>welcome</html>", "text/html")
    for call in (store.get(INDEX, "a"), store.content(INDEX, "a"), store.search(INDEX, {}), store.delete(INDEX, "a")):
        with pytest.raises(Unavailable):
            await call


@pytest.mark.parametrize(
    ("block", "raised", "cure"),
    [
        ("read_only_allow_delete", CircuitBreaking, '{"index.blocks.read_only_allow_delete": null}'),
        ("write", Forbidden, '"index.blocks.write": null'),
        ("read_only", Forbidden, '{"index.blocks.read_only": null'),
    ],
)
async def test_blocked(in_cluster: OpenSearchStore, block: str, raised: type[MLCommonsError], cure: str) -> None:
    """A block, as a full disk sets it, is told at once with the index and the cure; when it is lifted all goes on."""
    await in_cluster.put(INDEX, "a", {"x": 1})
    await set_block(in_cluster, block, True)
    try:
        for call in (in_cluster.put(INDEX, "a", {"x": 2}), in_cluster.update(INDEX, "a", {"x": 2})):
            with pytest.raises(raised) as caught:
                await call
            assert f"[{INDEX}]" in caught.value.reason
            assert cure in caught.value.reason
        (result,) = await in_cluster.bulk([Put(INDEX, "a", {"x": 2})])
        assert isinstance(result, raised)
        assert await source(in_cluster, "a") == {"x": 1}
    finally:
        await set_block(in_cluster, block, None)
    assert (await in_cluster.put(INDEX, "a", {"x": 2})).result == "updated"


async def test_closed(in_cluster: OpenSearchStore) -> None:
    """An index that somebody closed counts as away, and the text says how it is opened; then all goes on."""
    await in_cluster.put(INDEX, "a", {"x": 1})
    assert (await in_cluster._cluster.ask("POST", f"/{INDEX}/_close")).refused is None
    try:
        for call in (in_cluster.get(INDEX, "a"), in_cluster.put(INDEX, "a", {"x": 2}), in_cluster.search(INDEX, {})):
            with pytest.raises(Unavailable, match=rf"^the index \[{INDEX}\] is closed; open it: POST /{INDEX}/_open$"):
                await call
    finally:
        assert (await in_cluster._cluster.ask("POST", f"/{INDEX}/_open")).refused is None
    assert await source(in_cluster, "a") == {"x": 1}


async def set_block(store: OpenSearchStore, block: str, value: bool | None) -> None:
    """Set or lift a block of the index."""
    body = f'{{"index.blocks.{block}": {"null" if value is None else "true"}}}'.encode()
    answer = await store._cluster.ask("PUT", f"/{INDEX}/_settings", body)
    assert answer.refused is None


async def test_content_is_sent_again(store: OpenSearchStore, faults: Faults) -> None:
    """A chunk that was refused, or whose answer was lost, is sent again to the last byte, in the same state."""
    content = bytes(range(256)) * 10_000
    faults.acts = [error("rejected_execution_exception", "queue capacity 1000", 429), Drop(), Lose()]
    written = await store.put(INDEX, "a", {"n": 1}, content=content)
    sent = [one for one in faults.heard if writes(one.method, one.path)]
    assert len(sent) == 4
    assert {one.body for one in sent} == {sent[0].body}
    assert {one.headers["Content-Length"] for one in sent} == {str(len(sent[0].body))}
    assert await store.content(INDEX, "a") == content
    assert written.version == 2


async def test_get_reads_no_content(store: OpenSearchStore, faults: Faults) -> None:
    """To read a document its content does not travel."""
    await store.put(INDEX, "a", {"x": 1}, content=b"x" * 3_000_000)
    assert await source(store, "a") == {"x": 1}
    await store.search(INDEX, {})
    assert all(one.answered < 10_000 for one in faults.heard)


async def test_answer_without_end(store: OpenSearchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is too long for memory is refused in words that say what to do."""
    await store.put(INDEX, "a", {"x": "y" * 100_000})
    monkeypatch.setattr("mlcommons_py.store.cluster.MAX_ANSWER", 50_000)
    with pytest.raises(IllegalArgument, match=r"longer than 50000 bytes.*\[size\]"):
        await store.search(INDEX, {})

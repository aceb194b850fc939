"""Registering, from chunks and from URLs."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py.errors import Conflict, IllegalArgument, LimitExceeded, ResourceNotFound
from mlcommons_py.models.documents import GROUPS, MODELS
from mlcommons_py.models.registration import Registration
from tests.lifecycle.conftest import House, description
from tests.store.hooked import Call


class Site(BaseHTTPRequestHandler):
    """Serves what ``content`` maps paths to; ``/moved`` redirects, ``/short`` ends too early."""

    content: dict[str, bytes]
    asked: threading.Event
    go: threading.Event

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/model.zip")
            self.end_headers()
            return
        if self.path == "/slow.zip":
            self.asked.set()
            self.go.wait(60)
            self.path = "/model.zip"
        body = self.content.get(self.path.replace("short", "model"))
        self.send_response(200 if body is not None else 404)
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write((body or b"")[: 1000 if "short" in self.path else None])

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def site(tiny: bytes) -> Iterator[str]:
    """The address of a server on loopback that has the small archive."""
    Site.content = {"/model.zip": tiny, "/empty.zip": b""}
    Site.asked, Site.go = threading.Event(), threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def register(house: House, body: dict[str, Any], *, deploy: bool = False) -> dict[str, Any]:
    """Register from a URL and return the task at its end."""
    answer = await house.app.services.registrar.register(body, deploy=deploy)
    assert answer["status"] == "CREATED"
    return await house.end(answer["task_id"])


async def test_from_url(house: House, tiny: bytes, site: str) -> None:
    """A model is fetched, stored in chunks, proven and registered; the task names it."""
    task = await register(house, {**description(tiny), "url": f"{site}/model.zip"})

    assert task["state"] == "COMPLETED", task
    model = await house.app.services.models.get(task["model_id"])
    assert (model["model_state"], model["total_chunks"]) == ("REGISTERED", 1)
    assert await house.found(MODELS) == 2


async def test_from_url_and_deploy(house: House, tiny: bytes, site: str) -> None:
    """With deploy=true a deploy follows the registration."""
    task = await register(house, {**description(tiny), "url": f"{site}/model.zip"}, deploy=True)

    deployment = await house.app.services.deployments.wait_for(task["model_id"], 30)

    assert deployment is not None


@pytest.mark.parametrize(
    ("path", "changes", "reason"),
    [
        ("/model.zip", {"model_content_hash_value": "0" * 64}, "model content changed"),
        ("/model.zip", {"model_content_hash_value": None}, "Model content Hash code need to be provided"),
        ("/other.zip", {}, "status 404"),
        ("/moved", {}, "status 302"),
        ("/short.zip", {}, "cannot fetch"),
        ("/empty.zip", {}, "holds nothing"),
        ("/model.zip", {"model_group_id": "nobody"}, "Model group not found"),
    ],
)
async def test_from_url_refused(
    house: House, tiny: bytes, site: str, path: str, changes: dict[str, Any], reason: str
) -> None:
    """What cannot be fetched, or is not what was announced, fails the task and leaves nothing behind."""
    body = {**description(tiny), "url": site + path, **changes}

    task = await register(house, {key: value for key, value in body.items() if value is not None})

    assert task["state"] == "FAILED"
    assert reason in task["error"]
    assert (await house.found(MODELS), await house.found(GROUPS)) == (0, 0)
    data = house.app.services.operator.data
    assert not await asyncio.to_thread(lambda: list(data.glob("download-*")))


async def test_unfit_model_from_url_is_undone(house: House, tiny: bytes, site: str) -> None:
    """A model that the proof refuses leaves no model, no chunk, no group and no version."""
    config = {**description(tiny)["model_config"], "embedding_dimension": 7}
    group_id = await house.app.services.groups.register({"name": "kept"})

    alone = await register(house, {**description(tiny), "url": f"{site}/model.zip", "model_config": config})
    grouped = await register(
        house,
        {**description(tiny), "url": f"{site}/model.zip", "model_config": config, "model_group_id": group_id},
    )

    assert "7" in alone["error"]
    assert "32" in grouped["error"]
    assert (await house.found(MODELS), await house.found(GROUPS)) == (0, 1)
    assert (await house.app.services.groups.get(group_id))["latest_version"] == 0


async def test_group_that_was_made_meanwhile_is_kept(house: House, tiny: bytes, site: str) -> None:
    """A registration from a URL that fails does not take along a group that a client made while it ran."""
    services = house.app.services
    config = {**description(tiny)["model_config"], "embedding_dimension": 7}
    body = {**description(tiny), "model_config": config, "url": f"{site}/slow.zip"}
    task_id = (await services.registrar.register(body, deploy=False))["task_id"]
    await asyncio.to_thread(Site.asked.wait, 60)
    group_id = await services.groups.register({"name": "tiny"})

    Site.go.set()

    assert (await house.end(task_id))["state"] == "FAILED"
    assert (await services.groups.get(group_id))["latest_version"] == 0


async def test_deploy_that_follows_waits_for_its_turn(build: Callable[..., Any], tiny: bytes, site: str) -> None:
    """With deploy=true a model that cannot be deployed yet, for the limit of deployments, is when there is room."""
    house: House = await build(max_deploy_model_tasks_per_node=0)
    services = house.app.services
    body = {**description(tiny), "url": f"{site}/model.zip"}
    task_id = (await services.registrar.register(body, deploy=True))["task_id"]

    async def registered() -> bool:
        hits = (await services.models.search({"query": {"term": {"model_state": "REGISTERED"}}}))["hits"]["hits"]
        return bool(hits)

    await house.until(registered)
    assert (await services.tasks.get(task_id))["state"] == "RUNNING"
    services.settings.transient["plugins.ml_commons.max_deploy_model_tasks_per_node"] = 1

    task = await house.end(task_id)
    assert task["state"] == "COMPLETED"
    assert await services.deployments.wait_for(task["model_id"], 30) is not None


async def test_deploy_that_is_refused_is_told(house: House, tiny: bytes, site: str) -> None:
    """With deploy=true a model that may not be deployed is registered, and its document says why it is not."""
    services = house.app.services
    body = {**description(tiny), "url": f"{site}/slow.zip"}
    task_id = (await services.registrar.register(body, deploy=True))["task_id"]
    await asyncio.to_thread(Site.asked.wait, 60)
    services.settings.transient["plugins.ml_commons.local_model.enabled"] = False
    Site.go.set()

    task = await house.end(task_id)

    assert task["state"] == "COMPLETED"
    reason = (await services.models.get(task["model_id"]))["state_reason"]
    assert reason.startswith("registered, but not deployed: Local Model is currently disabled.")


async def test_nothing_is_uploaded_to_a_model_that_is_fetched(house: House, tiny: bytes, site: str) -> None:
    """Chunks for a model whose content comes from a URL are refused."""
    services = house.app.services
    registration = Registration.of_meta(description(tiny))
    model_id = await services.models.create(registration, task_id="some task")

    with pytest.raises(Conflict, match="fetched from its url"):
        await services.registrar.upload_chunk(model_id, 0, tiny)
    with pytest.raises(IllegalArgument, match="task some task fetches its content"):
        await services.deployer.deploy(model_id, {})


async def test_shutdown_undoes_no_model(build: Callable[..., Any], tiny: bytes, site: str) -> None:
    """A shutdown right after a model from a URL became one leaves it; the next start ends its task."""
    first: House = await build()

    def registers(call: Call) -> bool:
        return call.name == "put" and call.source.get("model_state") == "REGISTERED"

    body = {**description(tiny), "url": f"{site}/model.zip"}
    async with first.store.stopped(registers, after=True) as stop:
        task_id = (await first.app.services.registrar.register(body, deploy=False))["task_id"]
        await stop.reached.wait()
        await first.app.registrations.close()
    await first.close()

    second: House = await build()
    await second.app.reconciler.restore()

    task = await second.end(task_id)
    assert task["state"] == "COMPLETED", task
    assert await second.state(task["model_id"]) == "REGISTERED"


async def test_end_of_a_task_outlives_trouble_of_the_store(house: House, tiny: bytes) -> None:
    """A task whose end cannot be stored at the moment ends when the store is well again."""

    def ends(call: Call) -> bool:
        return call.name == "put" and call.source.get("state") == "COMPLETED"

    async with house.store.stopped(ends) as stop:
        await house.upload(tiny)
        await stop.reached.wait()
        house.store.cut()
    await asyncio.sleep(0.1)
    house.store.mend()

    (hit,) = (await house.app.services.tasks.search({}))["hits"]["hits"]
    assert (await house.end(hit["_id"]))["state"] == "COMPLETED"


async def test_start_leaves_a_running_download_alone(house: House, tiny: bytes, site: str) -> None:
    """Downloads of this run are not taken for those of the last one."""
    task_id = (
        await house.app.services.registrar.register({**description(tiny), "url": f"{site}/slow.zip"}, deploy=False)
    )["task_id"]
    await asyncio.to_thread(Site.asked.wait, 60)

    await house.app.reconciler.restore()
    Site.go.set()

    assert (await house.end(task_id))["state"] == "COMPLETED"


async def test_private_address_is_refused(build: Callable[..., Any], tiny: bytes, site: str) -> None:
    """A host with a private address is refused where the setting does not allow it, whatever it is called."""
    house: House = await build(connector__private_ip_enabled=False)

    for url in (site, site.replace("127.0.0.1", "localhost"), site.replace("127.0.0.1", "2130706433")):
        task = await register(house, {**description(tiny), "url": f"{url}/model.zip"})
        assert task["state"] == "FAILED"
        assert "private ip address" in task["error"] or "cannot resolve" in task["error"], task


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/model.zip", "scheme"),
        ("http://[", "is no URL"),
        ("http://example.org:port/x", "is no URL"),
        ("gopher://example.org/x", "trusted url regex"),
        ("file://elsewhere/model.zip", "another host"),
        ("file:///etc/passwd", "outside the directory"),
        ("file://{root}/../secret.zip", "outside the directory"),
        ("file://{root}/%2e%2e/secret.zip", "outside the directory"),
        ("file://{root}/link.zip", "outside the directory"),
        ("file://{root}/missing.zip", "is no file"),
        ("file://{root}/%00", "is no file"),
        ("file://{root}/" + "long" * 2000, "is no file"),
    ],
)
async def test_url_refused_at_once(house: House, tiny: bytes, url: str, reason: str, tmp_path: Path) -> None:
    """A URL that may not be fetched is refused before anything is."""
    root = tmp_path / "models"
    root.mkdir()
    (tmp_path / "secret.zip").write_bytes(tiny)
    (root / "link.zip").symlink_to(tmp_path / "secret.zip")

    if reason == "is no URL":
        house.app.services.settings.transient["plugins.ml_commons.trusted_url_regex"] = ".*"

    with pytest.raises(IllegalArgument, match=reason):
        await register(house, {**description(tiny), "url": url.format(root=root)})


async def test_local_file(house: House, tiny: bytes, tmp_path: Path) -> None:
    """A file in the directory that the operator opened can be registered."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a model.zip").write_bytes(tiny)

    task = await register(house, {**description(tiny), "url": f"file://{tmp_path}/models/a%20model.zip"})

    assert task["state"] == "COMPLETED", task


async def test_urls_are_off_by_default(build: Callable[..., Any], tiny: bytes) -> None:
    """Without the setting no URL is taken."""
    house: House = await build(allow_registering_model_via_url=False)

    with pytest.raises(IllegalArgument, match="allow_registering_model_via_url"):
        await register(house, {**description(tiny), "url": "https://example.org/model.zip"})


async def test_too_many_at_once(build: Callable[..., Any], tiny: bytes, site: str) -> None:
    """More registrations than the setting allows are refused with 429."""
    house: House = await build(max_register_model_tasks_per_node=1)
    body = {**description(tiny), "url": f"{site}/model.zip"}
    first = await house.app.services.registrar.register(body, deploy=False)

    with pytest.raises(LimitExceeded):
        await house.app.services.registrar.register(body, deploy=False)

    assert (await house.end(first["task_id"]))["state"] == "COMPLETED"


async def test_races_in_one_group_all_succeed(house: House, tiny: bytes) -> None:
    """Registrations of one name at the same time get one group and the versions 1 to n."""
    registrar, models = house.app.services.registrar, house.app.services.models

    metas = await asyncio.gather(*(registrar.register_meta(description(tiny)) for _ in range(20)))

    documents = [await models.get(meta["model_id"]) for meta in metas]
    assert sorted(int(one["model_version"]) for one in documents) == list(range(1, 21))
    assert len({one["model_group_id"] for one in documents}) == 1


async def test_chosen_ids(house: House, tiny: bytes) -> None:
    """A model gets the id that the client chose; a second of the same id is refused and leaves no group."""
    registrar = house.app.services.registrar
    assert (await registrar.register_meta({**description(tiny), "model_id": "mine"}))["model_id"] == "mine"

    with pytest.raises(Conflict, match="model id 'mine' already exists"):
        await registrar.register_meta({**description(tiny), "name": "another", "model_id": "mine"})

    assert await house.found(GROUPS) == 1


async def test_conversion_begins_with_the_first_chunk(house: House, tiny: bytes) -> None:
    """While chunks are still coming a process unpacks them, and no chunk is read back from the store in the end."""
    registrar, staging = house.app.services.registrar, house.app.services.operator.data / "converted" / "staging"
    body = {**description(tiny), "total_chunks": 3}
    model_id = (await registrar.register_meta(body))["model_id"]
    chunks = [tiny[:50_000], tiny[50_000:100_000], tiny[100_000:]]

    async def begun() -> bool:
        return bool(await asyncio.to_thread(lambda: list(staging.glob("*/model"))))

    async with house.store.stopped(lambda call: call.name == "content") as stop:
        await registrar.upload_chunk(model_id, 1, chunks[1])
        assert not await begun()
        await registrar.upload_chunk(model_id, 0, chunks[0])
        await house.until(begun)
        await registrar.upload_chunk(model_id, 2, chunks[2])
        assert (await house.deploy(model_id))["state"] == "COMPLETED"
        assert not stop.reached.is_set()
    assert not await asyncio.to_thread(lambda: list(staging.iterdir()))


async def test_a_model_is_deleted_while_it_is_uploaded(house: House, tiny: bytes) -> None:
    """With the model goes what was begun of its conversion."""
    registrar, data = house.app.services.registrar, house.app.services.operator.data
    model_id = (await registrar.register_meta({**description(tiny), "total_chunks": 2}))["model_id"]
    await registrar.upload_chunk(model_id, 0, tiny[:50_000])

    async def begun() -> bool:
        return bool(await asyncio.to_thread(lambda: list((data / "converted" / "staging").iterdir())))

    await house.until(begun)
    await registrar.delete(model_id)

    assert not await begun()
    assert not await asyncio.to_thread(lambda: list((data / "uploads").iterdir()))


async def test_a_model_from_a_url_is_proven_while_it_is_stored(house: House, tiny: bytes, site: str) -> None:
    """The conversion does not wait for the chunks to be stored."""
    models = house.app.services.operator.data / "converted" / "models"

    async def converted() -> bool:
        return bool(await asyncio.to_thread(lambda: list(models.iterdir())))

    def stores(call: Call) -> bool:
        return call.name == "put" and "chunk_number" in call.source

    async with house.store.stopped(stores) as stop:
        body = {**description(tiny), "url": f"{site}/model.zip"}
        task_id = (await house.app.services.registrar.register(body, deploy=False))["task_id"]
        await stop.reached.wait()
        await house.until(converted)

    assert (await house.end(task_id))["state"] == "COMPLETED"


async def test_same_chunk_again_other_content_not(house: House, tiny: bytes) -> None:
    """A registered model takes its own chunk again, and refuses another."""
    model_id = await house.upload(tiny)
    registrar = house.app.services.registrar

    assert await registrar.upload_chunk(model_id, 0, tiny) == {"status": "Uploaded"}
    with pytest.raises(Conflict, match="cannot change"):
        await registrar.upload_chunk(model_id, 0, b"x")


async def test_deleted_while_chunks_arrive(house: House, tiny: bytes) -> None:
    """Chunks that race with the model's deletion leave nothing behind."""
    registrar = house.app.services.registrar
    for _ in range(10):
        meta = await registrar.register_meta({**description(tiny), "total_chunks": 6, "model_content_hash_value": "x"})
        model_id = meta["model_id"]
        await asyncio.gather(
            *(registrar.upload_chunk(model_id, number, tiny) for number in range(5)),
            registrar.delete(model_id),
            return_exceptions=True,
        )
        assert await house.found(MODELS) == 0
        with pytest.raises(ResourceNotFound):
            await registrar.upload_chunk(model_id, 0, tiny)


async def test_config_is_read_from_the_file(house: House, minilm_zip: Path) -> None:
    """A SAFETENSORS archive needs no model_config: what it is stands in the document once it is proven."""
    archive = minilm_zip.read_bytes()
    size = len(archive)
    registrar = house.app.services.registrar
    meta = {key: value for key, value in description(archive).items() if key != "model_config"}
    body = {**meta, "model_format": "SAFETENSORS", "total_chunks": -(-size // 10_000_000)}
    model_id = (await registrar.register_meta(body))["model_id"]
    for number in range(body["total_chunks"]):
        await registrar.upload_chunk(model_id, number, archive[number * 10_000_000 : (number + 1) * 10_000_000])

    async with asyncio.timeout(60):
        while "model_config" not in (model := await house.app.services.models.get(model_id)):
            await asyncio.sleep(0.02)

    assert model["model_config"] == {
        "model_type": "bert",
        "embedding_dimension": 384,
        "framework_type": "SENTENCE_TRANSFORMERS",
    }

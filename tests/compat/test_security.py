"""A cluster with the security plugin: the service's user there, and the users who call the service."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compat.peer import traced
from tests.compat.secured import SecuredNode, token
from tests.e2e.api import PATIENCE
from tests.e2e.service import Service, until

pytestmark = pytest.mark.compat

PASSWORD = "a-Long-and-1-Winding-road"
ROLE = re.search(
    r"```json\n(\{.*?\n\})\n```", (Path(__file__).parents[2] / "docs" / "security.md").read_text(), re.DOTALL
)
BOOKS = {
    "cluster_permissions": ["cluster_composite_ops"],
    "index_permissions": [{"index_patterns": ["books"], "allowed_actions": ["crud", "create_index"]}],
}
STOP_WORDS = {"index_patterns": ["stop_words"], "allowed_actions": ["read"]}
Serve = Callable[..., Service]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredNode]:
    """A node that knows the service's user, with the role of the documentation, ann, who has books, and bob."""
    assert ROLE is not None
    with tempfile.TemporaryDirectory(prefix="opensearch-") as directory:
        one = SecuredNode(Path(directory), tmp_path_factory.mktemp("certificates"))
        try:
            one.start()
            one.administer("roles/mlcommons_service", json.loads(ROLE[1]))
            one.administer("roles/books", BOOKS)
            one.administer("rolesmapping/mlcommons_service", {"users": ["ml-service"]})
            one.administer("rolesmapping/books", {"users": ["ann"]})
            one.administer("rolesmapping/all_access", {"users": ["root"]})
            for user in ("ml-service", "ann", "bob", "root"):
                one.administer(f"internalusers/{user}", {"password": PASSWORD})
            yield one
        finally:
            one.stop()


@pytest.fixture(scope="module")
def serve(node: SecuredNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts a service on the cluster, as somebody there."""
    started: list[Service] = []
    directory = tmp_path_factory.mktemp("services")
    config = directory / "config.toml"
    config.write_text("heartbeat_seconds = 0.4\n")

    def start(*flags: str, password: str | None = PASSWORD, wait_ready: bool = True) -> Service:
        who: tuple[str, ...] = ()
        if password is not None:
            file = directory / f"password-{len(started)}"
            file.write_text(password)
            who = ("--store-user", "ml-service", "--store-password-file", str(file))
        where = ("--store", node.url, "--store-ca", str(node.authority), "--config", str(config))
        service = Service(directory / f"data-{len(started)}", flags=(*where, *who, *flags))
        started.append(service)
        # Whoever calls is asked who they are, but for health.
        return service.start(wait_ready=wait_ready)

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def service(serve: Serve) -> Service:
    """A service with a user and a password, which ann calls; the cluster has seen every user's password once."""
    one = serve()
    for user in ("bob", "root", "ann"):
        one.http.auth = (user, PASSWORD)
        told(partial(one.http.get, "/_plugins/_ml/stats"))
    return one


@pytest.fixture(scope="module")
def model_id(service: Service) -> str:
    """The id of a model that ann deployed."""
    archive = traced("bert-mean-normalized")
    return service.deployed(archive.content, **archive.fields)


def told(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Return an answer of who the cluster knows or does not know; to hash a password takes a busy machine its time."""
    return until(lambda: None if (answer := ask()).status_code == 503 else answer, "who calls")


def of(service: Service, user: str, password: str = PASSWORD) -> httpx.Client:
    """Return a client of a service, as somebody."""
    return httpx.Client(base_url=service.http.base_url, auth=(user, password), timeout=PATIENCE)


def test_whole_way(service: Service, model_id: str) -> None:
    """With the documented role a model is registered, deployed, called, found, changed, undeployed and deleted."""
    other = service.deployed(traced("bert-mean-normalized").content, **traced("bert-mean-normalized").fields)
    assert len(service.embed(other, ["rain"])[0]) == 32
    assert service.embed(model_id, ["rain"]) == service.embed(other, ["rain"])
    service.ml("PUT", f"/models/{other}", json={"description": "changed"})
    found = service.ml("POST", "/models/_search", json={"query": {"term": {"description": "changed"}}})
    assert [hit["_id"] for hit in found["hits"]["hits"]] == [other]
    assert not any("does not tell" in line for line in service.output)
    service.ml("POST", f"/models/{other}/_undeploy")
    assert service.ml("DELETE", f"/models/{other}")["result"] == "deleted"
    connector = {
        "name": "x",
        "version": 1,
        "protocol": "http",
        "credential": {"key": "s3cret"},
        "actions": [{"action_type": "predict", "method": "POST", "url": "https://api.openai.com/v1/x"}],
    }
    made = service.ml("POST", "/connectors/_create", json=connector)["connector_id"]
    assert service.ml("GET", f"/connectors/{made}")["name"] == "x"


def test_strangers(service: Service, node: SecuredNode, model_id: str) -> None:
    """A call without credentials, or with wrong ones, gets the cluster's own 401, on ML routes and on others."""
    for user, password in (("", ""), ("ann", "wrong"), ("nobody", PASSWORD)):
        with node.client(user, password) as direct:
            said = direct.get("/_plugins/_security/authinfo")
        who = (user, password) if user else None
        for path in (f"/_plugins/_ml/models/{model_id}", "/_plugins/_ml/stats", "/_cluster/settings", "/books/_search"):
            ask = partial(httpx.get, f"{service.http.base_url}{path}", auth=who, timeout=PATIENCE)
            answer = told(ask)
            assert (answer.status_code, answer.text) == (401, said.text), path
            assert answer.headers["www-authenticate"] == said.headers["www-authenticate"]


def test_rights(service: Service, node: SecuredNode) -> None:
    """What passes through the gateway the cluster allows or forbids by who calls, not by who the service is."""
    with of(service, "ann") as ann, of(service, "bob") as bob, node.client("bob", PASSWORD) as direct:
        assert ann.put("/books/_doc/1", params={"refresh": "true"}, json={"title": "rain"}).status_code == 201
        assert ann.get("/books/_search").json()["hits"]["total"]["value"] == 1
        for method, path in (("GET", "/books/_search"), ("PUT", "/books/_doc/2"), ("DELETE", "/books")):
            body = {"title": "x"} if method == "PUT" else None
            through = bob.request(method, path, json=body)
            assert (through.status_code, through.json()["error"]["type"]) == (403, "security_exception")
            assert through.json() == direct.request(method, path, json=body).json()


def test_settings(service: Service) -> None:
    """Who may not change the cluster's settings may not change the service's either."""
    change = {"persistent": {"plugins.ml_commons.max_model_on_node": 9}}
    statuses = []
    for user in ("bob", "root"):
        with of(service, user) as one:
            statuses.append(one.put("/_cluster/settings", json=change).status_code)
    assert statuses == [403, 200]


def test_own_indices_are_nobody_s(service: Service, model_id: str) -> None:
    """Not even who may do everything reads or writes the service's indices through the gateway."""
    with of(service, "root") as root:
        found = root.get("/.plugins-ml-connector,.plugins-ml-config,.plugins-ml-model/_search")
        assert found.status_code == 403 or found.json()["hits"]["total"]["value"] == 0, found.text
        assert root.get(f"/.plugins-ml-model/_doc/{model_id}").json().get("found") is not True
        assert root.put("/.plugins-ml-config/_doc/master_key", json={"master_key": "mine"}).status_code == 403


def test_limits_of_users(service: Service, model_id: str) -> None:
    """A controller's limits go by the names that the cluster has for its users."""
    limits = {"user_rate_limiter": {"ann": {"limit": 2, "unit": "DAYS"}}}
    service.ml("POST", f"/controllers/{model_id}", json=limits)
    predict = f"/_plugins/_ml/models/{model_id}/_predict"
    with of(service, "ann") as ann, of(service, "bob") as bob:
        until(lambda: ann.post(predict, json={"text_docs": ["x"]}).status_code == 429, "the limit")
        assert [bob.post(predict, json={"text_docs": ["x"]}).status_code for _ in range(3)] == [200] * 3
    service.ml("DELETE", f"/controllers/{model_id}")


def test_client_certificate(serve: Serve, node: SecuredNode, model_id: str) -> None:
    """A service that shows a certificate in place of a password works on the same data."""
    one = serve("--store-client-cert", str(node.certificate("ml-service")), password=None)
    one.http.auth = ("ann", PASSWORD)
    told(partial(one.http.get, "/_plugins/_ml/stats"))

    assert one.ml("GET", f"/models/{model_id}")["model_state"] in ("DEPLOYED", "PARTIALLY_DEPLOYED")
    assert len(one.embed(model_id, ["rain"])[0]) == 32


def test_tokens(serve: Serve, node: SecuredNode, model_id: str, tmp_path: Path) -> None:
    """A service that shows a token works on the same data, and takes from clients the tokens that the cluster takes."""
    (tmp_path / "token").write_text(f"{token('ml-service')}\n")
    one = serve("--store-token-file", str(tmp_path / "token"), password=None)
    one.http.headers["authorization"] = f"Bearer {token('ann')}"
    assert len(one.embed(model_id, ["rain"])[0]) == 32
    one.ml("PUT", f"/models/{model_id}", json={"description": "changed with a token"})
    assert one.http.put("/books/_doc/3?refresh=true", json={"title": "rain"}).status_code == 201
    assert one.http.get("/books/_doc/3").json()["_source"] == {"title": "rain"}

    one.http.headers["authorization"] = f"Bearer {token('bob')}"
    assert one.ml("GET", f"/models/{model_id}")["description"] == "changed with a token"
    assert one.http.get("/books/_doc/3").json()["error"]["type"] == "security_exception"
    for bad in (token("ann", -3600), f"{token('ann')}x", "x"):
        credentials = {"authorization": f"Bearer {bad}"}
        with node.client() as direct:
            said = direct.get("/books/_doc/3", headers=credentials)
        for path in (f"/_plugins/_ml/models/{model_id}", "/books/_doc/3"):
            answer = one.http.get(path, headers=credentials)
            assert (answer.status_code, answer.text) == (401, said.text)
    assert "eyJ" not in "".join(one.output)  # so they all begin


def test_stop_words(service: Service, node: SecuredNode) -> None:
    """A guardrail searches stop words as the service: it refuses everything until the service's role can read them."""
    archive = traced("bert-mean-normalized")
    guarded = service.deployed(archive.content, **archive.fields)
    with of(service, "root") as root:
        mapping = {"properties": {"query": {"type": "percolator"}, "title": {"type": "text"}}}
        assert root.put("/stop_words", json={"mappings": mapping}).status_code == 200
        word = {"query": {"match_phrase": {"title": "project x"}}}
        assert root.put("/stop_words/_doc/1?refresh=true", json=word).status_code == 201
    words = [{"index_name": "stop_words", "source_fields": ["title"]}]
    guardrails = {"type": "local_regex", "input_guardrail": {"stop_words": words}}
    service.ml("PUT", f"/models/{guarded}", json={"guardrails": guardrails})

    def statuses() -> list[int]:
        texts = ("all about Project X", "rain")
        predict = f"/_plugins/_ml/models/{guarded}/_predict"
        return [service.http.post(predict, json={"text_docs": [text]}).status_code for text in texts]

    until(lambda: statuses() == [400, 400], "the guardrail")
    assert any("no permissions for [indices:data/read/search]" in line for line in service.output)
    node.administer("roles/stop_words", {"index_permissions": [STOP_WORDS]})
    node.administer("rolesmapping/stop_words", {"users": ["ml-service"]})
    until(lambda: statuses() == [400, 200], "the permission")


@pytest.mark.parametrize(
    ("flags", "password", "said"),
    [
        ((), "not-the-Passw0rd", "does not accept the service's credentials (401); check store_user and its password"),
        (("--store-client-cert", "bob"), None, "the cluster forbids it to the service's user"),
    ],
)
def test_not_let_in(serve: Serve, node: SecuredNode, flags: tuple[str, ...], password: str | None, said: str) -> None:
    """A service with a wrong password, or a user without the role, says so in its log and by /_health/ready."""
    given = [str(node.certificate(one)) if one == "bob" else one for one in flags]
    one = serve(*given, password=password, wait_ready=False)

    answer: Any = until(lambda: said in (text := one.http.get("/_health/ready").text) and text, "the reason")

    assert "waiting_for" in answer
    until(lambda: any(said in line for line in one.output), "a line in the log")
    assert one.process is not None
    assert one.process.poll() is None

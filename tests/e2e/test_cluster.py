"""The program and a cluster that is not there, or not any more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.opensearch import Node, placed
from tests.e2e.service import Service, running
from tests.e2e.test_whole_path import TINY


@pytest.fixture
def node() -> Iterator[Node]:
    """A node that a test starts and stops."""
    with placed() as one:
        yield one


@pytest.mark.opensearch
def test_cluster_restarts(tmp_path: Path, node: Node, tiny: bytes) -> None:
    """While the cluster is gone models answer on; when it is back, so is all that was stored."""
    node.start()
    with running(tmp_path, flags=("--store", node.url)) as service:
        change = {"persistent": {"plugins.ml_commons.max_model_on_node": 7}}
        assert service.http.put("/_cluster/settings", json=change).status_code == 200
        model_id = service.deployed(tiny, **TINY)
        before = service.embed(model_id, ["a cat"])

        node.kill()
        assert service.embed(model_id, ["a cat"]) == before
        assert service.ml("GET", "/models/x", 503)["error"]["type"] == "status_exception"

        node.start()
        assert service.ml("GET", f"/models/{model_id}")["model_state"] == "DEPLOYED"
        assert service.embed(model_id, ["a cat"]) == before

        service.kill()
        service.start()
        assert service.embed(model_id, ["a cat"]) == before
        settings = service.http.get("/_cluster/settings", params={"flat_settings": "true"}).json()
        assert settings["persistent"] == {"plugins.ml_commons.max_model_on_node": "7"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--store", "https://a.example:9200", "--store-user", "ml"), "[store_user] needs a password"),
        (("--store", "https://a.example:9200", "--store-ca", "nowhere.pem"), "[store_ca] nowhere.pem cannot be used"),
        (("--store", "https://user:secret@a.example:9200"), "[store] takes no user in an address"),
    ],
)
def test_wrong_settings(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    """What cannot be used ends the program at its start, with the setting's name."""
    service = Service(tmp_path, flags=flags)
    try:
        with pytest.raises(AssertionError) as caught:
            service.start()
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)
    finally:
        service.close()

"""Which template a path leads to."""

import pytest

from mlcommons_py.rest.paths import OwnPaths, Paths

PATHS = Paths(
    {
        "/": "root",
        "/models/_search": "search",
        "/models/{model_id}": "model",
        "/models/{model_id}/{version}/_register": "legacy",
        "/models/{model_id}/chunk/{number}": "chunk",
        "/{node_id}/stats": "stats of a node",
        "/stats": "stats",
    }
)


@pytest.mark.parametrize(
    ("path", "target", "params"),
    [
        ("/", "root", {}),
        ("", "root", {}),
        ("//", "root", {}),
        ("/models/_search", "search", {}),
        ("/models/%5fsearch", "search", {}),
        ("/models/x", "model", {"model_id": "x"}),
        ("/models/x//", "model", {"model_id": "x"}),
        ("/models/a%2Fb", "model", {"model_id": "a/b"}),
        ("/models/a%20b+c", "model", {"model_id": "a b+c"}),
        ("/models/%ff", "model", {"model_id": "\ufffd"}),
        ("/models/%zz", "model", {"model_id": "%zz"}),
        ("/models/%0A", "model", {"model_id": "\n"}),
        ("/models/stats", "model", {"model_id": "stats"}),
        ("/models/x/chunk/0", "chunk", {"model_id": "x", "number": "0"}),
        ("/models/x/chunk/_register", "chunk", {"model_id": "x", "number": "_register"}),
        ("/models/x/1/_register", "legacy", {"model_id": "x", "version": "1"}),
        ("/stats", "stats", {}),
        ("/n1/stats", "stats of a node", {"node_id": "n1"}),
        ("/stats/stats", "stats of a node", {"node_id": "stats"}),
    ],
)
def test_found(path: str, target: str, params: dict[str, str]) -> None:
    """What a template spells out goes before a variable, and a path is decoded only after it was cut."""
    assert PATHS.find(path) == (target, params)


@pytest.mark.parametrize("path", ["/models", "/models//chunk/0", "//stats", "/models/x/chunk", "/n1/stats/x", "/Stats"])
def test_not_found(path: str) -> None:
    """A path that is too short, too long, or has nothing where a variable stands leads nowhere."""
    assert PATHS.find(path) is None


@pytest.mark.parametrize(
    ("method", "path", "lacking"),
    [
        ("GET", "/_cat/plugins", False),
        ("HEAD", "/_cat/plugins/", False),
        ("POST", "/_cat/plugins", True),
        ("GET", "/_cat/nodes", True),
        ("GET", "/_plugins/_mla", True),
        ("POST", "/_plugins/_ml/stats", False),
        ("GET", "/_plugins/_ml/unknown", False),
        ("GET", "//_plugins/%5fml/unknown", False),
    ],
)
def test_what_is_the_clusters(method: str, path: str, lacking: bool) -> None:
    """What no route takes is the cluster's, but for all that is below the plugin's own path."""
    own = OwnPaths({"/_cat/plugins": ("plugins", {"GET"}), "/_plugins/_ml/stats": ("stats", {"GET"})})

    assert own.lack(path, method) is lacking

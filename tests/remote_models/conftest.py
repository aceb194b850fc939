"""The whole service over each kind of store, with a provider that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlcommons_py.app import open_store
from mlcommons_py.plugin_settings import PREFIX
from mlcommons_py.rest.routes import table
from mlcommons_py.rest.web import web_app
from mlcommons_py.settings import EMBEDDED, Operator
from mlcommons_py.wiring import App, wire
from tests.remote.fake import Fake
from tests.store.hooked import HookedStore

OPEN = {
    "connector.private_ip_enabled": True,
    "trusted_connector_endpoints_regex": ["^http://127\\.0\\.0\\.1:.*$"],
    "stream_enabled": True,
}
CHAT = '{ "model": "${parameters.model}", "messages": ${parameters.messages} }'


class Client:
    """Calls the service in process, and makes connectors and models that call the fake provider.

    Attributes:
        indices: calls whoever has indices of stop words: the service, or the cluster.
    """

    def __init__(self, app: App, fake: Fake) -> None:
        self.app = app
        self.fake = fake
        transport = httpx.ASGITransport(web_app(app.services, table(cluster=app.services.gateway is not None)))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60)
        store = app.services.operator.store
        self.indices = self.http if store == EMBEDDED else httpx.AsyncClient(base_url=store, timeout=60)

    async def close(self) -> None:
        """Let go of connections."""
        await self.http.aclose()
        await self.indices.aclose()

    async def ml(self, method: str, path: str, status: int = 200, **arguments: Any) -> Any:
        """Send a request below ``/_plugins/_ml`` and return its JSON answer, which must come with that status."""
        answer = await self.http.request(method, f"/_plugins/_ml{path}", **arguments)
        assert answer.status_code == status, (answer.status_code, answer.text[:2000])
        return answer.json()

    async def set(self, **values: Any) -> None:
        """Change settings of the plugin; dots are written as two underscores."""
        changed = {PREFIX + name.replace("__", "."): value for name, value in values.items()}
        answer = await self.http.put("/_cluster/settings", json={"persistent": changed})
        assert answer.status_code == 200, answer.text

    def connector(self, path: str = "/chat", **fields: Any) -> dict[str, Any]:
        """Return the body of a connector to a path of the fake; fields of its only action go to it."""
        action = {
            "action_type": "predict",
            "method": "POST",
            "url": self.fake.url + path,
            "headers": {"Authorization": "Bearer ${credential.key}"},
            "request_body": CHAT,
        }
        action.update({name: fields.pop(name) for name in tuple(fields) if name in (*action, *_FUNCTIONS)})
        return {
            "name": "a connector",
            "description": "to the fake",
            "version": 1,
            "protocol": "http",
            "parameters": {"model": "gpt"},
            "credential": {"key": "s3cret"},
            "actions": [{name: value for name, value in action.items() if value is not None}],
            **fields,
        }

    async def connect(self, path: str = "/chat", **fields: Any) -> str:
        """Create a connector, and return its id."""
        answer = await self.ml("POST", "/connectors/_create", json=self.connector(path, **fields))
        return str(answer["connector_id"])

    async def register(self, connector_id: str | None = None, *, deploy: bool = False, **fields: Any) -> str:
        """Register a remote model, and return its id."""
        body = {"name": "a remote model", "function_name": "remote", "connector_id": connector_id, **fields}
        body = {name: value for name, value in body.items() if value is not None}
        path = "/models/_register?deploy=true" if deploy else "/models/_register"
        return str((await self.ml("POST", path, json=body))["model_id"])

    async def deployed(self, path: str = "/chat", model: Mapping[str, Any] | None = None, **fields: Any) -> str:
        """Create a connector and a model that uses it, deploy it, and return the model's id."""
        return await self.register(await self.connect(path, **fields), deploy=True, **(model or {}))

    async def predict(self, model_id: str, parameters: Mapping[str, Any], status: int = 200) -> Any:
        """Call a model."""
        return await self.ml("POST", f"/models/{model_id}/_predict", status, json={"parameters": parameters})

    async def task(self, task_id: str) -> Any:
        """Wait for the end of a task, and return it."""
        async with asyncio.timeout(30):
            while (task := await self.ml("GET", f"/tasks/{task_id}"))["state"] in ("CREATED", "RUNNING"):
                await asyncio.sleep(0.01)
        return task


_FUNCTIONS = ("pre_process_function", "post_process_function")


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """A provider that follows a test's script."""
    async with Fake() as provider:
        yield provider


@asynccontextmanager
async def started(at: str, data: Path, fake: Fake) -> AsyncIterator[Client]:
    """Run a service on a store and a data directory."""
    plugin = {PREFIX + name: one for name, one in OPEN.items()}
    operator = Operator(data=data, store=at, heartbeat_seconds=0.1, plugin=plugin)
    app = await wire(operator, HookedStore(await open_store(operator)), data, alone=at == EMBEDDED)
    reconciling = asyncio.create_task(app.reconciler.run())
    client = Client(app, fake)
    try:
        yield client
    finally:
        await client.close()
        reconciling.cancel()
        await asyncio.wait([reconciling])
        await app.close()


@pytest.fixture
async def client(at: str, tmp_path: Path, fake: Fake) -> AsyncIterator[Client]:
    """A client of a service on an empty store."""
    async with started(at, tmp_path, fake) as made:
        yield made

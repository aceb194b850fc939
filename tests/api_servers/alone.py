"""The parts of an API server in this process, before a core that says of the only model what a test wants."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from mlcommons_py.api_servers.beginning import Beginning
from mlcommons_py.api_servers.channel import Channel
from mlcommons_py.api_servers.handing import handing
from mlcommons_py.api_servers.parts import Parts
from mlcommons_py.errors import ResourceNotFound
from mlcommons_py.plugin_settings import PREFIX
from mlcommons_py.settings import Operator
from tests.remote.fake import Fake
from tests.remote_models.conftest import OPEN

MODEL = "m"
PREDICT, STREAM = f"/_plugins/_ml/models/{MODEL}/_predict", f"/_plugins/_ml/models/{MODEL}/_predict/stream"


class Alone:
    """An API server.

    Attributes:
        card: what the core says of the model; None where only the core may call it.
        exists: whether there is the model.
        asked: how often the core was asked.
        says: set while the core answers.
    """

    def __init__(self, fake: Fake) -> None:
        self.fake = fake
        self.card: dict[str, Any] | None = self.told()
        self.exists = True
        self.asked = 0
        self.says = asyncio.Event()
        self.says.set()
        self.parts: Parts
        self.http: httpx.AsyncClient

    def told(self, key: str = "s3cret") -> dict[str, Any]:
        """Return a card of the model, with a credential."""
        action = {
            "action_type": "predict",
            "method": "POST",
            "url": f"{self.fake.url}/chat",
            "headers": {"Authorization": "Bearer ${credential.key}"},
            "request_body": '{"q": "${parameters.q}"}',
        }
        return {
            "model": {"name": "a model", "algorithm": "REMOTE", "model_state": "DEPLOYED"},
            "connector": {"name": "a connector", "version": "1", "protocol": "http", "actions": [action]},
            "credential": {"key": key},
        }

    async def answer(self, model_id: Any) -> Any:
        """Answer as the core does, by what it found before it had to wait."""
        assert model_id == MODEL
        self.asked += 1
        card, exists = self.card, self.exists
        await self.says.wait()
        if not exists:
            raise ResourceNotFound("Failed to find model with the provided model id: m")
        return {"card": card, "persistent": {}, "transient": {}}


@asynccontextmanager
async def alone(fake: Fake, directory: Path) -> AsyncIterator[Alone]:
    """Make the parts, and let go of them afterwards."""
    made = Alone(fake)
    operator = Operator(data=directory, plugin={PREFIX + name: one for name, one in OPEN.items()})
    predict, stream = (path.replace(f"/{MODEL}/", "/{model_id}/") for path in (PREDICT, STREAM))
    beginning = Beginning(
        operator,
        {predict: ["POST"], stream: ["POST"]},
        {predict: "predict", stream: "stream"},
        {predict: [], stream: []},
        directory,
    )
    ours, theirs = socket.socketpair()
    core = await Channel.open(ours, {"model": made.answer})
    channel = await Channel.open(theirs, {})
    made.parts = Parts.of(beginning, channel, handing(str(directory / "none")))
    made.http = httpx.AsyncClient(transport=httpx.ASGITransport(made.parts.front), base_url="http://test")
    try:
        yield made
    finally:
        made.says.set()
        await asyncio.gather(made.http.aclose(), made.parts.close(), channel.close(), core.close())

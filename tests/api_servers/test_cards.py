"""Cards of models, while requests and changes of the models come together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mlcommons_py.errors import MLCommonsError
from tests.api_servers.alone import MODEL, PREDICT, STREAM, Alone, alone
from tests.remote.fake import PATIENCE, Answer, Fake

PARAMETERS = {"parameters": {"q": "hello"}}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Alone]:
    """An API server before a core that a test plays."""
    async with Fake() as fake, alone(fake, tmp_path) as made:
        fake.on("/chat", Answer(200, {"ok": True}))
        yield made


async def _slow(between: Callable[[], None]) -> AsyncIterator[bytes]:
    """Yield the body of a request in two parts, and do something between them."""
    yield b'{"parameters":'
    between()
    yield b'{"q":"hello"}}'


def _change(server: Alone, key: str | None) -> Callable[[], None]:
    def change() -> None:
        server.card = None if key is None else server.told(key)
        server.parts.cards.changed(MODEL)

    return change


@pytest.mark.parametrize("path", [PREDICT, STREAM])
async def test_a_model_that_is_taken_back_while_a_body_comes(server: Alone, path: str) -> None:
    """A request whose body ends after the model may not be called here any more calls nobody."""
    headers = {"content-type": "application/json"}
    answer = await server.http.post(path, content=_slow(_change(server, None)), headers=headers)

    assert answer.status_code == 503
    assert "send it again" in answer.text
    assert not server.fake.requests


async def test_a_credential_that_is_changed_while_a_body_comes(server: Alone) -> None:
    """A request is sent with the credential that the model has when its body has ended."""
    headers = {"content-type": "application/json"}
    answer = await server.http.post(PREDICT, content=_slow(_change(server, "n3w")), headers=headers)

    assert answer.status_code == 200
    assert [one.header("Authorization") for one in server.fake.requests] == ["Bearer n3w"]


async def test_a_model_that_is_removed_while_it_is_asked_for(server: Alone) -> None:
    """What the core said of a model before it told of the removal is not given out, and is kept nowhere."""
    server.says.clear()
    asking = asyncio.ensure_future(server.parts.cards.get(MODEL))
    async with asyncio.timeout(PATIENCE):
        while not server.asked:
            await asyncio.sleep(0)
    server.card = None
    server.parts.cards.removed(MODEL)
    server.says.set()

    assert await asking is None
    assert server.asked == 2
    assert server.parts.outside.remotes.ids() == []


@pytest.mark.parametrize("exists", [True, False])
async def test_credentials_go_with_the_card(server: Alone, exists: bool) -> None:
    """Nothing of a credential is kept of a model that is gone, or that only the core may call now."""
    assert await server.parts.cards.get(MODEL) is not None
    server.card, server.exists = None, exists
    server.parts.cards.changed(MODEL)

    if exists:
        assert await server.parts.cards.get(MODEL) is None
    else:
        with pytest.raises(MLCommonsError):
            await server.parts.cards.get(MODEL)
    assert not server.parts.cards._cards


async def test_numbers_of_a_removed_model(server: Alone) -> None:
    """A call that ends after its model was removed leaves no series of metrics behind."""
    free = asyncio.Event()
    server.fake.on("/chat", Answer(200, parts=[b'{"ok":', b"true}"], after=free))
    calling = asyncio.ensure_future(server.http.post(PREDICT, json=PARAMETERS))
    async with asyncio.timeout(PATIENCE):
        while not server.fake.requests:
            await asyncio.sleep(0)
    server.parts.cards.removed(MODEL)
    free.set()

    assert (await calling).status_code == 200
    assert not [one for one in server.parts.outside.metrics.series() if ("model", MODEL) in one[2]]

"""Where a model is fetched from."""

import asyncio

import httpcore
import pytest

from mlcommons_py.lifecycle.outgoing import CheckedBackend


async def test_a_name_that_nobody_answers_for() -> None:
    """A look-up counts to the time that a connection may take, and is given up with it."""

    async def hang(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(httpcore.ConnectTimeout, match=r"no name server answered for lost\.example in time"):
        await CheckedBackend(private=True, lookup=hang).connect_tcp("lost.example", 80, timeout=0.05)

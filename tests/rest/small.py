"""Small handlers, and a table of them, for tests of what every route has in common."""

import numpy as np

from mlcommons_py.errors import IllegalArgument, InferenceFailed, LimitExceeded, StatusError, VersionConflict
from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.door import Route
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

JSON = {"content-type": "application/json"}


async def echo(services: Services, request: Request) -> object:
    """Answer what came."""
    return {"params": dict(request.params), "query": dict(request.query), "body": await request.json_or_none()}


async def size(services: Services, request: Request) -> object:
    """Answer how long the body is."""
    return {"bytes": len(request.body)}


async def fail(services: Services, request: Request) -> object:
    """Fail as the path says."""
    cause = IllegalArgument("bad text")
    faults: dict[str, Exception] = {
        "argument": cause,
        "inference": InferenceFailed("TEXT_EMBEDDING", "m", cause),
        "busy": LimitExceeded("exceed max running task limit", retry_after=7),
        "bug": KeyError("the service's own secret"),
    }
    raise faults[request.params["how"]]


async def conflict(services: Services, request: Request) -> object:
    """Fail for a conflict in the store."""
    raise StatusError("Document version conflict", 409) from VersionConflict("i", "x", "somebody was faster")


async def vectors(services: Services, request: Request) -> object:
    """Answer an array."""
    return Answer({"data": np.array([0.1, 1 / 3, -2.5e-8], np.float32), "more": {"shape": [3]}}, heavy=True)


async def strange(services: Services, request: Request) -> object:
    """Answer what is no JSON."""
    return {"what": object()}


async def long(services: Services, request: Request) -> object:
    """Answer much."""
    return {"texts": ["lorem ipsum"] * 10_000}


SMALL = (
    Route("GET", "/echo", echo, frozenset({"verbose"})),
    Route("POST,PUT", "/echo", echo),
    Route("GET", "/things/_search", echo, frozenset({"source", "source_content_type"})),
    Route("GET", "/things/{thing_id}", echo),
    Route("POST", "/raw", size, body="raw"),
    Route("GET", "/fail/{how}", fail),
    Route("GET", "/conflict", conflict),
    Route("GET", "/vectors", vectors),
    Route("GET", "/strange", strange),
    Route("GET", "/long", long),
)

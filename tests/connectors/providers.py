"""All the providers on one server."""

from tests.connectors import amazon, fakes
from tests.remote.fake import ANY, Answer, Asked, Fake

_ALL = {**fakes.PROVIDERS, **amazon.PROVIDERS}


def answer(asked: Asked) -> Answer:
    """Answer as the provider does that the first part of the path names."""
    name, _, rest = asked.path.lstrip("/").partition("/")
    handler, refusal = _ALL[name]
    try:
        return handler(fakes.Call(asked, f"/{rest}" if rest else ""))
    except fakes.Refused as refused:
        return refusal(refused.status, refused.reason)


def everybody() -> Fake:
    """Return a server with all of them, not started yet."""
    return Fake().on(ANY, answer)

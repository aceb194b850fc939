"""What goes out to a provider and what comes back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mlcommons_py.remote.identity import Identity

Headers = Mapping[str, str]


class FixedHeaders(dict[str, str]):
    """Header fields that are the same for each request of an action.

    Attributes:
        written: as they go out, once somebody has written them.
    """

    written: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to a provider, with nothing left to fill in.

    Attributes:
        method: ``POST``, ``GET``, ``PUT`` or ``DELETE``.
        headers: as they go out, the names as the connector spells them.
        body: the bytes; empty where there is none.
        charset: of the body, and of the answer where that does not name its own.
        identity: who is calling, to a provider that wants to see a certificate; None where nobody is shown one.
        sign: makes the request that is sent of this one, anew for every attempt; None where nothing is signed.
    """

    method: str
    url: str
    headers: Headers = field(repr=False)  # they have credentials
    body: bytes = field(default=b"", repr=False)
    charset: str = "utf-8"
    identity: Identity | None = None
    sign: "Callable[[Outgoing], Outgoing] | None" = None

    def to(self, url: str, headers: Headers) -> "Outgoing":
        """Return it with this URL and these header fields."""
        return Outgoing(self.method, url, headers, self.body, self.charset, self.identity, self.sign)


@dataclass(frozen=True, slots=True)
class Incoming:
    """An answer of a provider, whole.

    Attributes:
        headers: names in lower case.
        body: decompressed.
        attempts: how many requests it took.
    """

    status: int
    headers: Headers
    body: bytes
    attempts: int = 1
    origin: str = field(default="")

    @property
    def request_id(self) -> str | None:
        """The provider's own name for the request, for its support to find it by."""
        for name in ("x-request-id", "x-amzn-requestid", "request-id", "apim-request-id", "x-ms-request-id"):
            if name in self.headers:
                return self.headers[name]
        return None

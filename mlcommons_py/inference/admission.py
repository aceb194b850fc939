"""What a call of a remote model needs beside its input: the model deployed, a connector, a place within its limits."""

from collections.abc import Mapping
from typing import Protocol

from mlcommons_py.models.documents import Model
from mlcommons_py.remote.documents import Connector

Connection = tuple[Connector, Mapping[str, str]]
"""A model's connector, and its credential as the provider wants it."""


class Admission(Protocol):
    """Lets calls of remote models go out."""

    async def connection(self, model_id: str, model: Model) -> Connection:
        """Return what leads to a model's provider.

        Raises:
            NotFound: the connector does not exist.
            CredentialUnreadable: its credential cannot be opened.
        """

    async def deployed(self, model_id: str, model: Model) -> Model:
        """Return a model as it is once it is deployed.

        Raises:
            IllegalArgument: it is not deployed, and is not to be.
        """

    async def limit(self, model_id: str, model: Model, user: str | None) -> None:
        """Count a call, and let it pass.

        Raises:
            Throttled: a rate limit is reached.
        """

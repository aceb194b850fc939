"""A model's own connector, as the body of a registration or of an update has it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.definition import Definition, Trusts, check_connector
from mlcommons_py.remote.documents import ActionType, Connector
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.secrets import Sealed, Secrets


@dataclass(frozen=True, kw_only=True)
class Own:
    """What a body says of the connector that a model brings with it.

    Attributes:
        sealed: the credential that it gives, encrypted; None where it gives none.
    """

    definition: Definition
    trust: Trusts
    functions: Functions
    sealed: Sealed | None = None

    @classmethod
    def read(cls, body: Mapping[str, Any], trust: Trusts, functions: Functions) -> Self:
        """Return what a body says.

        Raises:
            IllegalArgument: a field is wrong, or is none that a model's own connector has.
        """
        definition = Definition.read(body, within="connector")
        for field in ("connector_id", "dry_run"):
            if body.get(field) is not None:
                raise IllegalArgument(f"[connector.{field}] cannot be given: the connector is a part of its model")
        return cls(definition=definition, trust=trust, functions=functions)

    async def seal(self, secrets: Secrets, model_id: str) -> Self:
        """Return it with its credential encrypted, for the model and no other."""
        plain = self.definition.credential
        return replace(self, sealed=await secrets.seal(plain, f"model/{model_id}")) if plain else self

    def onto(self, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what becomes of a model's connector as it is stored, or of none.

        Raises:
            IllegalArgument: it could not be called.
        """
        if stored is not None and self.definition.credential is not None and not self.definition.credential:
            raise IllegalArgument("[connector.credential] is empty; leave it out to keep the one that is stored")
        merged = self.definition.onto(None if stored is None else Connector.from_json(stored))
        if self.definition.credential:
            merged["credential"] = self.definition.credential if self.sealed is None else self.sealed.values
        connector = Connector.from_json(merged)
        check_connector(connector, self.trust, self.functions)
        if connector.action(ActionType.PREDICT) is None:
            raise IllegalArgument("Connector endpoint is required when creating a remote model without connector id!")
        return connector.to_json()

"""What an API server is told when it begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

from mlcommons_py.settings import Operator

Own = Literal["predict", "stream"]
"""What API servers answer by themselves."""

_SECRET = frozenset(
    "store_user store_password store_password_file store_token store_token_file store_client_cert store_client_key"
    " master_key master_key_file".split()
)
"""What an API server does without: it neither reads the store nor decrypts anything."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What an API server goes by as long as it runs.

    Attributes:
        operator: what the operator chose, without secrets.
        routes: the methods of each path template of the service's own.
        own: those of them that an API server answers itself.
        queries: the query parameters that each of these takes.
        directory: where the core's socket is.
    """

    operator: Operator
    routes: Mapping[str, Sequence[str]]
    own: Mapping[str, Own]
    queries: Mapping[str, Sequence[str]]
    directory: Path

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        told = {one.name: getattr(self.operator, one.name) for one in fields(Operator) if one.name not in _SECRET}
        return {
            "operator": {name: str(value) if isinstance(value, Path) else value for name, value in told.items()},
            "routes": {path: sorted(methods) for path, methods in self.routes.items()},
            "own": dict(self.own),
            "queries": {path: sorted(names) for path, names in self.queries.items()},
            "directory": str(self.directory),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Return what a JSON value says."""
        paths = {one.name for one in fields(Operator) if "Path" in str(one.type)}
        given: dict[str, Any] = {
            name: Path(value) if name in paths and value is not None else value
            for name, value in told["operator"].items()
        }
        return cls(Operator(**given), told["routes"], told["own"], told["queries"], Path(told["directory"]))

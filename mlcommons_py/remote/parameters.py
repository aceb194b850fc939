"""The values that templates are filled with, and where each comes from.

Three layers, the later before the earlier:

* **own**: the connector's ``parameters``. They are part of the template: their text is expanded in its turn.
* **made**: what a pre-process function made of texts. Taken as it is.
* **given**: what the request sent. Taken as it is; nothing in it is ever expanded.

Where the request sends texts, what was made of them comes before what else it sent, so that no text can be displaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mlcommons_py import exact


class Origin(StrEnum):
    """Who a value is of."""

    OWN = "own"
    MADE = "made"
    GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one request.

    Attributes:
        own: texts, as the connector is stored.
        made, given: any JSON value.
        made_first: whether what was made comes before what was given.
    """

    own: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    made_first: bool = False

    def find(self, name: str) -> tuple[Origin, Any] | None:
        """Return a parameter and whose it is, or None where there is none of that name."""
        if name in self.made and (self.made_first or name not in self.given):
            return Origin.MADE, self.made[name]
        if name in self.given:
            return Origin.GIVEN, self.given[name]
        return (Origin.OWN, self.own[name]) if name in self.own else None

    def value(self, name: str) -> Any:
        """Return a parameter as it was sent, or None where there is none."""
        found = self.find(name)
        return None if found is None else found[1]

    def text(self, name: str) -> str | None:
        """Return a parameter as a text; what is none is its JSON. None where there is none, or it is blank."""
        value = self.value(name)
        if value is None:
            return None
        text = value if isinstance(value, str) else exact.dumps(value).decode()
        return text if text.strip() else None

    def flag(self, name: str) -> bool:
        """Return whether a parameter is ``true``, in whatever case, as a text or not."""
        return (self.text(name) or "").strip().lower() == "true"

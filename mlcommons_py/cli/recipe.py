"""Blueprints as they are written: one provider's model, with what is to be set, and everything to send.

``docs/blueprints.md`` describes the form.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlcommons_py import content
from mlcommons_py.errors import IllegalArgument

_MARK = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Key:
    """Something to set.

    Attributes:
        secret: whether it must not be seen.
        default: used where it is not set, and may name keys before it as ``{{key}}``; None where it must be set.
    """

    name: str
    description: str
    secret: bool = False
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A blueprint.

    Attributes:
        name: of its file.
        documentation: where the provider describes what is called.
        settings: cluster settings it needs; of a list, entries that must be in it.
        connector, model: bodies of the requests that create them; the model's ``connector_id`` is added.
        predict: ``body`` of a request to try it with, and ``path``, the algorithm to name in its path, if any.
    """

    name: str
    title: str
    description: str
    provider: str
    documentation: str
    keys: tuple[Key, ...]
    settings: Mapping[str, Any]
    connector: Mapping[str, Any]
    model: Mapping[str, Any]
    predict: Mapping[str, Any]

    @classmethod
    def load(cls, name: str) -> "Recipe":
        """Return the blueprint of a name.

        Raises:
            ResourceNotFound: there is none; the text lists those there are.
        """
        document = content.read("blueprints", name)
        keys = tuple(Key(key, **about) for key, about in document["keys"].items())
        return cls(name, **{**document, "keys": keys})

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the value of every key: as given, or its default.

        Raises:
            IllegalArgument: a key is unknown, or one that has no default is not given, or empty; the text lists them.
        """
        if unknown := [name for name in given if name not in {key.name for key in self.keys}]:
            known = ", ".join(key.name for key in self.keys)
            raise IllegalArgument(f"{self.name} has no key {', '.join(unknown)}; its keys are: {known}")
        if missing := self.missing(given):
            lines = "".join(f"\n  {key.name}  {key.description}" for key in missing)
            raise IllegalArgument(f"{self.name} needs:{lines}\nSet each with --set, --set-file or --set-env.")
        if empty := [key.name for key in self.keys if key.default is None and not given[key.name].strip()]:
            raise IllegalArgument(f"{self.name}: {', '.join(empty)} is empty, and must have a value")
        values: dict[str, str] = {}
        for key in self.keys:
            given_value = given.get(key.name)
            values[key.name] = given_value if given_value is not None else _fill(key.default or "", values)
        return values

    def missing(self, given: Mapping[str, str]) -> list[Key]:
        """Return the keys that must be given and are not."""
        return [key for key in self.keys if key.default is None and key.name not in given]

    def filled(self, values: Mapping[str, str]) -> "Recipe":
        """Return it with the values in their places.

        An entry of an object that is an empty value and nothing else is left out. In the settings, a value stands for
        itself in a regular expression.
        """
        quoted = {name: re.escape(value) for name, value in values.items()}
        return replace(
            self,
            settings=_filled(self.settings, quoted),
            connector=_filled(self.connector, values),
            model=_filled(self.model, values),
            predict=_filled(self.predict, values),
        )

    def urls(self) -> list[str]:
        """Return the URLs of its actions, with the connector's parameters in them as far as it has them."""
        parameters = self.connector.get("parameters") or {}
        return [
            re.sub(r"\$\{parameters\.(\w+)\}", lambda found: parameters.get(found[1], "-"), action["url"])
            for action in self.connector["actions"]
        ]


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _MARK.sub(lambda found: values[found[1]], text)


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _fill(value, values)
    if isinstance(value, list):
        return [_filled(one, values) for one in value]
    if isinstance(value, dict):
        return {key: _filled(one, values) for key, one in value.items() if not _is_empty(one, values)}
    return value


def _is_empty(value: Any, values: Mapping[str, str]) -> bool:
    found = _MARK.fullmatch(value) if isinstance(value, str) else None
    return found is not None and not values[found[1]]

"""Finds and loads what is kept in ``connectors/``, ``guardrails/`` and ``blueprints/``.

In an installed package they are directories of ``mlcommons_py/_content``, in a checkout those at its root. Their files
may import this package; it never imports them by name.
"""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import orjson

from mlcommons_py.errors import ResourceNotFound
from mlcommons_py.guard.guardrail import GuardrailType
from mlcommons_py.remote.documents import Connector
from mlcommons_py.remote.provider import Provider

Kind = Literal["connectors", "guardrails", "blueprints"]


def root() -> Path:
    """Return the directory that has the three."""
    here = Path(__file__).parent
    return here / "_content" if (here / "_content").is_dir() else here.parent


def names(kind: Kind) -> list[str]:
    """Return the names of the JSON documents of one kind, sorted."""
    return sorted(file.stem for file in (root() / kind).glob("*.json"))


def read(kind: Kind, name: str) -> dict[str, Any]:
    """Return one JSON document.

    Raises:
        ResourceNotFound: there is none of that name; the text lists those there are.
    """
    if name not in names(kind):
        raise ResourceNotFound(f"there is no [{name}] among the {kind}; there are: {', '.join(names(kind))}")
    document: dict[str, Any] = orjson.loads((root() / kind / f"{name}.json").read_bytes())
    return document


def modules(kind: Kind) -> Iterator[ModuleType]:
    """Load every Python file of one kind, each under a name of its own."""
    for file in sorted((root() / kind).glob("*.py")):
        name = f"mlcommons_py._content.{kind}.{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot load {file}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their own module up
        spec.loader.exec_module(module)
        yield module


@cache
def providers() -> Mapping[str, Provider]:
    """Return the providers of ``connectors/`` by their names.

    Raises:
        ValueError: two of them offer a function of the same name.
    """
    found: dict[str, Provider] = {}
    owners: dict[str, str] = {}
    for module in modules("connectors"):
        provider: Provider = module.PROVIDER
        for name in provider.offers():
            if name in owners:
                raise ValueError(f"{name} is offered by {owners[name]} and by {provider.name}")
            owners[name] = provider.name
        found[provider.name] = provider
    return found


@cache
def guardrails() -> Mapping[str, GuardrailType]:
    """Return the types of guardrails of ``guardrails/`` by their names."""
    found = (GuardrailType(module.TYPE, module.FIELDS, module.make) for module in modules("guardrails"))
    return {one.name: one for one in found}


def interface(connector: Connector) -> Mapping[str, Any] | None:
    """Return the ``interface`` of a model of the connector for which none was given, or None where none is known.

    Upstream looks at the first action only (``ModelInterfaceUtils.java``).
    """
    parameters = connector.parameters or {}
    service = parameters.get("service_name", "")
    first = next(iter(connector.each_action), None)
    for provider in providers().values():
        for name in (parameters.get("api_name"), parameters.get("model"), ""):
            preset = provider.interfaces.get((service, name or ""))
            if preset is not None:
                return preset.interface(first.post_process_function if first else None)
    return None

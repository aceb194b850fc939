"""What a model promises of itself, its ``interface`` and its ``guardrails``, looked at before it is stored."""

import asyncio
from collections.abc import Mapping
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.guard.guards import Guards
from mlcommons_py.models.documents import Model
from mlcommons_py.models.interface import Interfaces
from mlcommons_py.models.registry import Models


class Vetting:
    """Refuses schemas and guardrails that could not be used when it comes to a predict."""

    def __init__(self, models: Models, interfaces: Interfaces, guards: Guards) -> None:
        self._models = models
        self._interfaces = interfaces
        self._guards = guards

    async def registration(self, body: Mapping[str, Any]) -> None:
        """Let the body of a registration pass.

        Raises:
            IllegalArgument: its interface or its guardrails cannot be used; the text names the field and why.
        """
        await self._interfaces.check(body)
        await asyncio.to_thread(self._guards.check, body.get("guardrails"))

    async def update(self, model_id: str, body: Mapping[str, Any]) -> None:
        """Let the body of an update pass; what it changes is looked at together with what stays.

        Raises:
            IllegalArgument: as :meth:`registration`, or the model would be its own guardrail.
        """
        given = body.get("guardrails")
        await self._interfaces.check(body)
        if given is None:
            return
        document = await self._models.document(model_id)
        stored = None if document is None else Model.from_json(document.source).guardrails
        merged = {**(stored or {}), **given} if isinstance(given, Mapping) else given
        await asyncio.to_thread(self._guards.check, merged)
        for name in ("input_guardrail", "output_guardrail"):
            if isinstance(merged.get(name), Mapping) and merged[name].get("model_id") == model_id:
                raise IllegalArgument(f"[guardrails.{name}.model_id] is the model itself; a model cannot judge itself")

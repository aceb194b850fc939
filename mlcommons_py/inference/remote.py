"""Calling remote models: from a request's input to the provider, and back."""

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlcommons_py.errors import CredentialUnreadable, Forbidden, IllegalArgument, InvalidModel, NotFound, RemoteFailed
from mlcommons_py.guard.guards import Guard, Guards
from mlcommons_py.inference.admission import Admission
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.models.documents import Model
from mlcommons_py.models.interface import Interfaces
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.documents import ActionType, Connector, Protocol
from mlcommons_py.remote.exchange import Incoming, Outgoing
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.identity import Identity
from mlcommons_py.remote.input import ModelInput
from mlcommons_py.remote.outputs import check_answer, outputs
from mlcommons_py.remote.payload import Prepared, prepare
from mlcommons_py.remote.signing import signer
from mlcommons_py.remote.spoken import asks_alone, said, shown
from mlcommons_py.remote.transport import Transport

_BIG = 64 << 10
"""Bytes from which on bodies are made and read in a thread: they would hold up the event loop."""

_OF_ANSWERS = frozenset({"response_filter", "output_processors"})
"""Parameters that say how an answer is read."""

_WITHHELD = "Error from remote service, whose text is withheld"

_AT_ONCE = 30
"""Requests of one call that are under way at a time, unless the connector says how many connections it may have."""


@dataclass(frozen=True, slots=True)
class Call:
    """What goes out to a provider for one request, with all checks passed.

    Attributes:
        prepared: one or more requests, each an entry of the answer.
        guard: what their answers have to pass; None where there is none.
        heavy: whether the client says how the answer is read, which may take long.
    """

    model_id: str
    model: Model
    connector: Connector
    credential: Mapping[str, str] = field(repr=False)
    prepared: Sequence[Prepared]
    guard: Guard | None
    heavy: bool = False

    def outgoing(self, prepared: Prepared) -> Outgoing:
        """Return a request as it goes out, signed, or with a certificate, where the connector says so."""
        outgoing, config = prepared.outgoing, self.connector.config
        if config.mutual_tls_enabled:
            outgoing = replace(outgoing, identity=Identity.of(config, self.credential))
        if self.connector.protocol != Protocol.AWS_SIGV4:
            return outgoing
        return replace(outgoing, sign=signer(self.credential, self.connector.parameters or {}))

    async def accept(self, incoming: Incoming, prepared: Prepared) -> None:
        """Let an answer pass that is one.

        Raises:
            RemoteFailed: the provider refused or failed. What it says of that is shown as far as the guardrail on
                output lets it.
        """
        try:
            check_answer(incoming, prepared)
        except RemoteFailed as fault:
            raise await self.shown(fault, shown(incoming, prepared)) from None

    async def shown(self, fault: RemoteFailed, texts: Sequence[str]) -> RemoteFailed:
        """Return a provider's fault as it may be shown: without its texts where the guardrail on output refuses one."""
        if self.guard is None:
            return fault
        text, *also = texts
        try:
            await self.guard.check("output", text, also=also)
        except IllegalArgument as refusal:
            return fault.saying(f"{_WITHHELD}: {refusal.reason}")
        return fault


class Caller:
    """Calls remote models, in ML Commons' order of checks."""

    def __init__(
        self,
        admission: Admission,
        transport: Transport,
        functions: Functions,
        guards: Guards,
        interfaces: Interfaces,
        remotes: Remotes,
        settings: PluginSettings,
        metrics: Metrics,
        max_texts: int,
    ) -> None:
        self.transport = transport
        self.functions = functions
        self._admission = admission
        self._guards = guards
        self._interfaces = interfaces
        self._remotes = remotes
        self._settings = settings
        self._metrics = metrics
        self._max_texts = max_texts

    async def ready(self, model_id: str, model: Model) -> None:
        """See whether a model can be called: its connector is there, and its credential can be opened.

        Raises:
            InvalidModel: it cannot.
            Unavailable: the store does not answer.
        """
        try:
            await self._admission.connection(model_id, model)
        except (NotFound, CredentialUnreadable) as fault:
            raise InvalidModel(fault.reason) from fault

    async def predict(
        self, model_id: str, model: Model, body: Mapping[str, Any], algorithm: str, user: str | None = None
    ) -> dict[str, Any]:
        """Return the answer of ``_predict``.

        Raises:
            BadRequest: remote models are switched off, or the input or the output does not fit the interface.
            Forbidden: the model is disabled.
            IllegalArgument: the body is wrong, a guardrail refuses it, or the model is not deployed.
            StatusError: 429, a rate limit is reached.
            RemoteFailed: the provider refuses or fails.
        """
        call = await self.begin(model_id, model, self.given(body, algorithm), user)
        with self._remotes.timed(model_id):
            answer = {"inference_results": await self._answers(call)}
        interface = self._interfaces.of(model.interface)
        if interface is not None:
            await interface.check_output(answer)
        return answer

    def given(self, body: Mapping[str, Any], algorithm: str) -> ModelInput:
        """Return the input that a body holds.

        Raises:
            IllegalArgument: a field is of the wrong type, or there are too many texts.
        """
        return ModelInput.of(body, algorithm, self._max_texts)

    async def begin(self, model_id: str, model: Model, given: ModelInput, user: str | None = None) -> Call:
        """Return the call that a predict stands for, all checks passed.

        Raises:
            MLCommonsError: as :meth:`predict`, but for the provider.
        """
        self._settings.check_remote_models()
        if model.is_enabled is False:
            raise Forbidden("Model is disabled.")
        interface = self._interfaces.of(model.interface)
        if interface is not None:
            await interface.check_input(given.as_json())
        model = await self._admission.deployed(model_id, model)
        self._remotes.touch(model_id)
        return await self._prepared(model_id, model, given, ActionType.PREDICT, user)

    async def act(
        self, model_id: str, model: Model, given: ModelInput, action_type: str, user: str | None = None
    ) -> list[dict[str, Any]]:
        """Carry out another action of a model's connector, such as ``batch_predict``; return its entries.

        What is asked about a job, or done to end it, is not held to the model's limits: the job is there already.

        Raises:
            MLCommonsError: as :meth:`predict`.
        """
        self._settings.check_remote_models()
        self._remotes.touch(model_id)
        about_job = action_type in (ActionType.BATCH_PREDICT_STATUS, ActionType.CANCEL_BATCH_PREDICT)
        if model.is_enabled is False and not about_job:
            raise Forbidden("Model is disabled.")
        call = await self._prepared(model_id, model, given, action_type, user, limited=not about_job)
        return await self._answers(call)

    async def _prepared(
        self,
        model_id: str,
        model: Model,
        given: ModelInput,
        action_type: str,
        user: str | None,
        *,
        limited: bool = True,
    ) -> Call:
        connector, credential = await self._admission.connection(model_id, model)
        arguments = (connector, action_type, given, credential, self.functions)
        began = time.monotonic()
        # Processors may take long, however little they are given.
        big = given.is_big(_BIG) or "input_processors" in {**(connector.parameters or {}), **(given.parameters or {})}
        if big:
            prepared = await asyncio.to_thread(prepare, *arguments)
        else:
            prepared = prepare(*arguments)
        self._count(model_id, "prepared", time.monotonic() - began)
        if limited:
            await self._admission.limit(model_id, model, user)
        guard = self._guards.of(model.guardrails, model_id)
        if guard is not None:
            asks = (prepared, *arguments)
            alone = await asyncio.to_thread(asks_alone, *asks) if big else asks_alone(*asks)
            for one in prepared:
                text, *also = said(one)
                await guard.check("input", text, given.asked(), alone=alone, also=also)
        chosen = not _OF_ANSWERS.isdisjoint(given.parameters or ()) or _reads_slowly(connector.parameters or {})
        return Call(model_id, model, connector, credential, prepared, guard, heavy=chosen)

    async def _answers(self, call: Call) -> list[dict[str, Any]]:
        if len(call.prepared) == 1:
            return [await self._exchange(call, call.prepared[0])]
        places = asyncio.Semaphore(call.connector.config.max_connection or _AT_ONCE)

        async def exchange(prepared: Prepared) -> dict[str, Any]:
            async with places:
                return await self._exchange(call, prepared)

        return await _all([exchange(one) for one in call.prepared])

    async def _exchange(self, call: Call, prepared: Prepared) -> dict[str, Any]:
        """Return one entry of the answer."""
        try:
            return await self._exchanged(call, prepared)
        except RemoteFailed as fault:
            raise fault.without(prepared.hidden.hide) from None

    async def _exchanged(self, call: Call, prepared: Prepared) -> dict[str, Any]:
        began = time.monotonic()
        incoming = await self.transport.send(call.outgoing(prepared), call.connector.config, model_id=call.model_id)
        answered = time.monotonic()
        self._count(call.model_id, "provider", answered - began)
        await call.accept(incoming, prepared)
        if call.guard is not None:
            text, *also = shown(incoming, prepared)
            await call.guard.check("output", text, also=also)
        if call.heavy or len(incoming.body) > _BIG:
            entry = await asyncio.to_thread(outputs, prepared, incoming)
        else:
            entry = outputs(prepared, incoming)
        self._count(call.model_id, "read", time.monotonic() - answered)
        return entry

    def _count(self, model_id: str, stage: str, seconds: float) -> None:
        if model_id in self._remotes:  # the numbers of one that went meanwhile would never be dropped
            self._metrics.stage(model_id, stage, seconds)


def _reads_slowly(own: Mapping[str, str]) -> bool:
    """Whether a connector's own way of reading answers may take long, however short they are."""
    return "output_processors" in own or "?" in own.get("response_filter", "")


async def _all(calls: Sequence[Awaitable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return what comes of calls, in order; the first that fails ends them all."""
    running = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*running))
    finally:
        for one in running:
            one.cancel()
        await asyncio.wait(running)

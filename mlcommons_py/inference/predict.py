"""Predict: the one way in to a running model, whichever door the request came through."""

import asyncio
import base64
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlcommons_py.errors import (
    Forbidden,
    IllegalArgument,
    InferenceFailed,
    MLCommonsError,
)
from mlcommons_py.inference.deployment import Deployment
from mlcommons_py.inference.deployments import Deployments
from mlcommons_py.inference.promises import Promises
from mlcommons_py.inference.remote import Caller
from mlcommons_py.inference.text_docs import ContentType, ResultFilter, TextDocs
from mlcommons_py.models.config import MAX_PREFIX
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import FunctionName, predicting
from mlcommons_py.models.throttle import Throttle
from mlcommons_py.nodes import Nodes
from mlcommons_py.observe.counters import Counters
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.settings import Operator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NOT_SYMMETRIC = (
    "The embedding model chosen is asymmetric. To use it, you must declare whether the input is of type 'QUERY' or of"
    " type 'PASSAGE'."
)
_SYMMETRIC = (
    "When passing AsymmetricTextEmbeddingParameters, the model requires to be registered with at least one of"
    " 'query_prefix' or 'passage_prefix'."
)
_LOOK_SECONDS = 0.5


class Predictor:
    """Answers predict requests, in ML Commons' order of checks."""

    def __init__(
        self,
        node_id: str,
        models: Models,
        deployments: Deployments,
        caller: Caller,
        settings: PluginSettings,
        operator: Operator,
        metrics: Metrics,
        counters: Counters,
        throttle: Throttle,
        nodes: Nodes,
        promises: Promises,
    ) -> None:
        self._node_id = node_id
        self._models = models
        self._deployments = deployments
        self._caller = caller
        self._settings = settings
        self._operator = operator
        self._metrics = metrics
        self._counters = counters
        self._throttle = throttle
        self._nodes = nodes
        self._promises = promises

    async def predict(
        self, model_id: str, body: Mapping[str, Any], algorithm: str | None = None, user: str | None = None
    ) -> dict[str, Any]:
        """Return the answer of ``_predict``: one entry a text, in the order of the texts.

        ``algorithm`` is the one the path names, where it names one, and ``user`` who asks, where that is known. Vectors
        in the answer are float32 arrays.

        Raises:
            NotFound: there is no such model.
            IllegalArgument: it is not deployed, the body is wrong, or a guardrail refuses it or the answer.
            BadRequest: the body or the answer does not fit the model's interface.
            Forbidden: it is disabled.
            StatusError: 429, its rate limit is reached.
            Rejected: 429, too many texts wait for it.
            InferenceFailed: it failed on the texts.
        """
        function = predicting(algorithm)
        model = await self._models.called(model_id)
        with self._counters.counted(model.algorithm, "predict", model_id):
            if model.is_remote:
                return await self._caller.predict(model_id, model, body, function or FunctionName.REMOTE, user)
            return await self._predict(model_id, model, body, user)

    async def _predict(self, model_id: str, model: Model, body: Mapping[str, Any], user: str | None) -> dict[str, Any]:
        self._settings.check_local_models()
        docs = TextDocs.of(body, self._operator.max_queued_texts, self._operator.max_text_chars)
        if model.is_enabled is False:
            raise Forbidden("Model is disabled.")
        # Nodes that do not run the model hand its requests on to those that do.
        await self._throttle.check(model_id, model, user, len(self._nodes.running(model_id)))
        await self._promises.check_request(model, body, docs)
        deployment = self._deployments.get(model_id)
        until = time.monotonic() + self._operator.predict_timeout
        while deployment is None and self._is_coming(model) and time.monotonic() < until:
            deployment = await self._deployments.wait_for(model_id, _LOOK_SECONDS)
            model = await self._models.recent(model_id)  # it may have been given up
        if deployment is None and model.state.is_incomplete:
            raise IllegalArgument(await self._models.chunks.shortfall(model_id, model))
        if deployment is None:
            raise IllegalArgument("Model not ready yet. Please deploy the model first.")
        await self._promises.check_texts(model_id, model, docs)
        answer = await self._embed(model_id, model, deployment, docs)
        await self._promises.check_answer(model_id, model, answer)
        return answer

    def _is_coming(self, model: Model) -> bool:
        """Whether the model was deployed before the service started, and is on its way back."""
        wanted = self._node_id in (model.planning_worker_nodes or ())
        return wanted and model.state.is_deployed and model.last_deployed_time is not None

    async def _embed(self, model_id: str, model: Model, deployment: Deployment, docs: TextDocs) -> dict[str, Any]:
        try:
            prefix = _prefix(model, docs)
            texts = [prefix + text for text in docs.texts if text is not None]
            urgent = docs.content_type is ContentType.QUERY or (len(texts) == 1 and docs.content_type is None)
            rows: NDArray[np.float32] | None = None
            if texts:
                vectors = await deployment.embed(texts, urgent=urgent, timeout=self._operator.predict_timeout)
                rows = vectors.rows()
                self._metrics.predicted(model_id, vectors.answer.queued, vectors.answer.computed)
        except MLCommonsError as fault:
            if fault.status in (429, 503):
                raise
            raise InferenceFailed(model.algorithm, model_id, fault) from fault
        nested = deployment.options.is_huggingface
        if docs.filter.return_bytes:
            return await asyncio.to_thread(_results, docs, rows, nested=nested)
        return _results(docs, rows, nested=nested)


def _prefix(model: Model, docs: TextDocs) -> str:
    """Return what goes before each text, for models that are told queries from passages by it."""
    query, passage = model.config.get("query_prefix"), model.config.get("passage_prefix")
    if query is None and passage is None:
        if docs.has_parameters and docs.content_type is not None:
            raise IllegalArgument(_SYMMETRIC)
        return ""
    if not docs.has_parameters:
        raise IllegalArgument(_NOT_SYMMETRIC)
    chosen = passage if docs.content_type is ContentType.PASSAGE else query
    if len(chosen or "") > MAX_PREFIX:  # as a cluster may have it that another service wrote to
        raise IllegalArgument(f"the model's prefix has more than {MAX_PREFIX} characters; change its model_config")
    return str(chosen or "")


def _results(docs: TextDocs, rows: "NDArray[np.float32] | None", *, nested: bool) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    vectors = iter(() if rows is None else rows)
    for text in docs.texts:
        if text is None:
            entries.append({})
            continue
        tensor = _tensor(next(vectors), docs.filter, nested=nested)
        entries.append({} if tensor is None else {"output": [tensor]})
    return {"inference_results": entries}


def _tensor(row: "NDArray[np.float32]", wanted: ResultFilter, *, nested: bool) -> dict[str, Any] | None:
    name = "sentence_embedding"
    if not wanted.keeps(name, 0):
        return None
    dimension = int(row.shape[0])
    tensor: dict[str, Any] = {
        "name": name,
        "data_type": "FLOAT32",
        "shape": [1, dimension] if nested else [dimension],
    }
    if wanted.return_number:
        tensor["data"] = row
    if wanted.return_bytes:
        packed = base64.b64encode(row.astype("<f4", copy=False).tobytes()).decode()
        tensor["byte_buffer"] = {"array": packed, "order": "LITTLE_ENDIAN"}
    return tensor

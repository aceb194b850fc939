"""Registering models, as the API asks for it."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py import fields
from mlcommons_py.errors import BadRequest, IllegalArgument, ResourceNotFound
from mlcommons_py.lifecycle.deploying import Deployer
from mlcommons_py.lifecycle.download import check_url
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.registrations import Registrations
from mlcommons_py.lifecycle.remote import RemoteModels
from mlcommons_py.lifecycle.vetting import Vetting
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import FunctionName
from mlcommons_py.observe.counters import Counters
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.settings import Operator
from mlcommons_py.store import Written

_UPLOADS_OFF = (
    "To upload custom model from local file, user needs to enable allow_registering_model_via_local_file settings."
    " Otherwise please use opensearch pre-trained models"
)


class Registrar:
    """Takes models in."""

    def __init__(
        self,
        groups: Groups,
        models: Models,
        proof: Proof,
        registrations: Registrations,
        deployer: Deployer,
        remote: RemoteModels,
        vetting: Vetting,
        settings: PluginSettings,
        operator: Operator,
        counters: Counters,
    ) -> None:
        self._groups = groups
        self._models = models
        self._proof = proof
        self._registrations = registrations
        self._deployer = deployer
        self._remote = remote
        self._vetting = vetting
        self._settings = settings
        self._operator = operator
        self._counters = counters

    async def register_meta(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a registration whose chunks follow, and return the answer of ``_register_meta``.

        Raises:
            IllegalArgument: uploads are switched off, or a field is missing or wrong.
            NotFound: the group does not exist.
        """
        await self._vetting.registration(body)
        if not self._settings["allow_registering_model_via_local_file"]:
            raise IllegalArgument(_UPLOADS_OFF)
        registration = Registration.of_meta(body)
        with self._counters.counted(registration.function, "register"):
            self._check_function(registration.function)
            group_id = registration.model_group_id
            if group_id is not None and not await self._groups.exists(group_id):
                raise ResourceNotFound("Fail to find model group")
            model_id = await self._models.create(registration)
            return {"model_id": model_id, "status": "CREATED"}

    async def upload_chunk(self, model_id: str, number: int, content: bytes) -> dict[str, Any]:
        """Take one chunk in, and return the answer of ``upload_chunk``; the last one sets off the proof of the model.

        Raises:
            MLCommonsError: as :meth:`~mlcommons_py.models.uploads.Uploads.upload`.
        """
        if not self._settings["allow_registering_model_via_local_file"]:
            raise IllegalArgument(_UPLOADS_OFF + ".")
        await self._registrations.upload(model_id, number, content)
        return {"status": "Uploaded"}

    async def register(self, body: Mapping[str, Any], *, deploy: bool) -> dict[str, Any]:
        """Start a registration from a URL, and return the answer of ``_register``; the task tells how it went.

        A remote model is registered when the answer is given.

        Raises:
            IllegalArgument: URLs are switched off, the URL is not trusted, or a field is missing or wrong.
            BadRequest: the model's function is not one of this version.
            LimitExceeded: ``max_register_model_tasks_per_node`` registrations run already.
        """
        await self._vetting.registration(body)
        function_name = fields.text(body, "function_name")
        if function_name is not None and FunctionName.named(function_name) is FunctionName.REMOTE:
            return await self._remote.register(body, deploy=deploy)
        registration = Registration.of_url(body)
        self._check_function(registration.function)
        if registration.url is not None:
            check_url(registration.url, self._settings, self._operator.model_root)
        task_id = await self._registrations.fetch(registration, deploy=deploy)
        return {"task_id": task_id, "status": "CREATED"}

    async def delete(self, model_id: str) -> Written:
        """Delete a model that is not deployed, with its chunks, and its converted form if no other model needs it.

        Raises:
            NotFound: there is no such model.
            BadRequest: it is deployed.
        """
        model, written = await self._deployer.delete(model_id)
        if model.model_content_hash_value:
            await self._proof.forget(model.model_content_hash_value)
        return written

    def _check_function(self, function: FunctionName) -> None:
        self._settings.check_local_models()
        if function is not FunctionName.TEXT_EMBEDDING:
            raise BadRequest(
                f"[function_name] {function} is not supported by this version; TEXT_EMBEDDING and REMOTE are"
            )

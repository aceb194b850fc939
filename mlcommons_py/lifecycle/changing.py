"""Changing models that there are: what a ``PUT`` asks for, in their documents and where they run."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.lifecycle.keeper import Keeper
from mlcommons_py.lifecycle.remote import RemoteModels
from mlcommons_py.lifecycle.vetting import Vetting
from mlcommons_py.models import changes
from mlcommons_py.models.registry import Models
from mlcommons_py.store import Written


class Changer:
    """Changes models."""

    def __init__(self, models: Models, remote: RemoteModels, vetting: Vetting, keeper: Keeper) -> None:
        self._models = models
        self._remote = remote
        self._vetting = vetting
        self._keeper = keeper

    async def update(self, model_id: str, body: Mapping[str, Any]) -> Written:
        """Carry out an update; what runs of the model here runs as it says from now on.

        Raises:
            MLCommonsError: as :func:`~mlcommons_py.models.changes.update`, and as
                :meth:`~mlcommons_py.lifecycle.vetting.Vetting.update`.
        """
        await self._vetting.update(model_id, body)
        model, written = await changes.update(self._models, self._remote.connection, model_id, body)
        await self._remote.settle(model_id, body)
        self._keeper.refresh(model_id, model)
        return written

"""Encrypting all credentials anew, on the store itself: the operator's own business, and no route's."""

import asyncio

from mlcommons_py.app import open_store
from mlcommons_py.errors import NotFound
from mlcommons_py.lifecycle.connecting import secrets_of
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.rotation import Rotated, Rotation
from mlcommons_py.settings import EMBEDDED, STORE, Operator


def rotate(operator: Operator, *, to_cluster: bool) -> Rotated:
    """Rotate the key of the store that the operator chose; a service on a cluster may run meanwhile.

    Raises:
        NotFound: there is no embedded store where the operator says.
        Unavailable: the store cannot be used.
        CredentialUnreadable: the cluster's key is lost.
        IllegalArgument: a key that the operator gives is none.
    """
    file = operator.data / STORE
    if operator.store == EMBEDDED and not file.is_file():
        raise NotFound(f"there is no store at {file}, and none was made; name the service's directory with --data")
    return asyncio.run(_rotate(operator, to_cluster=to_cluster))


async def _rotate(operator: Operator, *, to_cluster: bool) -> Rotated:
    store = await open_store(operator)
    try:
        secrets = secrets_of(operator, store, PluginSettings(operator.plugin))
        return await Rotation(store, secrets).run(to_cluster=to_cluster)
    finally:
        await store.close()

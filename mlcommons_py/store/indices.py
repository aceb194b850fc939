"""The indices that the service writes, created with ML Commons' mappings when they are first needed.

``mappings/`` has ML Commons' own (``common/src/main/resources/index-mappings`` there), and one for the settings.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from importlib import resources
from typing import Any

import orjson

from mlcommons_py.store.cluster import Cluster, path
from mlcommons_py.store.refusals import Refusal

Json = dict[str, Any]

_ON_EVERY_NODE = (".plugins-ml-config", ".plugins-ml-settings")
_OF_CONTENT = ".plugins-ml-model"
_FRESH = 1.0
"""Seconds for which an index that was seen is believed to be there. One that somebody deletes meanwhile is made by the
next write, without its mapping: the shorter, the less often."""

_EXISTS = "resource_already_exists_exception"


def mapping_of(index: str) -> Json | None:
    """Return the mapping that an index is created with; None where the cluster may choose one itself.

    >>> mapping_of(".plugins-ml-controller")
    {'_meta': {'schema_version': 1}, 'properties': {'user_rate_limiter': {'type': 'flat_object'}}}
    """
    file = resources.files("mlcommons_py.store") / "mappings" / f"{index.removeprefix('.')}.json"
    if not index.startswith(".plugins-ml-") or not file.is_file():
        return None
    mapping: Json = orjson.loads(file.read_bytes())
    return mapping


def settings_of(index: str) -> Json:
    """Return the settings that an index is created with: one shard, and a copy on another node, or on every node."""
    chosen: Json = {"number_of_shards": 1, "auto_expand_replicas": "0-all" if index in _ON_EVERY_NODE else "0-1"}
    if index == _OF_CONTENT:
        # A refresh waits up to 10 s for merges otherwise, and every tenth chunk of 10 MB starts one: 600 MB took 63 s
        # instead of 11 s.
        chosen["merge_on_flush"] = {"enabled": False}
    return {"index": chosen}


def missing(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> Json:
    """Return the properties that a mapping lacks; one that is there stays as it is, whatever its type.

    >>> missing({"a": {"type": "long"}, "o": {"properties": {"x": {"type": "long"}}}}, {"o": {"properties": {}}})
    {'a': {'type': 'long'}, 'o': {'properties': {'x': {'type': 'long'}}}}
    >>> missing({"a": {"type": "long"}}, {"a": {"type": "text"}})
    {}
    """
    lacking: Json = {}
    for name, field in wanted.items():
        if name not in there:
            lacking[name] = field
        elif "properties" in field and "properties" in there[name]:
            inner = missing(field["properties"], there[name]["properties"])
            if inner:
                lacking[name] = {"properties": inner}
                if "type" in there[name]:  # nested
                    lacking[name]["type"] = there[name]["type"]
    return lacking


class Indices:
    """Knows which indices are there, and brings them about."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: dict[str, float] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def forget(self, index: str) -> None:
        """Look again before the next write: the index is not what it was."""
        self._seen.pop(index, None)

    async def exists(self, index: str) -> bool:
        """Return whether an index is there; what was seen is believed for a second."""
        if self._is_fresh(index):
            return True
        answer = await self._cluster.ask("GET", path(index, "_mapping"))
        if answer.refused is None:
            return True
        if answer.refused.of_missing_index:
            return False
        raise answer.refused.fault(index)

    async def ensure(self, index: str) -> None:
        """See to it that an index is there, with every field that this version knows; several processes may at once.

        ML Commons' own lacks ours, whatever its version; what an index has stays, and a newer version is not lowered.

        Raises:
            MLCommonsError: the cluster refuses it.
        """
        if self._is_fresh(index):
            return
        async with self._locks[index]:
            if self._is_fresh(index):
                return
            wanted = mapping_of(index)
            if wanted is not None:
                there = await self._mapping(index)
                if there is None:
                    await self._create(index, wanted)
                    there = await self._mapping(index) or wanted
                await self._complete(index, wanted, there)
            self._seen[index] = time.monotonic()

    def _is_fresh(self, index: str) -> bool:
        seen = self._seen.get(index)
        return seen is not None and time.monotonic() - seen < _FRESH

    async def _mapping(self, index: str) -> Json | None:
        answer = await self._cluster.ask("GET", path(index, "_mapping"))
        if answer.refused is None:
            # Named by the index that an alias stands for.
            (found,) = answer.body.values()
            mapping: Json = found["mappings"]
            return mapping
        if answer.refused.of_missing_index:
            return None
        raise answer.refused.fault(index)

    async def _create(self, index: str, mapping: Json) -> None:
        body = orjson.dumps({"settings": settings_of(index), "mappings": mapping})
        refused = (await self._cluster.ask("PUT", path(index), body)).refused
        if refused is not None and not _already(refused):
            raise refused.fault(index)

    async def _complete(self, index: str, wanted: Json, there: Json) -> None:
        lacking = missing(wanted["properties"], there.get("properties", {}))
        meta = there.get("_meta", {})
        if meta.get("schema_version", 0) < wanted["_meta"]["schema_version"]:
            meta = {**meta, **wanted["_meta"]}
        elif not lacking:
            return
        body = orjson.dumps({"_meta": meta, "properties": lacking})
        refused = (await self._cluster.ask("PUT", path(index, "_mapping"), body)).refused
        if refused is not None:
            raise refused.fault(index)


def _already(refused: Refusal) -> bool:
    return refused.status == 400 and refused.type == _EXISTS

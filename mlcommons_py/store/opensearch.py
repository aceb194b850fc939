"""The store in a cluster: the very indices and documents of ML Commons."""

import asyncio
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import pybase64

from mlcommons_py.errors import MLCommonsError, Unavailable, VersionConflict
from mlcommons_py.store import CONTENT, Document, Operation, Source, Written, new_id
from mlcommons_py.store.answers import NOWHERE, written_of
from mlcommons_py.store.cluster import PATIENCE, Answer, Cluster, path
from mlcommons_py.store.encoding import encode, expected, required, same
from mlcommons_py.store.filled import Filled
from mlcommons_py.store.indices import Indices
from mlcommons_py.store.link import Link
from mlcommons_py.store.many import delete_one, write_many
from mlcommons_py.store.plugins import Plugins
from mlcommons_py.store.searching import check_shown, found_nothing, without_content
from mlcommons_py.store.unseen import Unseen

_LONG = 120.0
_IN_FLIGHT = 2
_MOST_CONFLICTS = 50
_ROUNDS = 20


class OpenSearchStore:
    """Documents in a cluster's indices; a document's content is its field :data:`CONTENT`, in base64.

    ML Commons refreshes with each write; here it is the searches that do, and :meth:`settle`, once for many writes. A
    refresh makes a segment, which takes the cluster ten times as long as the write; one of nothing new takes it next to
    nothing. Where others could not read them otherwise (:meth:`Plugins.want_refreshes`) writes are refreshed, too.

    Requests are tried again, with growing and random pauses, where the cluster cannot be reached or has too much to do.
    If an answer is lost, trying again may meet the own first try: a ``create`` that finds its very document in version
    1 succeeded, a write under ``if_seq_no`` that finds its very document, and a deletion of what was deleted just now
    too. Who writes under a condition what another might write to the letter, a bare counter say, has to put something
    of its own into it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._indices = Indices(cluster)
        self._plugins = Plugins(cluster)
        self._unseen = Unseen(cluster)
        # What is read passes through memory in three forms at once; what is written, through the cluster's.
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT)

    @classmethod
    def open(cls, link: Link, patience: float = PATIENCE) -> "OpenSearchStore":
        """Return a store in a cluster, which need not be up yet; each request is tried for ``patience`` seconds."""
        return cls(Cluster(link, patience))

    async def exists(self, index: str) -> bool:
        """Return whether an index is there, be it empty."""
        return await self._indices.exists(index)

    async def get(self, index: str, doc_id: str) -> Document | None:
        """Return a document, or None where there is none."""
        answer = await self._cluster.ask("GET", path(index, "_doc", doc_id, _source_excludes=CONTENT))
        self._heed(answer, index)
        if _is_missing(answer, index, doc_id):
            return None
        body = answer.body
        return Document(index, doc_id, body["_source"], body["_seq_no"], body["_primary_term"], body["_version"])

    async def put(
        self,
        index: str,
        doc_id: str | None,
        source: Source,
        *,
        create: bool = False,
        if_seq_no: int | None = None,
        if_primary_term: int | None = None,
        content: bytes | None = None,
        at_once: bool = True,
    ) -> Written:
        """Store a whole document."""
        condition = expected(if_seq_no, if_primary_term)
        chosen = new_id() if doc_id is None else doc_id
        encoded = encode(chosen, source)
        if create and condition is not None:
            raise VersionConflict(index, chosen, f"{required(condition)} but the document is to be created")
        await self._indices.ensure(index)
        refresh = at_once and await self._plugins.want_refreshes()
        # A POST: what is idempotent aiohttp sends again by itself if the connection breaks, and a creation is not.
        target = path(
            index,
            "_create" if create else "_doc",
            chosen,
            refresh=refresh,
            if_seq_no=if_seq_no,
            if_primary_term=if_primary_term,
        )
        if content is None:
            answer = await self._cluster.ask("POST", target, encoded)
        else:
            async with self._in_flight:
                answer = await self._cluster.ask("POST", target, Filled(encoded, content), within=_LONG)
        mine = None
        if answer.refused is not None:
            mine = await self._earlier(index, chosen, source, if_seq_no) if _is_own_conflict(answer) else None
            if mine is None:
                raise answer.refused.fault(index, chosen)
        if at_once:
            self._unseen.note(index, refreshed=refresh)
        return mine or self._written(index, answer.body)

    async def update(
        self,
        index: str,
        doc_id: str,
        changes: Source,
        *,
        if_seq_no: int | None = None,
        if_primary_term: int | None = None,
    ) -> Written | None:
        """Merge changes into a document."""
        expected(if_seq_no, if_primary_term)
        body = b'{"doc":' + encode(doc_id, changes) + b"}"
        # An update of nothing would create the index.
        if not await self._indices.exists(index):
            return None
        refresh = await self._plugins.want_refreshes()
        target = path(
            index,
            "_update",
            doc_id,
            refresh=refresh,
            retry_on_conflict=_MOST_CONFLICTS if if_seq_no is None else None,
            if_seq_no=if_seq_no,
            if_primary_term=if_primary_term,
        )
        answer = await self._cluster.ask("POST", target, body)
        if _is_missing(answer, index, doc_id):
            return None
        self._unseen.note(index, refreshed=refresh)
        return self._written(index, answer.body)

    async def delete(
        self, index: str, doc_id: str, *, if_seq_no: int | None = None, if_primary_term: int | None = None
    ) -> Written:
        """Delete a document and its content."""
        condition = expected(if_seq_no, if_primary_term)
        refresh = await self._plugins.want_refreshes()
        outcome = await delete_one(self._cluster, index, doc_id, condition, self._earlier, refresh=refresh)
        if isinstance(outcome, MLCommonsError):
            raise outcome
        self._unseen.note(index, refreshed=refresh)
        if condition is not None and outcome.result == "not_found":
            raise VersionConflict(index, doc_id, f"{required(condition)} but no document was found")
        return outcome

    async def content(self, index: str, doc_id: str) -> bytes | None:
        """Return a document's binary content, or None where it has none.

        Raises:
            Unavailable: what is stored as content is no base64.
        """
        async with self._in_flight:
            # The whole document: content is nearly all of it, and to pick a field costs the cluster twice the time.
            answer = await self._cluster.ask("GET", path(index, "_doc", doc_id), within=_LONG)
            if _is_missing(answer, index, doc_id) or CONTENT not in answer.body["_source"]:
                return None
            try:
                return await asyncio.to_thread(pybase64.b64decode, answer.body["_source"][CONTENT], validate=True)
            except (binascii.Error, TypeError, ValueError) as fault:
                raise Unavailable(f"[{CONTENT}] of [{doc_id}] in [{index}] is no base64: {fault}") from fault

    async def search(self, index: str, body: Mapping[str, Any], *, latest: bool = True) -> dict[str, Any]:
        """Return what OpenSearch answers to a search body."""
        if latest:
            await self._refresh(index)
        sent, wanted = without_content(body)
        answer = await self._cluster.ask("POST", path(index, "_search"), encode("_search", sent))
        self._heed(answer, index)
        if answer.refused is not None:
            if answer.refused.of_missing_index:
                return found_nothing(index, body)
            raise answer.refused.fault(index)
        found: dict[str, Any] = answer.body
        if wanted:
            await self._show_content(index, found["hits"]["hits"])
        return found

    async def bulk(self, operations: Sequence[Operation]) -> list[Written | MLCommonsError]:
        """Do many writes; one that fails leaves the others."""
        refresh = await self._plugins.want_refreshes()
        outcomes = await write_many(self._cluster, self._indices, operations, self._earlier, refresh=refresh)
        self._unseen.note(*(one.index for one in operations), refreshed=refresh)
        return outcomes

    async def delete_by_query(self, index: str, query: Mapping[str, Any]) -> int:
        """Delete every document that a query finds; return how many."""
        body = encode("_delete_by_query", {"query": query})
        refresh = await self._plugins.want_refreshes()
        target = path(index, "_delete_by_query", refresh=refresh, conflicts="proceed")
        deleted = 0
        for _ in range(_ROUNDS):
            await self._refresh(index)
            answer = await self._cluster.ask("POST", target, body, within=_LONG)
            if answer.refused is not None:
                if answer.refused.of_missing_index:
                    return deleted
                raise answer.refused.fault(index)
            deleted += int(answer.body["deleted"])
            self._unseen.note(index, refreshed=refresh)
            # What was written while it ran is still there.
            if not answer.body["version_conflicts"]:
                return deleted
        raise Unavailable(f"documents of [{index}] are written faster than they can be deleted; try again")

    async def settle(self) -> None:
        """Have everybody who searches the cluster see what this store wrote."""
        await self._unseen.settle()

    async def nodes_with(self, plugin: str) -> frozenset[str]:
        """Return the ids of the cluster's nodes that have a plugin, none where the service may not ask."""
        return await self._plugins.nodes_with(plugin)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._cluster.close()

    async def _refresh(self, index: str) -> None:
        """Let the next search find all that was written until now."""
        refused = (await self._cluster.ask("POST", path(index, "_refresh"))).refused
        if refused is not None and not refused.of_missing_index:
            raise refused.fault(index)

    def _heed(self, answer: Answer, index: str) -> None:
        """Have the next write make the index, with its mapping, where the cluster says that it is not there."""
        if answer.refused is not None and answer.refused.of_missing_index:
            self._indices.forget(index)

    def _written(self, index: str, body: Mapping[str, Any]) -> Written:
        written = written_of(body)
        if written.seq_no == 0:
            # The index is new. If somebody had deleted it, the cluster made this one without our mapping.
            self._indices.forget(index)
        return written

    async def _earlier(
        self, index: str, doc_id: str, source: Source | None, if_seq_no: int | None = None
    ) -> Written | None:
        """Return what an earlier try of ours did whose answer was lost; None where it was another who came before us.

        Without a source it was a deletion; without ``if_seq_no`` a creation.
        """
        there = await self.get(index, doc_id)
        if source is None:
            return Written(index, doc_id, "deleted", 1, NOWHERE, 0) if there is None else None
        if there is None or not same(doc_id, there.source, source):
            return None
        if if_seq_no is None:
            made = Written(index, doc_id, "created", 1, there.seq_no, there.primary_term)
            return made if there.version == 1 else None
        made = Written(index, doc_id, "updated", there.version, there.seq_no, there.primary_term)
        return made if there.seq_no > if_seq_no else None

    async def _show_content(self, index: str, hits: list[dict[str, Any]]) -> None:
        """Put content into hits, one document in memory at a time beside what is shown."""
        shown = 0
        for hit in hits:
            content = await self.content(index, hit["_id"])
            if content is None:
                continue
            shown += len(content)
            check_shown(shown)
            hit["_source"] = {**hit.get("_source", {}), CONTENT: pybase64.b64encode(content).decode()}


def _is_missing(answer: Answer, index: str, doc_id: str) -> bool:
    """Return whether there is no such document; another refusal is raised."""
    if answer.refused is None:
        return False
    if answer.refused.of_missing_index or answer.refused.of_missing_document:
        return True
    raise answer.refused.fault(index, doc_id)


def _is_own_conflict(answer: Answer) -> bool:
    return answer.repeated and answer.refused is not None and answer.refused.status == 409

"""The process that runs one model.

``python -m mlcommons_py.inference.worker FD`` loads the converted model that it is told over the socket ``FD``, and
serves the requests that come over it (:mod:`mlcommons_py.inference.wire`). It ends when the socket does: a worker never
outlives its service.
"""

import ctypes
import heapq
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from mlcommons_py import malloc
from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import MLCommonsError
from mlcommons_py.inference.encoder import Encoder, Engine
from mlcommons_py.inference.options import RunOptions
from mlcommons_py.inference.pooling import Rows
from mlcommons_py.inference.progress import Progress
from mlcommons_py.inference.scheduler import Item, Job, Scheduler
from mlcommons_py.inference.tokenizing import Tokenizing
from mlcommons_py.inference.wire import (
    LENGTHS,
    MAX_HEADER,
    Cancel,
    Embed,
    Embedded,
    Failed,
    Load,
    Message,
    Ping,
    Pong,
    Ready,
    Stop,
    pack,
    unpack,
)

log = logging.getLogger(__name__)

SLICE = 64
"""Texts tokenised in one go; between two slices something more urgent may come first."""

SLICE_CHARACTERS = 1 << 17
"""Characters tokenised in one go: what the tokenizer makes of a long text needs a hundred times its memory."""

_PR_SET_PDEATHSIG = 1


class Channel:
    """The socket to the service; several threads may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._input = connection.makefile("rb", buffering=1 << 16)
        self._sending = threading.Lock()

    def receive(self) -> Message | None:
        """Return the next message, or None when the service is gone."""
        lengths = self._input.read(LENGTHS.size)
        if len(lengths) < LENGTHS.size:
            return None
        header, payload = LENGTHS.unpack(lengths)
        if header > MAX_HEADER or payload:
            raise MLCommonsError("a frame is longer than any message")
        content = self._input.read(header)
        return unpack(content) if len(content) == header else None

    def send(self, message: Message, payload: bytes = b"") -> None:
        """Send a message; nothing happens if the service is gone, the receiving thread sees to that."""
        with self._sending:
            try:
                self._connection.sendall(pack(message, payload))
            except OSError:
                return


class Worker:
    """Threads around one model: this one receives, one tokenises, some compute."""

    def __init__(self, channel: Channel, engine: Engine, tokenizing: Tokenizing, options: RunOptions) -> None:
        self._channel = channel
        self._engine = engine
        self._tokenizing = tokenizing
        self._scheduler = Scheduler(options.batch_tokens)
        self._progress = Progress()
        self._texts: list[tuple[bool, int, Job, list[str], int]] = []
        self._number = 0
        self._open = True
        self._arrived = threading.Condition()
        self._computing = [
            threading.Thread(target=self._compute, name=f"compute-{number}", daemon=True)
            for number in range(options.threads)
        ]
        self._tokenizer = threading.Thread(target=self._tokenize, name="tokenize", daemon=True)

    def serve(self) -> None:
        """Serve until told to stop, and finish what is queued then."""
        threading.excepthook = _end  # a worker that lacks a thread would take requests and never answer
        for thread in (self._tokenizer, *self._computing):
            thread.start()
        while True:
            message = self._channel.receive()
            if message is None:
                os._exit(0)  # the service is gone, and with it everybody who waits
            if isinstance(message, Embed):
                self._accept(message)
            elif isinstance(message, Cancel):
                self._scheduler.drop(message.id)
            elif isinstance(message, Ping):
                self._channel.send(Pong(self._progress.longest()))
            elif isinstance(message, Stop):
                break
        with self._arrived:
            self._open = False
            self._arrived.notify()
        self._tokenizer.join()
        self._scheduler.close()
        for thread in self._computing:
            thread.join()

    def _accept(self, message: Embed) -> None:
        job = self._scheduler.job(message.id, len(message.texts), urgent=message.urgent, timeout=message.timeout)
        self._push(job, message.texts, 0)

    def _push(self, job: Job, texts: list[str], start: int) -> None:
        with self._arrived:
            self._number += 1
            heapq.heappush(self._texts, (not job.urgent, self._number, job, texts, start))
            self._arrived.notify()

    def _tokenize(self) -> None:
        while True:
            with self._arrived:
                while not self._texts:
                    if not self._open:
                        return
                    self._arrived.wait()
                _, _, job, texts, start = heapq.heappop(self._texts)
            if job.dropped:
                continue
            stop = _slice_end(texts, start)
            try:
                with self._progress.piece():
                    ids, cut = self._tokenizing.encode(texts[start:stop])
            except BaseException as fault:  # noqa: BLE001 - the library panics with a BaseException of its own
                self._fail(job, f"the texts cannot be tokenised: {fault}")
                continue
            job.truncated += cut
            items = [Item(job, start + place, one) for place, one in enumerate(ids) if one]
            for place, one in enumerate(ids):
                job.lengths[start + place] = len(one)
            if len(items) < len(ids) or not texts:  # a text without a single token has the embedding of nothing
                self._done(job, len(ids) - len(items))
            self._scheduler.add(items)
            if stop < len(texts):
                self._push(job, texts, stop)

    def _compute(self) -> None:
        while (batch := self._scheduler.next_batch()) is not None:
            try:
                rows = self._run(batch)
            except Exception as fault:  # noqa: BLE001 - whatever the engine raises fails its requests, not the worker
                self._one_by_one(batch, fault)
                continue
            for item, row in zip(batch, rows, strict=True):
                item.job.results[item.position] = row
            for job in {id(item.job): item.job for item in batch}.values():
                self._done(job, sum(1 for item in batch if item.job is job))

    def _run(self, batch: list[Item]) -> Rows:
        with self._progress.piece():
            return self._engine.run([item.ids for item in batch])

    def _one_by_one(self, batch: list[Item], fault: Exception) -> None:
        """Find the text that made a batch fail, so that its neighbours do not fail with it."""
        if len(batch) == 1:
            (item,) = batch
            self._fail(item.job, fault.reason if isinstance(fault, MLCommonsError) else str(fault))
            return
        for item in batch:
            if item.job.dropped:
                continue
            try:
                item.job.results[item.position] = self._run([item])[0]
            except Exception as own:  # noqa: BLE001
                self._one_by_one([item], own)
            else:
                self._done(item.job, 1)

    def _done(self, job: Job, texts: int) -> None:
        with self._arrived:
            job.left -= texts
            ended = job.left == 0
        if not ended or not self._scheduler.finish(job):
            return
        nothing = np.zeros(self._engine.dimension, np.float32)
        rows = np.stack([nothing if row is None else row for row in job.results or [nothing]])[: job.count]
        now = time.monotonic()
        begun = now if job.begun is None else job.begun
        answer = Embedded(
            id=job.id,
            dimension=self._engine.dimension,
            tokens=job.lengths,
            truncated=job.truncated,
            queued=begun - job.arrived,
            computed=now - begun,
            rss=resident_bytes(),
        )
        self._channel.send(answer, rows.astype("<f4", copy=False).tobytes())

    def _fail(self, job: Job, reason: str) -> None:
        waited_for = self._scheduler.finish(job)
        job.dropped = True
        if waited_for:
            self._channel.send(Failed(id=job.id, reason=reason))


def _slice_end(texts: list[str], start: int) -> int:
    """Return where the slice that begins at a place ends: after one text at least."""
    stop, characters = start, 0
    while stop < min(len(texts), start + SLICE) and (
        stop == start or characters + len(texts[stop]) <= SLICE_CHARACTERS
    ):
        characters += len(texts[stop])
        stop += 1
    return stop


def _end(failure: threading.ExceptHookArgs) -> None:
    sys.excepthook(failure.exc_type, failure.exc_value or failure.exc_type(), failure.exc_traceback)
    os._exit(1)


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _settle() -> None:
    """Tie the process to its parent, leave signals to it, and keep the memory of activations."""
    # They come and go with every batch: mapped and unmapped each time, they cost page faults by the thousand.
    malloc.tune(mapped_from=64 << 20)
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides


def main(arguments: list[str]) -> None:
    """Load the model and serve."""
    _settle()
    channel = Channel(socket.socket(fileno=int(arguments[0])))
    load = channel.receive()
    if not isinstance(load, Load):  # nobody needs it any more
        return
    directory, options = Path(load.directory), RunOptions.from_text(load.options)
    try:
        manifest = Manifest.read(directory)
        tokenizing = Tokenizing(directory, manifest, options.max_length)
        engine = Encoder(directory, manifest, options)
        engine.run([ids for ids in tokenizing.encode(["", "a self-test"])[0] if ids])
    except MLCommonsError as fault:
        channel.send(Failed(0, fault.reason, fault.type, fault.status))
        sys.exit(1)
    except Exception as fault:  # noqa: BLE001 - the service says it to whoever deploys
        channel.send(Failed(0, f"{type(fault).__name__}: {fault}"))
        sys.exit(1)
    channel.send(Ready(engine.dimension, engine.compute_type, resident_bytes()))
    Worker(channel, engine, tokenizing, options).serve()


if __name__ == "__main__":
    main(sys.argv[1:])

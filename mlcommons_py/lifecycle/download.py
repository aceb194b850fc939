"""Fetching an archive from a URL, within bounds, from addresses that the operator trusts only."""

import asyncio
import hashlib
import re
import shutil
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpcore

from mlcommons_py.errors import IllegalArgument, InvalidModel
from mlcommons_py.lifecycle.outgoing import CheckedBackend
from mlcommons_py.models.documents import MAX_MODEL_SIZE
from mlcommons_py.plugin_settings import PluginSettings

IDLE_SECONDS = 30.0
TOTAL_SECONDS = 3600.0
_FAULTS = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


def check_url(url: str, settings: PluginSettings, model_root: Path | None) -> None:
    """Refuse a URL that may not be fetched; the address it leads to is checked when it is.

    Raises:
        IllegalArgument: URLs are switched off, or this one is not trusted.
    """
    if not settings["allow_registering_model_via_url"]:
        raise IllegalArgument(
            "To upload custom model user needs to enable allow_registering_model_via_url settings."
            " Otherwise please use OpenSearch pre-trained models."
        )
    if not re.fullmatch(settings["trusted_url_regex"], url):
        raise IllegalArgument("URL can't match trusted url regex")
    try:
        parts = urlsplit(url)
        scheme, _ = parts.scheme.lower(), parts.port
    except ValueError as fault:
        raise IllegalArgument(f"[url] {url} is no URL: {fault}") from fault
    if scheme == "file":
        local_file(url, model_root)
    elif scheme not in ("http", "https"):
        raise IllegalArgument(f"[url] has the scheme [{scheme}]; http, https and file can be fetched")


def local_file(url: str, model_root: Path | None) -> Path:
    """Return the file that a ``file:`` URL names.

    Raises:
        IllegalArgument: it is not within the directory that the operator opened.
    """
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise IllegalArgument(f"[url] {url} names another host; a file URL looks like file:///directory/model.zip")
    if model_root is None:
        raise IllegalArgument("[url] names a local file; start the service with --model-root DIR to allow those in DIR")
    try:
        path = Path(unquote(parts.path)).resolve()
        inside, is_file = path.is_relative_to(model_root.resolve()), path.is_file()
    except (OSError, RuntimeError, ValueError) as fault:  # a NUL, a name that is too long, links in a circle
        raise IllegalArgument(f"[url] {url} is no file: {fault}") from fault
    if not inside:
        raise IllegalArgument(f"[url] {url} is outside the directory that --model-root opens")
    if not is_file:
        raise IllegalArgument(f"[url] {url} is no file")
    return path


async def fetch(url: str, target: Path, settings: PluginSettings, model_root: Path | None) -> tuple[int, str]:
    """Write what a URL holds into a file; return its size and its SHA-256.

    Raises:
        IllegalArgument: the URL, or the address behind it, is not trusted.
        InvalidModel: it cannot be fetched, is empty or too long, or takes too long.
    """
    if urlsplit(url).scheme.lower() == "file":
        source = await asyncio.to_thread(local_file, url, model_root)
        await asyncio.to_thread(shutil.copyfile, source, target)
    else:
        await _download(url, target, private=settings["connector.private_ip_enabled"])
    return await asyncio.to_thread(_measure, target)


async def _download(url: str, target: Path, *, private: bool) -> None:
    until = time.monotonic() + TOTAL_SECONDS
    waits = {"connect": IDLE_SECONDS, "read": IDLE_SECONDS, "write": IDLE_SECONDS, "pool": IDLE_SECONDS}
    try:
        async with (
            httpcore.AsyncConnectionPool(network_backend=CheckedBackend(private=private)) as pool,
            pool.stream("GET", url, extensions={"timeout": waits}) as answer,
        ):
            if answer.status != 200:
                raise InvalidModel(f"cannot fetch {url}: it answers with status {answer.status}")
            size = 0
            with await asyncio.to_thread(target.open, "wb") as file:
                async for block in answer.aiter_stream():
                    size += len(block)
                    if size > MAX_MODEL_SIZE:
                        raise InvalidModel(f"cannot fetch {url}: it is longer than {MAX_MODEL_SIZE} bytes")
                    if time.monotonic() > until:
                        raise InvalidModel(f"cannot fetch {url}: it takes longer than {TOTAL_SECONDS:.0f} s")
                    await asyncio.to_thread(file.write, block)
    except _FAULTS as fault:
        raise InvalidModel(f"cannot fetch {url}: {type(fault).__name__}: {fault}") from fault


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    if size == 0:
        raise InvalidModel("the URL holds nothing")
    return size, digest

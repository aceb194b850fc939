"""What a call to a provider costs: through the service, and through the real ML Commons, beside calling it directly.

::

    python -m benchmarks.remote [--seconds 5] [--delays 0 20 200] [--clients 1 16 256]
    python -m benchmarks.remote --sides direct service ml-commons
    python -m benchmarks.remote --api-servers 4
    python -m benchmarks.remote --leaks

The provider is a process on the loopback that answers after a pause, and so is each side but ``direct``, which is the
HTTP client alone, and ``transport``, which is the service's part that speaks to providers, in this process. The sides
take turns within each cell, and the better of ``--rounds`` counts. The last column is the CPU time of a request in the
service's processes, and for the other sides in this one. ``--leaks`` makes 10,000 calls over 50 connectors and shows
descriptors and memory.
"""

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
import orjson
import uvloop

from benchmarks.cpu import used
from benchmarks.provider import provider
from mlcommons_py.plugin_settings import PREFIX, PluginSettings
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.exchange import Outgoing
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from scripts.opensearch import running as opensearch
from tests.e2e.api import Api
from tests.e2e.service import running

TEXTS = ["a text of about as many words as a search has"]
BODY = orjson.dumps({"model": "fake", "input": TEXTS})
ASKED = orjson.dumps({"text_docs": TEXTS})
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer key"}
JSON = {"Content-Type": "application/json"}
SIDES = ("direct", "transport", "service", "ml-commons")
ML = "/_plugins/_ml"
OPEN = {
    f"{PREFIX}connector.private_ip_enabled": True,
    f"{PREFIX}trusted_connector_endpoints_regex": ["^http://127[.].*$"],
    f"{PREFIX}only_run_on_ml_node": False,
    f"{PREFIX}jvm_heap_memory_threshold": 100,
    f"{PREFIX}disk_free_space_threshold": "-1",
}
CONNECTORS = 50
CALLS = 10_000

Call = Callable[[], Awaitable[int]]
"""Makes one request; returns the length of its answer."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What some clients came to in some seconds.

    Attributes:
        rate: requests a second.
        p50, p99: of the latencies, in milliseconds.
        cpu: milliseconds of CPU time that a request took in the service's processes, or in this one.
    """

    rate: float
    p50: float
    p99: float
    cpu: float


async def measure(call: Call, clients: int, seconds: float, pid: int | None) -> Cell:
    """Return what so many clients come to, each of which calls again as soon as it is answered."""
    latencies: list[float] = []
    had = used(pid)
    began = time.perf_counter()

    async def client() -> None:
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            if await call() < 1000:
                raise RuntimeError("the answer is too short")
            latencies.append(time.perf_counter() - sent)

    await asyncio.gather(*(client() for _ in range(clients)))
    took = time.perf_counter() - began
    cpu = (used(pid) - had) / len(latencies)
    latencies.sort()
    last = len(latencies) - 1
    return Cell(
        len(latencies) / took, 1e3 * latencies[len(latencies) // 2], 1e3 * latencies[min(last, int(last * 0.99))], cpu
    )


def transport_to(private: str = "127.0.0.0/8") -> Transport:
    """Return the service's transport, which may call the loopback."""
    settings = PluginSettings({f"{PREFIX}trusted_connector_endpoints_regex": ["^http://127[.].*$"]})
    return Transport(Trust(settings, private), settings)


def model_at(base: str, provider_url: str) -> str:
    """Make whoever speaks ML Commons' API under a URL call the provider; return the URL to predict at."""
    api = Api(httpx.Client(base_url=base, timeout=60))
    answer = api.http.put("/_cluster/settings", json={"persistent": OPEN})
    assert answer.status_code == 200, answer.text
    action = {
        "action_type": "predict",
        "method": "POST",
        "url": provider_url,
        "headers": {"Authorization": "Bearer ${credential.key}"},
        "request_body": '{ "model": "${parameters.model}", "input": ${parameters.input} }',
        "pre_process_function": "connector.pre_process.openai.embedding",
        "post_process_function": "connector.post_process.openai.embedding",
    }
    connector = {
        "name": "embeddings",
        "version": 1,
        "description": "a fake",
        "protocol": "http",
        "parameters": {"model": "fake"},
        "credential": {"key": "key"},
        "client_config": {"max_connection": 512},
        "actions": [action],
    }
    connector_id = api.ml("POST", "/connectors/_create", json=connector)["connector_id"]
    body = {"name": provider_url, "function_name": "remote", "connector_id": connector_id}
    model_id = api.ml("POST", "/models/_register?deploy=true", json=body)["model_id"]
    path = f"{ML}/_predict/text_embedding/{model_id}"
    for _ in range(100):
        if api.http.post(path, content=ASKED, headers=JSON).status_code == 200:
            return base + path
        time.sleep(0.1)
    raise RuntimeError(f"{base} does not call the provider: {api.http.post(path, content=ASKED, headers=JSON).text}")


async def compare(
    urls: dict[str, str], pids: dict[str, int], clients: int, seconds: float, rounds: int
) -> dict[str, Cell]:
    """Return the better cell of each side; ``urls`` are where each is called, ``pids`` the service's process."""
    transport = transport_to()
    config = ClientConfig(max_connection=clients)
    outgoing = Outgoing("POST", urls["direct"], HEADERS, BODY)

    async def through() -> int:
        return len((await transport.send(outgoing, config, model_id="m")).body)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        def asks(url: str, body: bytes) -> Call:
            async def ask() -> int:
                async with session.post(url, data=body, headers=HEADERS) as answer:
                    content = await answer.read()
                    if answer.status != 200:
                        raise RuntimeError(f"{url}: {content[:500]!r}")
                    return len(content)

            return ask

        calls = {
            side: through if side == "transport" else asks(url, BODY if side == "direct" else ASKED)
            for side, url in urls.items()
        }
        best: dict[str, Cell] = {}
        for _ in range(rounds):
            for side, call in calls.items():
                pid = pids.get(side)
                await measure(call, clients, 0.3, pid)
                cell = await measure(call, clients, seconds, pid)
                if side not in best or cell.rate > best[side].rate:
                    best[side] = cell
    await transport.close()
    return best


def _held() -> tuple[int, float]:
    """Return the open descriptors and the resident megabytes of this process."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
    return len([*Path("/proc/self/fd").iterdir()]), resident


async def leaks(port: int) -> None:
    """Make many calls over many connectors, and show what this process holds meanwhile."""
    transport = transport_to()
    before = _held()
    print(f"{'calls':>8} {'descriptors':>12} {'MB':>8}\n{0:8} {before[0]:12} {before[1]:8.1f}")
    for turn in range(4 * CALLS // 1000):
        if turn == CALLS // 1000:
            print("and as many three times more:")

        async def calls(connector: int) -> None:
            url = f"http://127.0.1.{connector + 1}:{port}/v1/embeddings"
            for _ in range(1000 // CONNECTORS):
                await transport.send(Outgoing("POST", url, HEADERS, BODY), ClientConfig(), model_id=f"m{connector}")

        await asyncio.gather(*(calls(connector) for connector in range(CONNECTORS)))
        if turn % 5 == 4:
            descriptors, resident = _held()
            print(f"{(turn + 1) * 1000:8} {descriptors:12} {resident:8.1f}")
    await transport.close()
    descriptors, resident = _held()
    print(f"{'closed':>8} {descriptors:12} {resident:8.1f}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--delays", type=int, nargs="+", default=[0, 20, 200], help="milliseconds")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--sides", nargs="+", default=["direct", "transport", "service"], choices=SIDES)
    parser.add_argument("--api-servers", type=int, default=1, help="processes of the service that serve HTTP")
    parser.add_argument("--leaks", action="store_true")
    given = parser.parse_args()
    if given.leaks:
        with provider(0) as port:
            uvloop.run(leaks(port))
        return
    with ExitStack() as stack:
        bases: dict[str, str] = {}
        pids: dict[str, int] = {}
        if "service" in given.sides:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            flags = ("--api-servers", str(given.api_servers))
            service = stack.enter_context(running(data, flags=flags))
            bases["service"], pids["service"] = str(service.http.base_url), service.pid
        if "ml-commons" in given.sides:
            bases["ml-commons"] = stack.enter_context(opensearch(flavour="ml", heap="1g", measured=True)).url
        table(bases, pids, given)


def table(bases: dict[str, str], pids: dict[str, int], given: argparse.Namespace) -> None:
    """Measure every cell, and print it."""
    print("after ms  clients             requests/s   p50 ms   p99 ms     +p50  share   CPU ms")
    for delay in given.delays:
        with provider(delay) as port:
            url = f"http://127.0.0.1:{port}/v1/embeddings"
            urls = {side: model_at(bases[side], url) if side in bases else url for side in ("direct", *given.sides)}
            for clients in given.clients:
                cells = uvloop.run(compare(urls, pids, clients, given.seconds, given.rounds))
                show(delay, clients, cells)


def show(delay: int, clients: int, cells: dict[str, Cell]) -> None:
    """Print the sides of one cell."""
    for name, cell in cells.items():
        added, share = cell.p50 - cells["direct"].p50, cell.rate / cells["direct"].rate
        print(
            f"{delay:8} {clients:8} {name:10} {cell.rate:11.0f} {cell.p50:8.2f} {cell.p99:8.2f}"
            f" {added:8.2f} {share:6.2f} {cell.cpu:8.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""What the way through the service costs: the same requests to an OpenSearch directly and through, in turns.

    scripts/opensearch --port 9250 --heap 1g &
    mlcommons serve --port 9251 --store http://127.0.0.1:9250 &
    python -m benchmarks.gateway http://127.0.0.1:9250 http://127.0.0.1:9251 --pid $!

Further URLs are other ways to the same cluster. A proxy in C, such as HAProxy with ``server os 127.0.0.1:9250`` and
``nbthread 1``, shows what of the cost is the further hop, on this machine, whoever makes it.

Each round measures every way for a few seconds, or by one request each where a request is long, so that whatever else
the machine does meets them all. Requests/s are the median over rounds; the ratio is that of each round's pair, its
median. With a process id for each way the last column is the CPU time that a request costs it, in milliseconds: it
depends less than rates on what else the machine does.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
import orjson

from benchmarks.cpu import used

INDEX = "gateway-benchmark"
WORDS = "river stone morning letter garden window silver thunder paper bridge winter candle harbor meadow".split()


@dataclass(frozen=True)
class Work:
    """One kind of request.

    Attributes:
        most_clients: no more than so many send it at once.
        count: how many each client sends in a turn; 0 where it sends for as long as the turn lasts.
    """

    name: str
    method: str
    path: str
    bodies: tuple[bytes | None, ...]
    content_type: str = "application/json"
    most_clients: int = 1000
    count: int = 0


@dataclass
class Measured:
    """What one way gave for one kind of request."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0

    def at(self, part: float) -> float:
        """Return a quantile of the latency, in milliseconds."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def text(number: int, words: int) -> str:
    """Return a text that is another for each number."""
    return " ".join(WORDS[(number * 7 + at * (1 + number % 5)) % len(WORDS)] for at in range(words))


def bulk(documents: int, words: int, start: int) -> bytes:
    """Return a body of ``_bulk`` that writes so many documents."""
    lines = []
    for number in range(start, start + documents):
        lines.append(orjson.dumps({"index": {"_id": str(number)}}))
        lines.append(orjson.dumps({"text": text(number, words), "number": number}))
    return b"\n".join(lines) + b"\n"


def works() -> list[Work]:
    """Return what is measured."""
    searches = tuple(orjson.dumps({"query": {"match": {"text": f"{a} {b}"}}}) for a, b in itertools.pairwise(WORDS))
    large = bulk(32_000, 240, 0)
    large = large[: large.rindex(b"\n", 0, min(len(large), 50_000_000)) + 1]
    # A cut in the middle of a pair would leave an action without its document.
    large = large if large.count(b"\n") % 2 == 0 else large[: large.rindex(b"\n", 0, len(large) - 1) + 1]
    return [
        Work("GET _doc", "GET", f"/{INDEX}/_doc/7", (None,)),
        Work("match search", "POST", f"/{INDEX}/_search", searches),
        Work(
            "_bulk of 1,000",
            "POST",
            f"/{INDEX}-bulk/_bulk",
            (bulk(1000, 8, 0),),
            "application/x-ndjson",
            most_clients=16,
        ),
        Work(
            f"_bulk of {len(large) / 1e6:.0f} MB",
            "POST",
            f"/{INDEX}-large/_bulk",
            (large,),
            "application/x-ndjson",
            most_clients=1,
            count=1,
        ),
    ]


async def load(session: aiohttp.ClientSession, url: str, work: Work, clients: int, seconds: float) -> list[float]:
    """Send requests from so many clients, a number of them or for so long; return how long each took."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    bodies = itertools.cycle(work.bodies)

    async def client() -> None:
        sent = 0
        while sent < work.count if work.count else time.perf_counter() < end:
            began = time.perf_counter()
            headers = {"content-type": work.content_type} if work.bodies[0] is not None else {}
            async with session.request(work.method, url + work.path, data=next(bodies), headers=headers) as answer:
                body = await answer.read()
                if answer.status == 429:  # the cluster's memory is short: its affair, and neither way's
                    await asyncio.sleep(0.5)
                    continue
                assert answer.status in (200, 201), body[:500]
                assert work.method == "GET" or b'"errors":true' not in body[:200], body[:500]
            took.append(time.perf_counter() - began)
            sent += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return took


async def measure(
    urls: Sequence[str], work: Work, clients: int, rounds: int, seconds: float, pids: Sequence[int | None]
) -> list[Measured]:
    """Measure all ways in turns; who begins changes with each round."""
    found = [Measured() for _ in urls]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for url in urls:
            await load(session, url, work, clients, seconds / 4)
        for turn in range(rounds):
            for way in range(len(urls)) if turn % 2 == 0 else reversed(range(len(urls))):
                began, had = time.perf_counter(), used(pids[way])
                took = await load(session, urls[way], work, clients, seconds)
                busy = sum(took) / clients if work.count else time.perf_counter() - began
                found[way].rates.append(len(took) / busy)
                found[way].seconds += took
                found[way].cpu += used(pids[way]) - had
    return found


async def prepare(url: str) -> None:
    """Write the documents that are read and searched."""
    async with aiohttp.ClientSession() as session:
        await session.delete(f"{url}/{INDEX}*")
        headers = {"content-type": "application/x-ndjson"}
        async with session.post(f"{url}/{INDEX}/_bulk?refresh=true", data=bulk(5000, 20, 0), headers=headers) as answer:
            assert not (await answer.json())["errors"]


async def empty(url: str) -> None:
    """Delete what was written: segments left to merge, and a heap of them, would slow what follows."""
    async with aiohttp.ClientSession() as session:
        await session.delete(f"{url}/{INDEX}-*")


def row(work: Work, clients: int, url: str, direct: Measured, through: Measured) -> dict[str, object]:
    """Return the numbers of one line."""
    return {
        "request": work.name,
        "through": url,
        "clients": clients,
        "direct_per_s": round(statistics.median(direct.rates), 1),
        "through_per_s": round(statistics.median(through.rates), 1),
        "ratio": round(statistics.median(b / a for a, b in zip(direct.rates, through.rates, strict=True)), 3),
        "direct_p50_ms": round(direct.at(0.5), 2),
        "added_p50_ms": round(through.at(0.5) - direct.at(0.5), 2),
        "added_p99_ms": round(through.at(0.99) - direct.at(0.99), 2),
        "cpu_ms": round(through.cpu / len(through.seconds), 3),
    }


async def run(options: argparse.Namespace) -> None:
    """Measure everything and print a table."""
    urls = (options.direct, *options.through)
    pids = (None, *(options.pid or ()), *[None] * len(urls))
    await prepare(options.direct)
    rows = []
    print(
        f"{'':16}{'clients':>8}{'direct/s':>10}  {'through':24}{'/s':>8}{'ratio':>7}{'p50 ms':>8}{'+p50':>7}{'+p99':>7}"
        f"{'cpu':>8}"
    )
    for work in works():
        for clients in options.clients:
            if clients > work.most_clients:
                continue
            await empty(options.direct)
            direct, *ways = await measure(urls, work, clients, options.rounds, options.seconds, pids)
            for url, pid, through in zip(options.through, pids[1:], ways, strict=False):
                one = row(work, clients, url, direct, through)
                rows.append(one)
                print(
                    f"{one['request']:16}{clients:>8}{one['direct_per_s']:>10}  {url:24}{one['through_per_s']:>8}"
                    f"{one['ratio']:>7}{one['direct_p50_ms']:>8}{one['added_p50_ms']:>7}{one['added_p99_ms']:>7}"
                    f"{one['cpu_ms'] if pid else '':>8}",
                    flush=True,
                )
    if options.json:
        print(json.dumps(rows))
    async with aiohttp.ClientSession() as session:
        await session.delete(f"{options.direct}/{INDEX}*")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("direct", help="the cluster, such as http://127.0.0.1:9200")
    parser.add_argument("through", nargs="+", help="the service before it, such as http://127.0.0.1:9201")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each way is measured in a round")
    parser.add_argument("--pid", type=int, nargs="+", help="the process of each way, whose CPU time is shown")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON, too")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()

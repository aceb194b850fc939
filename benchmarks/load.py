"""A client that costs little: keep-alive connections, requests encoded beforehand, answers counted and not parsed."""

import asyncio
import time
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run of requests came to.

    Attributes:
        rate: texts a second.
        p50, p99: of the requests' latencies, in milliseconds; of fewer than 100 requests ``p99`` is the slowest.
    """

    rate: float
    p50: float
    p99: float
    requests: int


def requests(path: str, texts: list[str], each: int) -> list[bytes]:
    """Return the HTTP requests that embed texts, so many in each."""
    encoded = []
    for start in range(0, len(texts), each):
        body = orjson.dumps({"text_docs": texts[start : start + each], "target_response": ["sentence_embedding"]})
        head = (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        encoded.append(head.encode() + body)
    return encoded


async def run(port: int, encoded: list[bytes], each: int, clients: int, seconds: float) -> Measured:
    """Send requests over so many connections for so many seconds."""
    latencies: list[float] = []
    following = iter(range(1 << 62))
    began = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            writer.write(encoded[next(following) % len(encoded)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b" 200 " not in head.split(b"\r\n")[0] or body.count(b'"sentence_embedding"') != each:
                raise RuntimeError(f"unexpected answer: {head!r} {body[:300]!r}")
            latencies.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    took = time.perf_counter() - began
    latencies.sort()
    return Measured(
        rate=len(latencies) * each / took,
        p50=1e3 * latencies[len(latencies) // 2],
        p99=1e3 * latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
        requests=len(latencies),
    )

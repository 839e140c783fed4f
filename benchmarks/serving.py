"""`python benchmarks/serving.py [--soak-s 300] [--output FILE.json]`: the services under load, by real HTTP.

Starts `reranker serve` with the bundled model, and asks it as clients do: feeds that differ from request to
request (a cache passes a test that sends one feed again and again), comments one by one and a hundred at
once, several clients at a time, and all of it together for a while. The floor is the same server's answer to
`/health/live`: what HTTP alone costs here.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from reranker.sample import make_sample

N_POSTS = 100
POST_CHARACTERS = 200
WARM_UP = 5


class Texts:
    """Texts that nobody has seen before, of words as people use them."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        found = " ".join(text for text in make_sample().text.values if text)
        self._words = np.array(found.split())  # as often as they are used

    def one(self, characters: int = POST_CHARACTERS) -> str:
        """About so many characters."""
        words: list[str] = []
        size = 0
        while size < characters:
            words.append(str(self._rng.choice(self._words)))
            size += len(words[-1]) + 1
        return " ".join(words)

    def feed(self) -> dict[str, Any]:
        """A request of the ranking contest, with 100 posts."""
        items = [
            {
                "id": f"p{self._rng.integers(1 << 60)}",
                "text": self.one(),
                "author_name_hash": f"a{self._rng.integers(40)}",
                "type": "post",
                "embedded_urls": [],
                "created_at": "2026-11-01T12:00:00Z",
                "engagements": {
                    kind: int(self._rng.integers(80))
                    for kind in ("like", "love", "care", "haha", "wow", "sad", "angry", "comment", "share")
                },
            }
            for _ in range(N_POSTS)
        ]
        session = {
            "session_id": "s",
            "user_id": "u",
            "user_name_hash": "h",
            "platform": "facebook",
            "url": "https://www.example.com/feed",
            "current_time": "2026-11-01T12:30:00Z",
        }
        return {"session": session, "items": items}

    def comment(self) -> dict[str, Any]:
        """A request of the scoring contract."""
        attributes: dict[str, dict[str, Any]] = {"TOXICITY": {}, "INSULT": {}, "THREAT": {}}
        return {"comment": {"text": self.one(120)}, "requestedAttributes": attributes, "languages": ["en"]}


class Server:
    """A server of its own process and port."""

    def __init__(self, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        command = [
            str(Path(sys.executable).with_name("reranker")),
            "serve",
            "--port",
            str(self.port),
            *options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Server":
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5):
                    return self
            except OSError:
                pass
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with {self.process.returncode}")
            time.sleep(0.5)
        raise SystemExit("the server did not get ready within 120 s")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)

    def resident_mb(self) -> float:
        """Memory of the server and its children, in MB of 10^6 bytes."""
        pages = 0
        for pid in [self.process.pid, *_children(self.process.pid)]:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


Call = Callable[[], Awaitable[tuple[int, bytes]]]


def client(server: "Server") -> aiohttp.ClientSession:
    """Connections as the client of a service keeps them.

    Not httpx: with a hundred requests at once it takes more of the processor than the server does, and what
    is measured is then how slowly they are sent.
    """
    return aiohttp.ClientSession(
        server.url, timeout=aiohttp.ClientTimeout(60), connector=aiohttp.TCPConnector(limit=200)
    )


def get(http: aiohttp.ClientSession, path: str) -> Call:
    """A request for a page."""

    async def call() -> tuple[int, bytes]:
        async with http.get(path) as answer:
            return answer.status, await answer.read()

    return call


def post(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> Call:
    """A request with a body of JSON, which is made before it is sent."""
    data = json.dumps(body).encode()

    async def call() -> tuple[int, bytes]:
        async with http.post(path, data=data, headers={"Content-Type": "application/json"}) as answer:
            return answer.status, await answer.read()

    return call


async def timed(call: Call) -> tuple[float, bool, bool]:
    """Milliseconds, whether it was answered well, and whether the answer was degraded."""
    began = time.perf_counter()
    try:
        status, content = await call()
    except (aiohttp.ClientError, TimeoutError):
        return 1e3 * (time.perf_counter() - began), False, False
    took = 1e3 * (time.perf_counter() - began)
    return took, status == 200, b'"degraded":"' in content


def row(name: str, found: list[tuple[float, bool, bool]], wall_s: float, asked: str) -> dict[str, Any]:
    """One line of the table."""
    ms = np.array([one[0] for one in found])
    return {
        "what": name,
        "n": len(found),
        "p50_ms": round(float(np.median(ms)), 1),
        "p95_ms": round(float(np.quantile(ms, 0.95)), 1),
        "max_ms": round(float(ms.max()), 1),
        "per_s": round(len(found) / wall_s, 1),
        "errors": sum(not one[1] for one in found),
        "degraded": sum(one[2] for one in found),
        "asked": asked,
    }


async def in_turn(name: str, calls: list[Call], asked: str) -> dict[str, Any]:
    """One request after another."""
    began = time.perf_counter()
    found = [await timed(call) for call in calls]
    return row(name, found, time.perf_counter() - began, asked)


async def by_clients(name: str, calls: list[Call], n_clients: int, asked: str) -> dict[str, Any]:
    """So many clients, each with one request after another."""
    waiting = list(calls)
    found: list[tuple[float, bool, bool]] = []

    async def caller() -> None:
        while waiting:
            found.append(await timed(waiting.pop()))

    began = time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(n_clients)])
    return row(name, found, time.perf_counter() - began, asked)


async def measure(server: Server, texts: Texts, n: int) -> list[dict[str, Any]]:
    """The table, line by line."""
    async with client(server) as http:

        def rank(body: dict[str, Any]) -> Call:
            return post(http, "/rank", body)

        def analyze(body: dict[str, Any]) -> Call:
            return post(http, "/v1alpha1/comments:analyze", body)

        for _ in range(WARM_UP):
            await rank(texts.feed())()
            await analyze(texts.comment())()
        lines = [await in_turn("/health/live (floor)", [get(http, "/health/live")] * 200, "")]
        cold = [rank(texts.feed()) for _ in range(n)]
        lines.append(await in_turn("/rank, 100 posts, cold", cold, "p95 < 500, target 200"))
        lines.append(await in_turn("/rank, the same feeds, warm", cold, "p95 < 15"))
        alone = [analyze(texts.comment()) for _ in range(3 * n)]
        lines.append(await in_turn("comments:analyze", alone, "p95 < 100"))
        bursts = []
        for _ in range(10):
            burst = [analyze(texts.comment()) for _ in range(100)]
            began = time.perf_counter()
            found = await asyncio.gather(*[timed(call) for call in burst])
            bursts.append((1e3 * (time.perf_counter() - began), all(one[1] for one in found), False))
        wall = sum(one[0] for one in bursts) / 1e3
        lines.append(row("100 comments:analyze at once, all answered", bursts, wall, "p95 < 1000"))
        many = [rank(texts.feed()) for _ in range(max(32, n))]
        lines.append(await by_clients("/rank, cold, 16 clients", many, 16, "p95 < 2000, no errors"))
        return lines


async def soak(server: Server, texts: Texts, seconds: float) -> dict[str, Any]:
    """Mixed load for a while: failures, and how memory grew after the first fifth."""
    failures, n, memory = 0, 0, []
    async with client(server) as http:
        began = time.perf_counter()

        async def caller(kind: int) -> None:
            nonlocal failures, n
            while time.perf_counter() - began < seconds:
                if kind == 0:
                    found = await timed(post(http, "/rank", texts.feed()))
                elif kind == 1:
                    found = await timed(post(http, "/v1alpha1/comments:analyze", texts.comment()))
                else:
                    found = await timed(get(http, "/metrics"))
                    await asyncio.sleep(0.5)
                n += 1
                failures += not found[1]

        async def watch() -> None:
            while time.perf_counter() - began < seconds:
                memory.append(server.resident_mb())
                await asyncio.sleep(max(1.0, seconds / 100))

        await asyncio.gather(watch(), *[caller(kind) for kind in (0, 0, 1, 1, 1, 1, 2)])
    after = memory[len(memory) // 5 :]
    first, last = np.median(after[: len(after) // 4]), np.median(after[-(len(after) // 4) :])
    return {
        "what": f"soak of {seconds:.0f} s",
        "n": n,
        "errors": failures,
        "memory_mb": [round(float(first), 1), round(float(last), 1)],
        "growth": round(float(last / first - 1), 4),
        "asked": "no errors, growth < 5 %",
    }


def main() -> None:
    """Reads the arguments, starts the server and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=60, help="feeds per measurement")
    parser.add_argument("--soak-s", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", default="default", choices=["default", "fast"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    texts = Texts(arguments.seed)
    with Server("--speed", arguments.speed, "--workers", str(arguments.workers)) as server:
        lines = asyncio.run(measure(server, texts, arguments.n))
        for line in lines:
            print(
                f"{line['what']:45s} n={line['n']:<4d} p50 {line['p50_ms']:8.1f} ms  "
                f"p95 {line['p95_ms']:8.1f} ms  {line['per_s']:8.1f}/s  "
                f"errors {line['errors']}  degraded {line['degraded']}  {line['asked']}"
            )
        if arguments.soak_s:
            lines.append(asyncio.run(soak(server, texts, arguments.soak_s)))
            print(json.dumps(lines[-1]))
    load = os.getloadavg()
    found = {"load": load, "cpus": os.cpu_count(), "lines": lines}
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1))
    print(f"load average {load[0]:.1f}, {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()

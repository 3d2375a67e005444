"""Load for the service, from the same machine: every answer is compared with the model's own, bit for bit.

    python load.py model.lstmfast --streams 10000 --period 5 --seconds 600

Each stream takes a step every `--period` seconds, and starts anew on a new connection after 300 steps. A step's time
counts from the moment it was due, so a step that had to wait for this program or for the service counts as slow. Exits
with 1 if an answer was wrong or missing.
"""

import argparse
import asyncio
import random
import time
from array import array

import aiohttp
import numpy as np

from lstmfast import runtime

SEQUENCES, STEPS = 100, 300


class LiveStream:
    """A stream by its connection."""

    def __init__(self, session, url):
        self.session, self.url = session, url

    async def __aenter__(self):
        self.socket = await self.session.ws_connect(f"{self.url}/live")
        return self

    async def __aexit__(self, *error):
        await self.socket.close()

    async def ask(self, step):
        """The service's answer to a step."""
        await self.socket.send_bytes(step)
        return await self.socket.receive_bytes()


class HTTPStream:
    """A stream by its id, on kept-alive connections."""

    def __init__(self, session, url):
        self.session, self.url = session, url

    async def __aenter__(self):
        async with self.session.post(f"{self.url}/streams") as response:
            response.raise_for_status()
            self.path = f"{self.url}/streams/{(await response.json())['id']}"
        return self

    async def __aexit__(self, *error):
        async with self.session.delete(self.path):
            pass

    async def ask(self, step):
        """The service's answer to a step."""
        headers = {"Content-Type": "application/octet-stream"}
        async with self.session.post(f"{self.path}/step", data=step, headers=headers) as response:
            response.raise_for_status()
            return await response.read()


class Load:
    """Streams, what they asked, and what came back."""

    def __init__(self, model, period):
        X = np.random.default_rng(0).normal(size=(SEQUENCES, STEPS, model.n_features)).astype("<f4")
        Y = model.predict_steps(X).astype("<f4")
        self.talks = [
            [(x.tobytes(), y.tobytes()) for x, y in zip(*pair, strict=True)] for pair in zip(X, Y, strict=True)
        ]
        self.period, self.seconds = period, array("f")
        self.open = self.wrong = 0
        self.errors = []
        self.gate, self.over = asyncio.Semaphore(50), asyncio.Event()

    async def stream(self, make):
        """A stream after the other until it is over."""
        while not self.over.is_set():
            try:
                await self._talk(make())
            except (aiohttp.ClientError, OSError, TypeError, TimeoutError) as error:  # TypeError: not a frame of bytes
                self.errors.append(repr(error))

    async def _talk(self, stream):
        async with self.gate:
            await stream.__aenter__()
        self.open += 1
        due = time.perf_counter() + random.random() * self.period
        try:
            for step, expected in random.choice(self.talks):
                await asyncio.sleep(due - time.perf_counter())
                if self.over.is_set():
                    return
                self.wrong += await stream.ask(step) != expected
                self.seconds.append(time.perf_counter() - due)
                due += self.period
        finally:
            self.open -= 1
            await stream.__aexit__()

    def report(self, since, duration):
        """A line on the steps from number `since` on."""
        p50, p99, worst = np.percentile(np.frombuffer(self.seconds, "f4")[since:], [50, 99, 100]) * 1e3
        n = len(self.seconds) - since
        return (
            f"{self.open} streams, {n} steps, {n / duration:.0f}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, largest "
            f"{worst:.0f} ms, {self.wrong} wrong, {len(self.errors)} errors {sorted(set(self.errors))[:3] or ''}"
        )


async def rss(session, url):
    """Megabytes of the service."""
    async with session.get(f"{url}/metrics") as response:
        return (await response.json())["rss_bytes"] / 1e6


async def run(options):
    """Start all streams, then watch them for the time asked for."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        load = Load(runtime.load(options.model), options.period)
        kind = HTTPStream if options.http else LiveStream
        tasks = [asyncio.create_task(load.stream(lambda: kind(session, options.url))) for _ in range(options.streams)]
        while load.open < options.streams:
            await asyncio.sleep(0.1)
        await asyncio.sleep(options.period)
        first, begun = len(load.seconds), time.perf_counter()
        at_start = await rss(session, options.url)
        while (passed := time.perf_counter() - begun) < options.seconds:
            n, now = len(load.seconds), time.perf_counter()
            await asyncio.sleep(min(30, options.seconds - passed))
            print(f"{await rss(session, options.url):.0f} MB:", load.report(n, time.perf_counter() - now), flush=True)
        print("in all:", load.report(first, time.perf_counter() - begun))
        print(f"memory of the service: {at_start:.1f} MB, at the end {await rss(session, options.url):.1f} MB")
        load.over.set()
        await asyncio.gather(*tasks)
    return load.wrong == 0 and not load.errors


def main():
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="the file that the service serves")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--period", type=float, default=5, help="seconds between the steps of a stream")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--http", action="store_true", help="HTTP in place of WebSocket")
    raise SystemExit(not asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()

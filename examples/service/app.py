"""The service: HTTP and WebSocket around `streams.MicroBatcher`. `create` makes the ASGI application."""

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections import Counter, OrderedDict, deque

import numpy as np
import psutil
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from lstmfast import runtime

from .streams import BusyError, ClosedError, FullError, MicroBatcher, StepError, StreamPool

BINARY, JSON = "application/octet-stream", "application/json"
STATUS = {FullError: 503, BusyError: 409, ClosedError: 404}


def read_step(body, n_features, binary):
    """A step out of a message: n_features float32 numbers, little-endian, or JSON ``{"x": [...]}``.

    Returns
    -------
    x : ndarray of shape (n_features,), float32

    Raises
    ------
    StepError
        If it is anything else, or not finite as float32.
    """
    if binary:
        if len(body) != 4 * n_features:
            raise StepError(f"a step is {n_features} float32 numbers, {4 * n_features} bytes, got {len(body)} bytes")
        x = np.frombuffer(body, "<f4").astype(np.float32, copy=False)
    else:
        try:
            numbers = json.loads(body)["x"]
            if len(numbers) != n_features or not all(type(number) in (int, float) for number in numbers):
                raise ValueError
            with np.errstate(over="ignore"):
                x = np.array(numbers, np.float64).astype(np.float32)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise StepError(f'a step is {{"x": [...]}} with {n_features} numbers') from None
    if not np.isfinite(x).all():
        raise StepError("a step must not hold NaN or infinity, nor numbers too large for float32")
    return x


class Service:
    """Live streams, each known by an id (HTTP) or by its connection (WebSocket).

    Parameters
    ----------
    model : lstmfast.runtime.Model
    capacity : int
        Most streams at once.
    idle_s : float
        Seconds without a step after which a stream is closed.
    """

    def __init__(self, model, capacity, idle_s):
        self.n_features, self.idle_s = model.n_features, idle_s
        self.batcher = MicroBatcher(StreamPool(model, capacity))
        self.about = {"n_features": model.n_features, "classes": np.asarray(getattr(model, "classes", [])).tolist()}
        # A step of JSON numbers with some blanks, whatever the model.
        self.largest_body = 1024 + 32 * model.n_features
        self._rows = OrderedDict()  # id: (row, time of the last step), the longest idle first
        self._statuses, self._seconds = Counter(), deque(maxlen=10_000)

    # ---- HTTP --------------------------------------------------------------------------------------------------------
    async def open(self, request):
        """POST /streams: a new stream."""
        name = secrets.token_urlsafe(12)
        self._rows[name] = self.batcher.pool.open(), time.monotonic()
        return self._counted(JSONResponse(self.about | {"id": name}, 201))

    async def step(self, request):
        """POST /streams/{id}/step: float32 numbers to float32 numbers, or JSON to JSON."""
        started = time.perf_counter()
        kind = request.headers.get("content-type", "").partition(";")[0]
        if kind not in (BINARY, JSON):
            raise HTTPException(415, f"Content-Type must be {BINARY} or {JSON}, got {kind!r}")
        x = read_step(await self._body(request), self.n_features, kind == BINARY)
        row = self._row(request)
        y = await self.batcher.step(row, x)
        self._seconds.append(time.perf_counter() - started)
        if kind == BINARY:
            return self._counted(Response(y.astype("<f4", copy=False).tobytes(), media_type=BINARY))
        return self._counted(JSONResponse({"y": y.tolist()}))

    async def close(self, request):
        """DELETE /streams/{id}"""
        row = self._row(request)
        del self._rows[request.path_params["id"]]
        self.batcher.close(row)
        return self._counted(Response(status_code=204))

    def _row(self, request):
        """The row of the stream that a request names; the stream is no longer idle."""
        name = request.path_params["id"]
        if name not in self._rows:
            raise HTTPException(404, f"no stream {name!r}: it was deleted, or idle for {self.idle_s:g} s, or never was")
        row, _ = self._rows.pop(name)
        self._rows[name] = row, time.monotonic()
        return row

    async def _body(self, request):
        body = bytearray()
        async for chunk in request.stream():  # a length that was announced is not believed
            body += chunk
            if len(body) > self.largest_body:
                raise HTTPException(413, f"a request is at most {self.largest_body} bytes", {"Connection": "close"})
        return bytes(body)

    def expire(self):
        """Close what was idle for too long."""
        oldest = time.monotonic() - self.idle_s
        while self._rows and next(iter(self._rows.values()))[1] < oldest:
            _, (row, _) = self._rows.popitem(last=False)
            self.batcher.close(row)

    # ---- WebSocket ---------------------------------------------------------------------------------------------------
    async def live(self, socket):
        """/live: a stream that lasts as long as its connection. A frame is a step, the answer a frame of its kind."""
        await socket.accept()
        row = None
        try:
            row = self.batcher.pool.open()
            await self._converse(socket, row)
        except WebSocketDisconnect:
            pass
        except FullError as error:
            await socket.close(1013, str(error))
        except TimeoutError:
            await socket.close(1001, f"idle for {self.idle_s:g} s")
        except StepError as error:
            self._statuses[422] += 1
            await socket.close(1007, str(error))
        finally:
            if row is not None:
                self.batcher.close(row)

    async def _converse(self, socket, row):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.idle_s) as idle:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                started = time.perf_counter()
                idle.reschedule(loop.time() + self.idle_s)
                binary = message.get("bytes") is not None
                x = read_step(message["bytes"] if binary else message["text"], self.n_features, binary)
                y = await self.batcher.step(row, x)
                self._seconds.append(time.perf_counter() - started)
                self._statuses[200] += 1
                if binary:
                    await socket.send_bytes(y.astype("<f4", copy=False).tobytes())
                else:
                    await socket.send_text(json.dumps({"y": y.tolist()}))

    # ---- watching ----------------------------------------------------------------------------------------------------
    async def health(self, request):
        """GET /health: 200 as long as the event loop turns."""
        return JSONResponse({"status": "ok", "streams": len(self.batcher.pool), "pid": os.getpid()})

    async def metrics(self, request):
        """GET /metrics: of this process. Times are from a whole request to its answer, of the last 10 000 steps."""
        p50, p99 = np.percentile(self._seconds, [50, 99]) * 1e3 if self._seconds else (None, None)
        batcher = self.batcher
        return JSONResponse({
            "pid": os.getpid(),
            "streams": len(batcher.pool), "capacity": batcher.pool.capacity,
            "responses": {str(status): count for status, count in sorted(self._statuses.items())},
            "steps": batcher.n_steps, "batches": batcher.n_batches,
            "p50_ms": p50, "p99_ms": p99,
            "rss_bytes": psutil.Process().memory_info().rss,
        })  # fmt: skip

    def _counted(self, response):
        self._statuses[response.status_code] += 1
        return response

    async def refuse(self, request, error):
        """An error as JSON."""
        status = error.status_code if isinstance(error, HTTPException) else STATUS.get(type(error), 422)
        message = error.detail if isinstance(error, HTTPException) else str(error)
        return self._counted(JSONResponse({"error": message}, status, getattr(error, "headers", None)))

    # ---- life --------------------------------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def lifespan(self, app):
        """Looks for idle streams as long as the service runs."""
        watch = asyncio.create_task(self._watch())
        yield
        watch.cancel()

    async def _watch(self):
        while True:
            await asyncio.sleep(self.idle_s / 10)
            self.expire()


def create(path=None, capacity=None, idle_s=None):
    """The ASGI application.

    Parameters
    ----------
    path : str or path-like, default=None
        Of a saved model. None: what the environment variable MODEL says.
    capacity : int, default=None
        Most streams at once. None: STREAMS, or 20000.
    idle_s : float, default=None
        Seconds without a step after which a stream is closed. None: IDLE_SECONDS, or 60.

    Returns
    -------
    app : starlette.applications.Starlette

    Raises
    ------
    ValueError
        If there is no path, or the model has no streams of numbers.
    """
    path = os.environ.get("MODEL") if path is None else path
    if not path:
        raise ValueError(
            "no model to serve: set the environment variable MODEL to the path of a file that `save` wrote"
        )
    capacity = int(os.environ.get("STREAMS", 20000)) if capacity is None else capacity
    idle_s = float(os.environ.get("IDLE_SECONDS", 60)) if idle_s is None else idle_s
    service = Service(runtime.load(path), capacity, idle_s)
    return Starlette(
        routes=[
            Route("/streams/{id}/step", service.step, methods=["POST"]),
            Route("/streams", service.open, methods=["POST"]),
            Route("/streams/{id}", service.close, methods=["DELETE"]),
            WebSocketRoute("/live", service.live),
            Route("/health", service.health),
            Route("/metrics", service.metrics),
        ],
        exception_handlers=dict.fromkeys([HTTPException, StepError, *STATUS], service.refuse),
        lifespan=service.lifespan,
    )

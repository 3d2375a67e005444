"""The example service: the model's own bits for every stream, a bounded number of them, errors that say why."""

import asyncio
import contextlib
import functools
import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_processes import ENVIRONMENT
from test_servers import server

from lstmfast import LSTMClassifier, runtime

EXAMPLES = Path(__file__).parents[1] / "examples"
BINARY = {"Content-Type": "application/octet-stream"}
RNG = np.random.default_rng(0)
F = 3
MODELS = {
    "last": {"hidden_layer_sizes": (9, 4)},
    "attention": {"hidden_layer_sizes": (5,), "pooling": "attention", "conv_layers": ((4, 3),)},
    "max": {"hidden_layer_sizes": (17,), "pooling": "max"},
    "identity": {"hidden_layer_sizes": (5,), "activation": "identity"},
    "gru": {"hidden_layer_sizes": (6,), "cell": "gru", "pooling": "mean"},
}


@pytest.fixture(scope="module")
def streams():
    """The module examples/service/streams.py, which needs no web framework."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        from service import streams
    return streams


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function: the path of a saved model of one of the MODELS."""

    @functools.cache
    def save(name="last"):
        path = tmp_path_factory.mktemp("models") / name
        X = RNG.normal(size=(12, 5, F)).astype(np.float32)
        LSTMClassifier(**MODELS[name], max_iter=1, random_state=0).fit(X, ["a", "b", "c"] * 4).save(path)
        return path

    return save


@pytest.fixture
def client(saved):
    """A function: a client of the service with the options given, its lifespan begun, and the model that it serves."""
    testclient = pytest.importorskip("starlette.testclient")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        from service.app import create
    path, clients = saved(), []

    def start(**options):
        clients.append(testclient.TestClient(create(path, **{"capacity": 4, "idle_s": 60} | options)))
        return clients[-1].__enter__(), runtime.load(path)

    yield start
    for one in clients:
        one.__exit__(None, None, None)


def steps(n):
    return RNG.normal(size=(n, F)).astype("<f4")


def run(scene):
    """A coroutine's result; what would wait forever fails."""
    return asyncio.run(asyncio.wait_for(scene, 20))


# ---- streams ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MODELS)
def test_any_streams_that_step_together_get_the_bits_of_streams_of_their_own(streams, saved, name):
    model = runtime.load(saved(name))
    pool = streams.StreamPool(model, 50)
    own = {pool.open(): model.stream() for _ in range(50)}
    for _ in range(60):
        rows = RNG.choice(sorted(own), RNG.integers(1, len(own) + 1), replace=False).tolist()
        x = steps(len(rows))
        expected = [own[row].step(one) for row, one in zip(rows, x, strict=True)]
        assert np.array_equal(pool.step(rows, x), expected)
        pool.close(rows[0])  # a stream that takes a closed one's place starts anew
        del own[rows[0]]
        own[pool.open()] = model.stream()


def test_a_step_too_large_for_the_model_harms_nobody_else(streams, saved):
    model = runtime.load(saved("identity"))
    pool, own = streams.StreamPool(model, 3), model.stream()
    large, other = pool.open(), pool.open()
    refused = False
    for _ in range(20):
        x = steps(2)
        x[0] = 3e38
        answer, good = pool.step([large, other], x)
        assert np.array_equal(good, own.step(x[1]))
        if isinstance(answer, streams.StepError):
            refused = True
            x = steps(2)
            again, good = pool.step([large, other], x)
            assert np.array_equal(again, model.stream().step(x[0]))
            assert np.array_equal(good, own.step(x[1]))
    assert refused


def test_a_pool_is_bounded(streams, saved):
    pool = streams.StreamPool(runtime.load(saved()), 2)
    rows = [pool.open(), pool.open()]
    assert sorted(rows) == [0, 1]
    with pytest.raises(streams.FullError, match="all 2 streams"):
        pool.open()
    pool.close(rows[0])
    assert len(pool) == 1
    assert pool.open() == rows[0]


def test_steps_of_one_turn_are_one_batch(streams, saved):
    model = runtime.load(saved())
    batcher = streams.MicroBatcher(streams.StreamPool(model, 10), largest=4)
    x = steps(10)

    async def turn():
        rows = [batcher.pool.open() for _ in range(10)]
        return await asyncio.gather(*(batcher.step(row, one) for row, one in zip(rows, x, strict=True)))

    answers = run(turn())
    assert np.array_equal(answers, [model.stream().step(one) for one in x])
    assert (batcher.n_steps, batcher.n_batches) == (10, 3)  # 4 + 4 + 2


def test_a_stream_takes_one_step_at_a_time(streams, saved):
    async def scene():
        batcher = streams.MicroBatcher(streams.StreamPool(runtime.load(saved()), 2))
        row, other = batcher.pool.open(), batcher.pool.open()
        answers = [batcher.step(row, steps(1)[0]), batcher.step(other, steps(1)[0])]
        with pytest.raises(streams.BusyError, match="wait for the answer"):
            batcher.step(row, steps(1)[0])
        batcher.close(row)
        return await asyncio.gather(*answers, return_exceptions=True)

    closed, answer = run(scene())
    assert isinstance(closed, streams.ClosedError)
    assert answer.shape == (3,)


def test_a_fault_in_the_model_reaches_every_caller(streams, saved):
    async def scene():
        batcher = streams.MicroBatcher(streams.StreamPool(runtime.load(saved()), 2))
        rows = [batcher.pool.open() for _ in range(2)]
        answers = [batcher.step(row, np.full(F, np.nan, np.float32)) for row in rows]
        failed = await asyncio.gather(*answers, return_exceptions=True)
        return failed, await batcher.step(rows[0], steps(1)[0])

    failed, answer = run(scene())
    assert [type(error) for error in failed] == [ValueError, ValueError]
    assert answer.shape == (3,)


# ---- HTTP ------------------------------------------------------------------------------------------------------------
def test_a_streams_life(client):
    http, model = client()
    about = http.post("/streams")
    assert about.status_code == 201
    assert (about.json()["n_features"], about.json()["classes"]) == (F, ["a", "b", "c"])
    path, own = f"/streams/{about.json()['id']}", model.stream()
    for x in steps(3):
        expected = own.step(x)
        answer = http.post(f"{path}/step", content=x.tobytes(), headers=BINARY)
        assert (answer.status_code, answer.content) == (200, expected.astype("<f4").tobytes())
        x = x[::-1]
        expected = own.step(np.ascontiguousarray(x))
        assert np.array_equal(np.float32(http.post(f"{path}/step", json={"x": x.tolist()}).json()["y"]), expected)
    assert http.delete(path).status_code == 204
    assert http.delete(path).status_code == 404
    assert http.get("/health").json()["streams"] == 0


BAD_REQUESTS = {
    "too short": (b"\0" * 11, BINARY, 422, "12 bytes, got 11 bytes"),
    "NaN": (np.full(F, np.nan, "<f4").tobytes(), BINARY, 422, "NaN"),
    "JSON NaN": (b'{"x": [1, 2, NaN]}', {}, 422, "NaN"),
    "JSON large": (b'{"x": [1, 2, 1e300]}', {}, 422, "too large"),
    "JSON huge": (b'{"x": [1, 2, 1%s]}' % (b"0" * 400), {}, 422, "3 numbers"),
    "JSON text": (b'{"x": ["1", 2, 3]}', {}, 422, "3 numbers"),
    "JSON true": (b'{"x": [true, 2, 3]}', {}, 422, "3 numbers"),
    "JSON short": (b'{"x": [1, 2]}', {}, 422, "3 numbers"),
    "JSON no x": (b"{}", {}, 422, "3 numbers"),
    "JSON list": (b"[1, 2, 3]", {}, 422, "3 numbers"),
    "JSON broken": (b'{"x": [1', {}, 422, "3 numbers"),
    "JSON bytes": (b"\xff\xfe\xfd", {}, 422, "3 numbers"),
    "JSON deep": (b"[" * 1100, {}, 422, "3 numbers"),
    "large": (b"1" * 2000, BINARY, 413, "at most 1120 bytes"),
    "kind": (b"1 2 3", {"Content-Type": "text/plain"}, 415, "Content-Type must be"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_step_says_so_and_changes_nothing(client, name):
    body, headers, status, message = BAD_REQUESTS[name]
    http, model = client()
    path = f"/streams/{http.post('/streams').json()['id']}/step"
    answer = http.post(path, content=body, headers={"Content-Type": "application/json"} | headers)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    x = steps(1)[0]
    assert http.post(path, content=x.tobytes(), headers=BINARY).content == model.stream().step(x).tobytes()


def test_a_body_without_length_is_bounded(client):
    http, _ = client()
    path = f"/streams/{http.post('/streams').json()['id']}/step"
    assert http.post(path, content=(b"1" * 500 for _ in range(5)), headers=BINARY).status_code == 413


def test_other_refusals(client):
    http, _ = client(capacity=1)
    answer = http.post("/streams/nobody/step", content=steps(1).tobytes(), headers=BINARY)
    assert answer.status_code == 404
    assert "no stream 'nobody'" in answer.json()["error"]
    assert http.post("/streams").status_code == 201
    assert http.post("/streams").status_code == 503
    assert http.get("/streams").status_code == 405
    assert http.get("/nowhere").status_code == 404


def test_idle_streams_are_closed(client):
    http, _ = client(idle_s=0.2)
    names = [http.post("/streams").json()["id"] for _ in range(2)]
    with http.websocket_connect("/live") as idle, http.websocket_connect("/live") as live:
        for x in steps(5):  # half a second in all
            time.sleep(0.1)
            live.send_bytes(x.tobytes())
            assert len(live.receive_bytes()) == 12
            assert http.post(f"/streams/{names[0]}/step", content=steps(1).tobytes(), headers=BINARY).status_code == 200
        assert idle.receive()["code"] == 1001
    assert http.post(f"/streams/{names[1]}/step", content=steps(1).tobytes(), headers=BINARY).status_code == 404
    assert http.get("/health").json()["streams"] == 1


def test_metrics(client):
    http, _ = client()
    assert http.get("/metrics").json()["p50_ms"] is None
    path = f"/streams/{http.post('/streams').json()['id']}/step"
    for _ in range(3):
        http.post(path, content=steps(1).tobytes(), headers=BINARY)
    http.post(path, content=b"", headers=BINARY)
    found = http.get("/metrics").json()
    assert found["responses"] == {"200": 3, "201": 1, "422": 1}
    assert (found["streams"], found["capacity"], found["steps"], found["batches"]) == (1, 4, 3, 3)
    assert 0 < found["p50_ms"] <= found["p99_ms"] < 1e4
    assert found["rss_bytes"] > 2**20


# ---- WebSocket -------------------------------------------------------------------------------------------------------
def test_a_connection_is_a_stream(client):
    http, model = client(capacity=2)
    own = [model.stream(), model.stream()]
    with http.websocket_connect("/live") as first, http.websocket_connect("/live") as second:
        for x in steps(3):
            for socket_, stream in zip((first, second), own, strict=True):
                socket_.send_bytes(x.tobytes())
                assert socket_.receive_bytes() == stream.step(x).tobytes()
            second.send_text(json.dumps({"x": x.tolist()}))
            assert np.array_equal(np.float32(json.loads(second.receive_text())["y"]), own[1].step(x))
        with http.websocket_connect("/live") as third:
            assert third.receive()["code"] == 1013
        first.send_bytes(b"123")
        closed = first.receive()
        assert (closed["code"], closed["reason"]) == (1007, "a step is 3 float32 numbers, 12 bytes, got 3 bytes")
    assert http.get("/health").json()["streams"] == 0


# ---- servers ---------------------------------------------------------------------------------------------------------
SERVERS = {
    "uvicorn": ("uvicorn", "--factory", "service.app:create", "--port", "{port}"),
    "gunicorn": (
        *("gunicorn", "--preload", "--workers", "2", "--worker-class", "service.worker.Worker"),
        *("--bind", "127.0.0.1:{port}", "service.app:create()"),
    ),
}


@pytest.mark.skipif(os.name == "nt", reason="Gunicorn and signals are not of Windows")
@pytest.mark.parametrize("name", SERVERS)
def test_servers_answer_with_the_models_bits_and_stop_when_told(saved, name):
    pytest.importorskip("uvicorn_worker")
    from websockets import ConnectionClosed
    from websockets.sync.client import connect

    model = runtime.load(saved())
    path = os.pathsep.join([str(EXAMPLES), ENVIRONMENT["PYTHONPATH"]])
    with (
        server([sys.executable, "-m", *SERVERS[name]], MODEL=str(saved()), PYTHONPATH=path) as (address, process),
        contextlib.ExitStack() as stack,
    ):
        sockets = [stack.enter_context(connect(f"ws://{address}/live")) for _ in range(8)]
        sent = steps(3)
        for x, one in itertools.product(sent, sockets):
            one.send(x.tobytes())
        for one in sockets:
            own = model.stream()
            for x in sent:
                assert one.recv(timeout=10) == own.step(x).tobytes()
        process.send_signal(signal.SIGTERM)
        for one in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                one.recv(timeout=10)
            assert closed.value.rcvd.code == 1012
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)  # uvicorn hands the signal on when it is done

"""Gunicorn's worker: Uvicorn with room for thousands of connections."""

from uvicorn_worker import UvicornWorker


class Worker(UvicornWorker):
    """No compression, whose buffers cost more than a stream; short frames; ten seconds for the last answers."""

    CONFIG_KWARGS = UvicornWorker.CONFIG_KWARGS | {
        "ws_per_message_deflate": False,
        "ws_max_size": 65536,
        "timeout_graceful_shutdown": 10,
    }

"""The worker's pages: `/metrics` for Prometheus, `/health` and `/ready` for whoever keeps it running."""

from __future__ import annotations

from typing import Any

from faust.web import Request, Response

from streams.worker import Worker

PROMETHEUS_TEXT = "text/plain"
"""Prometheus takes its version 0.0.4 for granted where none is named; Faust's server adds the charset."""


def add_pages(app: Any, worker: Worker) -> None:
    """Add the pages to a Faust app."""

    @app.page("/metrics")
    async def metrics(self: Any, request: Request) -> Response:
        """Everything that is counted, in Prometheus' text format."""
        return self.bytes(worker.metrics.exposition(), content_type=PROMETHEUS_TEXT)  # type: ignore[no-any-return]

    @app.page("/health")
    async def health(self: Any, request: Request) -> Response:
        """200 while nothing has failed; the event loop that answers is the one that works."""
        failure = worker.failure
        status = 200 if failure is None else 503
        return self.json({"healthy": failure is None, "failure": failure and str(failure)}, status=status)  # type: ignore[no-any-return]

    @app.page("/ready")
    async def ready(self: Any, request: Request) -> Response:
        """200 while the worker has joined and all its lanes hold their state."""
        lanes = {lane.name: lane.ready.is_set() for lane in worker.lanes}
        return self.json({"ready": worker.ready, "lanes": lanes}, status=200 if worker.ready else 503)  # type: ignore[no-any-return]

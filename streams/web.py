"""The pages of a process: `/metrics` for Prometheus, `/health` and `/ready` for its supervisor."""

from __future__ import annotations

from typing import Any

from faust.web import Request, Response

from streams.lifecycle import ProcessService

PROMETHEUS_TEXT = "text/plain"
"""Prometheus assumes its version 0.0.4 where none is named; Faust's server adds the charset."""


def add_pages(app: Any, process: ProcessService) -> None:
    """Add the pages to a Faust app."""

    @app.page("/metrics")
    async def metrics(self: Any, request: Request) -> Response:
        """All metrics, in Prometheus' text format."""
        return self.bytes(process.metrics.exposition(), content_type=PROMETHEUS_TEXT)  # type: ignore[no-any-return]

    @app.page("/health")
    async def health(self: Any, request: Request) -> Response:
        """200 while nothing has failed; the event loop that answers is the one that works."""
        failure = process.failure
        status = 200 if failure is None else 503
        return self.json({"healthy": failure is None, "failure": failure and str(failure)}, status=status)  # type: ignore[no-any-return]

    @app.page("/ready")
    async def ready(self: Any, request: Request) -> Response:
        """200 while the process has joined, holds its state, and brokers answer; else the cause."""
        obstacle, notices = process.obstacle, process.notices
        body = {"ready": obstacle is None} | ({"cause": obstacle} if obstacle else {}) | process.standing
        body |= {"notices": notices} if notices else {}
        return self.json(body, status=200 if obstacle is None else 503)  # type: ignore[no-any-return]

"""Reads the policy again when it is asked to, in a thread, and puts it in force when it is compiled.

If the file cannot be used, the policy in force stays in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from models.errors import PolicyError
from models.serving.recommender import PreparedPolicy, Recommender
from models.shop.policy import Policy
from streams.metrics import Metrics
from streams.threads import run_in_daemon_thread

logger = logging.getLogger(__name__)


class PolicyLoader:
    """The policy of one worker.

    Args:
        read: reads the file; called in a thread, one call at a time.
        still: returns when no thread answers by the policy in force.
    """

    def __init__(
        self,
        read: Callable[[], Policy],
        recommender: Recommender,
        metrics: Metrics,
        still: Callable[[], Awaitable[None]],
    ) -> None:
        self._read, self._recommender, self._metrics, self._still = read, recommender, metrics, still
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Read the file again. A request that comes while it is being read is served after that, so the last wins."""
        self._requested.set()

    async def run(self) -> None:
        """Serve requests, until cancelled."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            try:
                with self._recommender.items.kept():  # a policy that is not in force yet names items by index
                    prepared = await run_in_daemon_thread(self._prepare, "policy")
                    await self._still()
                    self._recommender.put_in_force(prepared)
            except PolicyError as error:
                self._metrics.policy_reads.labels("refused").inc()
                logger.error("%s; the policy in force is kept", error)
            except Exception as error:  # the worker goes on with the policy in force
                self._metrics.policy_reads.labels("refused").inc()
                logger.error("the policy cannot be used: %r; the policy in force is kept", error, exc_info=error)
            else:
                self._metrics.policy_reads.labels("in force").inc()
                logger.info("policy %s is in force", prepared.hash)

    def _prepare(self) -> PreparedPolicy:
        return self._recommender.prepared(self._read())

"""Which source has become worse: river's ADWIN on the loss of each.

(A. Bifet, R. Gavalda, Learning from time-changing data with adaptive windowing, 2007.) The loss of a source at an
outcome is minus the logarithm of the probability that it gave to what was taken. An alarm follows a rise of the mean
loss: for a while the source counts less, and weights are learnt faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DriftConfig:
    """How change is told from chance, and what follows."""

    delta: float = 0.002
    """Chance of an alarm without change, of each window that is compared: river's default."""
    outcomes: int = 500
    """How long an alarm lasts."""
    faster: float = 5.0
    """Factor of the rate at which weights are learnt meanwhile."""
    less: float = 0.5
    """Factor of the weight of the source meanwhile."""


class Drift:
    """Watches the losses of several sources; `alarms`, (sources,), counts the alarms so far.

    >>> drift = Drift(2, DriftConfig())
    >>> for outcome in range(2_000):
    ...     drift.update(np.array([1.0 + outcome % 2, 1.0 + outcome % 2 + 3.0 * (outcome > 1_000)]))
    >>> drift.alarms.tolist()
    [0, 1]
    """

    def __init__(self, sources: int, config: DriftConfig) -> None:
        from river.drift import ADWIN

        self._config = config
        self._windows: list[Any] = [ADWIN(delta=config.delta) for _ in range(sources)]  # type: ignore[no-untyped-call]
        self._left = np.zeros(sources, np.int64)
        self.alarms = np.zeros(sources, np.int64)

    def update(self, losses: NDArray[np.float64]) -> None:
        """Add the losses of an outcome, (sources,)."""
        self._left = np.maximum(self._left - 1, 0)
        for source, window in enumerate(self._windows):
            before = window.estimation
            window.update(float(losses[source]))
            if window.drift_detected and window.estimation > before:
                self.alarms[source] += 1
                self._left[source] = self._config.outcomes

    def faster(self) -> float:
        """Factor of the rate at which weights are to be learnt now."""
        return self._config.faster if self._left.any() else 1.0

    def damping(self) -> NDArray[np.float64]:
        """(sources,) factors of their weights now."""
        return np.where(self._left > 0, self._config.less, 1.0)

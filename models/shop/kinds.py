"""The kinds of suggestions: their codes in kernels and their names on the wire."""

from __future__ import annotations

NEITHER, CROSS_SELL, UPSELL = 0, 1, 2
"""What an item may be suggested as. Kernels index by these."""

KIND_NAMES = ("", "cross-sell", "upsell")
"""By code; `NEITHER` has no name, since it is never sent."""

"""Kinds of suggestions: codes for kernels, names for the wire."""

from __future__ import annotations

NEITHER, CROSS_SELL, UPSELL = 0, 1, 2
"""What an item may be suggested as. Kernels index by these."""

KIND_NAMES = ("", "cross-sell", "upsell")
"""By code; `NEITHER` is never sent."""

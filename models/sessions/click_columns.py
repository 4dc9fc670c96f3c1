"""Clicks as rows of one array, with their names as bounds in a buffer of bytes."""

from __future__ import annotations

import numpy as np

CLICK = np.dtype(
    [
        ("at", np.float64),  # event time, epoch seconds
        ("appended_s", np.float64),  # append time
        ("appended_ms", np.int64),  # the same in milliseconds
        ("offset", np.int64),
        ("user_start", np.int64),  # bytes of the shopper's id
        ("user_end", np.int64),
        ("item_start", np.int64),  # ... of the item's
        ("item_end", np.int64),
        ("event_start", np.int64),  # ... of the event's; 0 and 0: it has none
        ("event_end", np.int64),
        ("backfilled", np.int64),  # whether it is history, which is never answered
        ("action", np.int64),  # VIEW ... REMOVE_FROM_CART, NOT_PLAIN: the rest of the row means nothing
    ]
)

VIEW, CLICKED, ADD_TO_CART, REMOVE_FROM_CART = range(4)
"""Codes of actions; those up to ADD_TO_CART count as looks."""

NOT_PLAIN = -1

"""What ends a drill before it can be judged."""

from __future__ import annotations

from streams.errors import CrosscurrentError


class DrillError(CrosscurrentError):
    """A drill could not be carried out. Operator action: the message says what was in the way, and what it said last.

    What a drill finds out (something missing, something wrong) is no error but its verdict.
    """

"""What ends a drill before it can be judged."""

from __future__ import annotations

from streams.errors import CrosscurrentError


class DrillError(CrosscurrentError):
    """A drill could not be carried out. Operator action: the message says why. A bad verdict is no error."""

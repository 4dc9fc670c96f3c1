"""What numba has compiled of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def signatures(kernel: Callable[..., Any]) -> Sequence[Any]:
    """Argument types that the kernel is compiled for; numba's dispatcher has no types."""
    dispatcher: Any = kernel
    found: Sequence[Any] = dispatcher.signatures
    return found

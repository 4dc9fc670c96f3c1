"""How the small functions of the serving kernel are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def borrowing(function: Function) -> Function:
    """Compile a function that only borrows its arrays: it makes none, returns none and keeps none.

    Then nobody has to count references to them. The kernel hands dozens of arrays, in tuples, from one small function
    to the next; counted, one by one and atomically, they took four fifths of its time. numba has the option for its
    own use, and says so at the import should it ever go; the functions would be right without it. They are compiled
    into whoever calls them, so that a thousand candidates a query cost no calls, and divide as numpy does.
    """
    options: Any = {"_nrt": False, "forceinline": True, "error_model": "numpy"}
    compiled: Any = njit(**options)(function)
    return compiled  # type: ignore[no-any-return]

"""How the small functions of the serving kernel are compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
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


def hash_of(*modules: ModuleType) -> str:
    """A hash of the sources of modules, for a function that is compiled with theirs to close over.

    numba keeps compiled code by the date of the file it is in, not of those that it calls into; without this, rules
    that were changed would not be those in force.
    """
    files = [module.__file__ for module in modules]
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files if file)).hexdigest()

"""Boxes: what a kernel is handed as one object, however many arrays it holds.

numba takes each array of an argument out of its Python object at every call: a hundred arrays in tuples cost 15 us. A
box does that once, when it is made. Its arrays are those that it was made with: where one is replaced, make another.
"""

from __future__ import annotations

from operator import is_not
from typing import Any

from numba import types
from numba.experimental import structref

from models.jit import cached_njit


@structref.register
class _BoxType(types.StructRef):
    """Type of a box, by the type of what it holds."""

    def preprocess_fields(self, fields: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        return tuple((name, types.unliteral(kind)) for name, kind in fields)  # type: ignore[no-untyped-call]


class Box(structref.StructRefProxy):
    """Holds a tuple.

    Attributes:
        held: that; for compiled code only.
    """

    held: Any


structref.define_constructor(Box, _BoxType, ["held"])  # type: ignore[no-untyped-call]
structref.define_boxing(_BoxType, Box)  # type: ignore[no-untyped-call]


@cached_njit()
def boxed(held: Any) -> Box:
    """A box that holds a tuple of arrays, and of such tuples."""
    return Box(held)  # type: ignore[no-untyped-call]


class KeptBox:
    """The box of a tuple that seldom changes."""

    def __init__(self) -> None:
        self._held: Any = None
        self._box: Box | None = None

    def of(self, held: Any) -> Box:
        """A box that holds the very parts of a tuple: that of the last call, unless one of them was replaced."""
        if self._box is None or any(map(is_not, held, self._held)):
            self._held, self._box = held, boxed(held)
        return self._box

"""State as named arrays: texts as arrays, and the state of parts under their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Texts concatenated in UTF-8, and where each ends.

    >>> both = pack(["mug", "", "Öl"])
    >>> both[1].tolist(), unpack(*both)
    ([3, 3, 6], ['mug', '', 'Öl'])
    """
    encoded = [text.encode(errors="surrogatepass") for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(list(map(len, encoded)), dtype=np.int64)


def unpack(packed: NDArray[np.uint8], ends: NDArray[np.int64]) -> list[str]:
    """The texts that `pack` was given."""
    whole, places = packed.tobytes(), [0, *ends.tolist()]
    return [whole[start:end].decode(errors="surrogatepass") for start, end in pairwise(places)]


def nest(part: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays of a part, under its name.

    >>> arrays = nest("gate", {"counts": np.zeros(2)})
    >>> list(arrays), list(nested("gate", arrays))
    (['gate.counts'], ['counts'])
    """
    return {f"{part}.{name}": array for name, array in arrays.items()}


def nested(part: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays that `nest` put under the name of a part, without it."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

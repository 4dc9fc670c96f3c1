"""Texts as arrays, for state that is stored as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

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

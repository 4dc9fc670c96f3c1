"""The tree of category paths, as numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROOT = 0
"""The node above every category. No item has it as its category."""


class Categories:
    """Numbers every path and every prefix of one; `free` gives the numbers of unused ones to others.

    Attributes:
        parent: (capacity,) int32, the parent node; the root is its own parent. Replaced when it grows.
        added_as: (capacity,) int64, when the node was added: after its parent, and again with every path that it gets.
        added: paths added so far.

    >>> categories = Categories()
    >>> kettles, mugs = categories.node("Kitchen/Tea/Kettles"), categories.node("Kitchen/Tea/Mugs")
    >>> [categories.path(categories.parent[node]) for node in (kettles, mugs)]
    ['Kitchen/Tea', 'Kitchen/Tea']
    >>> categories.path(categories.at_depth(mugs, 1)), categories.path(categories.at_depth(mugs, 0)), len(categories)
    ('Kitchen', 'Kitchen/Tea/Mugs', 5)
    """

    def __init__(self) -> None:
        self.parent: NDArray[np.int32] = np.zeros(64, np.int32)
        self.added_as: NDArray[np.int64] = np.zeros(64, np.int64)
        self.added = 0
        self._nodes: dict[str, int] = {}
        self._free: list[int] = []
        self._paths: list[str] = [""]  # empty, too: free
        self._lines: list[tuple[int, ...]] = [()]

    def __len__(self) -> int:
        """Number of nodes, the root and free ones included. Other threads may read them: a line is added last."""
        return len(self._lines)

    @property
    def used(self) -> int:
        """Number of paths."""
        return len(self._nodes)

    def node(self, path: str) -> int:
        """Number of a path; new paths are added with all their prefixes."""
        known = self._nodes.get(path)
        if known is not None:
            return known
        new = [path]
        above, _, _ = path.rpartition("/")
        while above and above not in self._nodes:
            new.append(above)
            above, _, _ = above.rpartition("/")
        node = self._nodes[above] if above else ROOT
        while new:
            node = self._add(new.pop(), node)
        return node

    def _add(self, path: str, parent: int) -> int:
        again = bool(self._free)
        node = self._free.pop() if again else len(self._paths)
        if node == len(self.parent):
            self.parent = np.concatenate([self.parent, np.zeros_like(self.parent)])
            self.added_as = np.concatenate([self.added_as, np.zeros_like(self.added_as)])
        self.parent[node] = parent
        self._nodes[path] = node
        line = (*self._lines[parent], node)
        if again:
            self._paths[node], self._lines[node] = path, line
            self.added_as[node] = self.added + 1
        else:
            self._paths.append(path)
            self.added_as[node] = self.added + 1
            self._lines.append(line)
        self.added += 1
        return node

    def free(self, held: NDArray[np.integer]) -> None:
        """Free all nodes but these and those above them."""
        kept = np.zeros(len(self), np.bool_)
        kept[ROOT] = kept[held] = True
        while not kept[above := self.parent[: len(self)][kept]].all():
            kept[above] = True
        for node in np.flatnonzero(~kept).tolist():
            if path := self._paths[node]:
                del self._nodes[path]
                self._paths[node] = ""
                self._free.append(node)

    def path(self, node: int) -> str:
        """Path of a node, empty for the root."""
        return self._paths[node]

    def paths(self) -> list[str]:
        """Paths of all nodes, by node. Safe to call from another thread."""
        return list(self._paths)

    def at_depth(self, node: int, depth: int) -> int:
        """The node of a path's first `depth` parts; the node itself if it has no more parts, or `depth` is 0."""
        line = self._lines[node]
        return line[depth - 1] if 0 < depth < len(line) else node

"""The sequence model's best items for each shopper, and their shares, for the recommender."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.boxes import Box, boxed
from models.sequence import kernels
from models.sequence.config import NetworkConfig
from models.sequence.features import Contents
from models.sequence.prediction import LOOKS, WAYS, KeptStates, Network, WindowBatch, expect
from models.sequence.scorer import Scorer
from models.sequence.vector_index import EXACT, searched
from models.sessions.visits import Window
from models.thread_team import ALONE, ThreadTeam

ITEMS = 50
"""Most items of a shopper: many times a list, as most are neither cross-sell nor upsell of anything."""

SHOPPERS = 50_000
"""Shoppers whose states are kept, about the most recent: 54 MB."""

COMPARED = 3_200_000
"""Most comparisons in one call, over all its shoppers: up to 40 ms, for which an answer waits."""

IN_PASSING = 10
"""Part of those that may block the event loop: up to 4 ms."""

LEAST_COMPARED = 128_000
"""Fewest comparisons for which a thread is woken: one to two milliseconds, several times what dividing a call takes."""


class Expected(NamedTuple):
    """What shoppers are expected to look at next: of shopper `s` from `ends[s]` to `ends[s + 1]`."""

    items: NDArray[np.int32]
    shares: NDArray[np.float64]
    """Probabilities, greater than 0."""
    ends: NDArray[np.int64]


class SequencePredictor:
    """Answers from one set of weights. Not for use by several threads at once, but for `forget` and `clear`.

    It divides large calls among a team of threads.

    Args:
        exact: most items of which all are compared.

    Attributes:
        mass: share of the probability of the true best items that is found; 1 where all are compared.
        max_batch: most shoppers of one call: the more items, the fewer.
        inline_limit: most shoppers that take a few milliseconds only.
    """

    def __init__(self, scorer: Scorer, version: str, exact: int = EXACT) -> None:
        self.version = version
        self._held = scorer.items
        self._lstm = scorer.lstm
        self._vectors, self.mass, compared = searched(scorer, ITEMS, exact)
        self.max_batch = max(1, COMPARED // max(1, compared))
        self.inline_limit = max(1, self.max_batch // IN_PASSING)
        self._least = max(1, LEAST_COMPARED // max(1, compared))
        self._kept = _no_states(scorer.units)
        self._turns = [self._kept.turn]  # of each thread that has answered, the first one's at least
        self._boxes = [self._boxed(self._kept.turn)]  # likewise
        self._to_forget: deque[int] = deque()
        self._outdated = False

    def expect(self, shoppers: Sequence[tuple[str, Window]]) -> Expected:
        """What each shopper, by id and window, will probably look at next, most likely first; nothing without looks."""
        items: list[int] = []
        actions: list[int] = []
        ats: list[float] = []
        ends = [0]
        for _, window in shoppers:
            items += window.items
            actions += window.actions
            ats += window.ats
            ends.append(len(items))
        looks = WindowBatch(
            np.array(items, np.int32), np.array(actions, np.int8), np.array(ats, np.float64), np.array(ends, np.int64)
        )
        return self.expect_batch(np.array([shopper_key(user_id) for user_id, _ in shoppers], np.int64), looks)

    def expect_batch(self, keys: NDArray[np.int64], looks: WindowBatch, team: ThreadTeam = ALONE) -> Expected:
        """The same for windows in columns, of shoppers that have a key each.

        A key says where a state is kept, no more: two shoppers of the same key are answered as any others.
        """
        self._drop_outdated()
        parts = len(team.parts(len(keys), self._least))
        self._make_boxes(parts)
        if parts == 1:
            return Expected(*expect(self._boxes[0], keys, looks, ITEMS))
        # Shoppers whose states may be kept at the same places go to the same thread.
        threads = keys % (len(self._kept.keys) // WAYS) % parts
        order = np.argsort(threads, kind="stable")
        firsts = np.searchsorted(threads[order], np.arange(parts + 1))
        moved, ends = _moved(looks.ends, order)
        items, actions, ats = looks.items[moved], looks.actions[moved], looks.ats[moved]
        calls = []
        for box, first, end in zip(self._boxes, firsts[:-1], firsts[1:], strict=False):
            own = WindowBatch(items, actions, ats, ends[first : end + 1])
            calls.append(partial(expect, box, keys[order[first:end]], own, ITEMS))
        found = team.run(calls)
        sizes = np.concatenate([np.diff(ends) for _, _, ends in found])
        moved, ends = _moved(np.concatenate([[0], np.cumsum(sizes)]), np.argsort(order))
        items, shares = (np.concatenate([part[column] for part in found]) for column in (0, 1))
        return Expected(items[moved], shares[moved], ends)

    def _make_boxes(self, threads: int) -> None:
        """Boxes for so many threads, which share the states and count turns from the latest on."""
        while len(self._boxes) < threads:
            self._turns.append(np.zeros(1, np.int64))
            self._boxes.append(self._boxed(self._turns[-1]))
        latest = max(turn[0] for turn in self._turns)
        for turn in self._turns:
            turn[0] = latest

    def _boxed(self, turn: NDArray[np.int64]) -> Box:
        return boxed(Network(self._lstm, self._vectors, self._kept._replace(turn=turn)))

    def _drop_outdated(self) -> None:
        """Drop the states that are to be forgotten."""
        if self._outdated:
            self._outdated = False
            for column in self._kept:
                column[:] = 0
        while self._to_forget:
            gone = np.flatnonzero(self._kept.keys == self._to_forget.popleft())
            for column in self._kept[:-1]:
                column[gone] = 0

    def touch(self) -> None:
        """Touch the memory of the states, before the first answer: otherwise answers wait for the system to give it."""
        for column in self._kept:
            column.fill(0)

    def forget(self, user_id: str) -> None:
        """Drop what is kept of a shopper, at the next `expect`; may be called by another thread during one."""
        self.forget_key(shopper_key(user_id))

    def forget_key(self, key: int) -> None:
        """... of whom `expect_batch` was given this key."""
        self._to_forget.append(key)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about: vectors of items and what finds them, states and windows of shoppers."""
        arrays = (column for column in (*self._vectors, *self._kept) if isinstance(column, np.ndarray))
        return sum(array.nbytes for array in arrays)

    def held(self) -> NDArray[np.int64]:
        """Indices of the items that it has vectors of."""
        return self._held

    def clear(self) -> None:
        """Drop what is kept of all shoppers, as `forget` does; their states are computed again when they are needed."""
        self._outdated = True


def shopper_key(user_id: str) -> int:
    """The key of a shopper for `expect_batch`, the same in every process.

    Its 32 bits are enough: two shoppers of the same key are answered as any others, and may push each other out.
    """
    return crc32(user_id.encode())


def shopper_keys(names: Iterable[bytes]) -> list[int]:
    """As `shopper_key`, of shoppers by their ids in UTF-8."""
    return list(map(crc32, names))


def warm() -> None:
    """Compile, or load what was compiled before."""
    kernels.warm()
    items, chance = np.arange(-1, 64), np.random.default_rng(1)
    shapes = {"items": 65, "actions": 3, "gaps": 10} | {f"content.{table}": 1 for table in range(3)}
    weights = {f"{name}.weight": chance.normal(size=(rows, 4)) for name, rows in shapes.items()}
    for name in ("lstm.weight_ih_l0", "lstm.weight_hh_l0"):
        weights[name] = chance.normal(size=(16, 4))
    for name in ("lstm.bias_ih_l0", "lstm.bias_hh_l0"):
        weights[name] = np.zeros(16)
    scorer = Scorer(weights, items, Contents(), NetworkConfig().scale)
    SequencePredictor(scorer, "", exact=40).expect([("", Window([1], [0], [0.0]))])


def _moved(ends: NDArray[np.int64], order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the elements of lists, one after the other, come from and where each list ends, once they are in order."""
    sizes = np.diff(ends)[order]
    moved = np.concatenate([[0], np.cumsum(sizes)])
    return np.repeat(ends[order] - moved[:-1], sizes) + np.arange(moved[-1]), moved


def _no_states(units: int) -> KeptStates:
    places = SHOPPERS // WAYS * WAYS
    return KeptStates(
        keys=np.zeros(places, np.int64),
        turns=np.zeros(places, np.int64),
        lengths=np.zeros(places, np.int8),
        items=np.zeros((places, LOOKS), np.int32),
        actions=np.zeros((places, LOOKS), np.int8),
        ats=np.zeros((places, LOOKS), np.float64),
        hidden=np.zeros((places, units), np.float32),
        cell=np.zeros((places, units), np.float32),
        turn=np.zeros(1, np.int64),
    )

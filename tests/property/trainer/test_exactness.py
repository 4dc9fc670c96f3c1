"""The trainer on an in-memory log: whenever it is killed, each look is fresh in exactly one window, each list of
suggestions is counted once, and each pool is learnt once, with what was taken of it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="install the extra `learning` to run this")

import torch

from models.ranking.attribution import AttributionConfig
from models.ranking.features import FEATURES, WIDTH
from models.sequence.config import GateConfig
from models.sequence.window_buffer import Windows
from tests.support.trainee import SETTINGS, Trainee, log_pool, pool, suggestion
from tests.support.world import Shop

QUICK = SETTINGS.model_copy(update={"gate": GateConfig(share=0.3, age_s=2.0), "batch_records": 3, "train_every_s": 0.5})

looks = st.tuples(st.sampled_from(["ann", "bob", "cat"]), st.integers(0, 9_000), st.integers(0, 400))
rounds = st.lists(
    st.tuples(
        st.lists(looks, min_size=1, max_size=12),
        st.integers(0, 6),  # runs that are applied
        st.lists(st.sampled_from(["publish", "kill", "stop"]), max_size=2),
    ),
    min_size=2,
    max_size=8,
)

History = list[tuple[list[tuple[str, int, int]], int, list[str]]]


def fresh_of(windows: Windows) -> list[int]:
    return [item for window in windows.each() for item in list(window.items)[-window.fresh :]]


def learnt(trainee: Trainee) -> Counter[str]:
    """How often each item is fresh, in all windows."""
    training = trainee.training
    windows = [window for _, window in training.window_builder.gate._held]
    indices = [item for window in windows for item in window.items[-window.fresh :]]
    indices += fresh_of(training.learner._old) + fresh_of(training.learner._new)
    return Counter(training.items.name(index) for index in indices)


async def through(events: list[str], trainee: Trainee, another: Callable[[], Trainee]) -> Trainee:
    """Let a trainer publish, be stopped or be killed; returns the trainer that runs then."""
    for event in events:
        if event == "publish":
            await trainee.publish()
            continue
        if event == "stop":
            await trainee.training_loop.store_last()
        trainee = await another().take_over()
    return trainee


@pytest.mark.slow
@settings(max_examples=25)
@given(rounds)
def test_each_look_is_learnt_once_whenever_the_trainer_is_killed_or_stopped(history: History) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_go_through(history, Path(folder)))


async def _go_through(history: History, folder: Path) -> None:
    shop, number = Shop(), 0
    trainee = await Trainee(shop, folder, QUICK).take_over()
    for looks, runs, events in history:
        for user, at_s, pause_ms in looks:
            shop.now_ms += pause_ms
            for _ in range(2 if number % 4 == 3 else 1):  # some are sent twice, and known by their ids
                shop.click(user, f"look-{number}", at_s, event_id=f"event-{number}")
            number += 1
        await trainee.apply(runs)
        trainee = await through(events, trainee, lambda: Trainee(shop, folder, QUICK))
    await trainee.apply()
    trainee.training.window_builder.gather()
    assert learnt(trainee) == Counter(f"look-{look}" for look in range(number))


ANSWERED = QUICK.model_copy(update={"outcomes": AttributionConfig(window_s=200.0, late_s=10.0)})
ITEMS = ("mug", "tea", "pot")

shopping = st.tuples(
    st.sampled_from(["look", "look", "buy", "list", "pool", "pool", "shown", "clicked", "dismissed"]),
    st.sampled_from(["ann", "bob", "cat"]),
    st.sampled_from(ITEMS),
    st.integers(0, 60),  # event time that passes, in seconds
    st.integers(0, 3_000),  # append time, in milliseconds: lists and pools may come too late
)
days = st.lists(
    st.tuples(
        st.lists(shopping, min_size=1, max_size=15),
        st.integers(0, 6),
        st.lists(st.sampled_from(["publish", "kill", "stop"]), max_size=2),
    ),
    min_size=2,
    max_size=8,
)

Days = list[tuple[list[tuple[str, str, str, int, int]], int, list[str]]]


class Visits:
    """Shoppers who look and buy, workers who answer their last look, and a shop that says what became of it."""

    def __init__(self) -> None:
        self.shop, self._at_s, self._number = Shop(), 0.0, 0
        self._sent: dict[str, dict[str, object]] = {}
        self._pools: dict[str, tuple[bytes, bytes]] = {}

    def go_on(self, what: str, user: str, item: str, passes_s: int, pause_ms: int) -> None:
        """One record; an answer to nothing is none."""
        shop, self._number = self.shop, self._number + 1
        shop.now_ms += pause_ms
        if what == "look":
            self._at_s += passes_s
            shop.click(user, item, self._at_s)
            features = [float(self._number % 7)] * WIDTH
            features[FEATURES.index("base")] = 0.0
            self._sent[user] = suggestion(shop, user, self._at_s, ITEMS)
            self._pools[user] = pool(shop, user, self._at_s, dict.fromkeys((*ITEMS, "cup"), features))
        elif what == "buy":
            self._at_s += passes_s
            shop.buy(user, [item], self._at_s, f"order-{self._number}")
        elif user in self._sent and what == "list":
            shop.publish("suggestions", user, self._sent[user])
        elif user in self._sent and what == "pool":
            log_pool(shop, *self._pools[user])
        elif user in self._sent:
            value = {"v": 1, "user_id": user, "suggestion_id": self._sent[user]["suggestion_id"], "item_id": item}
            at = 1_699_990_000_000 + round(self._at_s * 1000)
            shop.publish("feedback", user, {**value, "action": what, "at": at})


@pytest.mark.slow
@settings(max_examples=25)
@given(days)
def test_each_list_is_counted_once_and_each_pool_learnt_once_whenever_the_trainer_is_killed_or_stopped(
    days: Days,
) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_shop_through(days, Path(folder)))


async def _shop_through(days: Days, folder: Path) -> None:
    visits = Visits()
    trainee = await Trainee(visits.shop, folder / "parts", ANSWERED).take_over()
    for doings, runs, events in days:
        for doing in doings:
            visits.go_on(*doing)
        await trainee.apply(runs)
        trainee = await through(events, trainee, lambda: Trainee(visits.shop, folder / "parts", ANSWERED))
    visits.go_on("look", "ann", "mug", 150, 0)
    whole = await Trainee(visits.shop, folder / "whole", ANSWERED).take_over()
    for each in (whole, trainee):
        await each.apply()
        await each.training.learn()
    for part in ("attribution", "pools"):
        mine, others = getattr(whole.training, part).training(), getattr(trainee.training, part).training()
        for name, array in mine.items():
            np.testing.assert_array_equal(array, others[name], err_msg=f"{part}: {name}")
    assert whole.training.pools.closed == whole.training.ranker.learnt == trainee.training.ranker.learnt
    takings = [each.training.ranker.metrics()["takings.cross_sell"] for each in (whole, trainee)]
    assert takings[0] == takings[1]

"""The trainer on an in-memory log: whenever it is killed, each look is learnt as a fresh one in just one window."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sequence.config import GateConfig
from models.sequence.windows import Windows
from tests.support.world import Shop
from tests.unit.test_trainer import SETTINGS, Trainee

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
    return [item for one in windows.each() for item in list(one.items)[-one.fresh :]]


def learnt(trainee: Trainee) -> Counter[str]:
    """How often each item is a fresh one, of all windows there are."""
    training = trainee.training
    windows = [window for _, window in training.curriculum.gate._held]
    indices = [item for window in windows for item in window.items[-window.fresh :]]
    indices += fresh_of(training.learner._old) + fresh_of(training.learner._new)
    return Counter(training.items.name(index) for index in indices)


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
        for event in events:
            if event == "publish":
                await trainee.publish()
                continue
            if event == "stop":
                await trainee.school.store_last()
            trainee = await Trainee(shop, folder, QUICK).take_over()
    await trainee.apply()
    trainee.training.curriculum.gather()
    assert learnt(trainee) == Counter(f"look-{one}" for one in range(number))

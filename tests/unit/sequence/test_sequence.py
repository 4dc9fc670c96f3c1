"""The sequence model: what is learnt, that answers agree with it, and that a learner goes on where another stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="install the extra `learning` to run this")

import torch

from models.errors import SnapshotError
from models.sequence import kernels
from models.sequence.config import LearnerConfig, NetworkConfig
from models.sequence.features import PRICES, Contents, content, contents_of
from models.sequence.kernels import LookBatch, neighbours_of
from models.sequence.learner import Learner
from models.sequence.network import Network
from models.sequence.scorer import Scorer
from models.sequence.snapshot import read_predictor
from models.sequence.vocabulary import UNKNOWN, Vocabulary
from models.sequence.window_buffer import LookWindow, Windows
from models.sessions.visits import Window as LooksWindow
from models.shop.catalog import Catalog
from models.shop.events import CatalogItem
from models.shop.items import Items
from tests.support.sequence_model import CHAINS, SMALL, frozen, scorer, taught, well_taught, window


def looked(items: Sequence[int]) -> LooksWindow:
    return LooksWindow(list(items), [0] * len(items), [10.0 * place for place in range(len(items))])


def scorer_of_own(learner: Learner, contents: Contents) -> Scorer:
    """Of the items' own vectors without their neighbours."""
    weights = {**learner.arrays(), "items.weight": learner.training()["own"]}
    return Scorer(weights, learner.vocabulary.item, contents, 16.0)


def best(answers: Scorer, items: Sequence[int]) -> int:
    one = window(items)
    return int(answers.items[answers.logits(answers.read([one[:3]]))[0].argmax()])


@pytest.fixture(scope="module")
def learner() -> Learner:
    return well_taught()


def test_what_comes_next_depends_on_all_of_the_visit_and_not_only_on_its_last_item(learner: Learner) -> None:
    answers = scorer(learner)
    assert [best(answers, [10, 11]), best(answers, [20, 11]), best(answers, [0, 1])] == [12, 22, 2]


def test_the_scorer_agrees_with_the_network_and_its_smoothed_vectors() -> None:
    contents = Contents()
    for item in (11, 12, 20):
        contents.put(item, (item, 1, 5))
    taught_ones = taught(256, contents=contents)
    answers = scorer(taught_ones, contents)
    one = window([20, 11, 22])
    network = taught_ones.network.eval()
    with torch.inference_mode():
        vectors = taught_ones._vectors(np.array(one.items))[None]
        expected = network(vectors, torch.tensor([one.actions]), torch.tensor([one.gaps]))[0, -1]
        ranked = taught_ones._vectors(answers.items)
        unsmoothed = scorer_of_own(taught_ones, contents).vectors
    np.testing.assert_allclose(answers.vectors, ranked.numpy(), atol=1e-5)
    np.testing.assert_allclose(answers.logits(answers.read([one[:3]]))[0], 16.0 * (ranked @ expected), atol=1e-4)
    assert np.abs(answers.vectors - unsmoothed).max() > 0.1


def test_an_item_has_the_neighbours_that_it_is_looked_at_beside_and_passes_none_on() -> None:
    a, b, c, d, e = range(1, 6)
    windows = np.array([[a, b, c, a], [d, e, 0, 0], [b, a, d, 0], [c, 0, b, 0]], np.int32)
    first = np.array([1, 1, 2, 1], np.int16)  # in the third the first two looks were in a window before
    found = neighbours_of(windows, first, 7, 2)
    # a: b 2 + 1, c 1 + 2, d 2; b: a 3, c 2 + 1, d 1; c: a 3, b 3; d: a 2, e 2, b 1
    assert found.slots.tolist() == [[0, 0], [b, c], [a, c], [a, b], [a, e], [d, 0], [0, 0]]
    np.testing.assert_allclose(found.shares[1:6], [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
    assert not found.shares[[0, 6]].any()
    assert neighbours_of(windows, first, 7, 1).slots[:, 0].tolist() == [0, b, a, a, a, d, 0]


def test_the_strongest_neighbours_are_those_of_counting_all_pairs() -> None:
    chance = np.random.default_rng(6)
    windows = chance.integers(0, 12, (400, 7)).astype(np.int32)
    first = chance.integers(1, 7, 400).astype(np.int16)
    counts = np.zeros((12, 12), np.int64)
    for row, start in zip(windows, first.tolist(), strict=True):
        for later in range(start, 7):
            for gap in (1, 2):
                one, other = row[later], row[later - gap] if later >= gap else 0
                if one and other and one != other:
                    counts[one, other] += 3 - gap
                    counts[other, one] += 3 - gap
    found = neighbours_of(windows, first, 12, 4)
    order = np.argsort(-counts[1:], axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(found.slots[1:], order)
    strongest = np.take_along_axis(counts[1:], order, axis=1)
    np.testing.assert_allclose(found.shares[1:], strongest / strongest.sum(axis=1, keepdims=True), rtol=1e-6)


def test_an_item_that_takes_the_slot_of_another_does_not_take_its_neighbours() -> None:
    config = replace(SMALL, vocabulary=9, neighbour_chunks=2)
    learner = taught(64, config)
    before = learner._neighbours
    gone = set(learner.vocabulary.item.tolist())
    for number in range(64):
        learner.add(window((30, 31), 1e9 + number))
    learner.learn()  # without counting neighbours
    slots = learner.vocabulary.slots(np.array([30, 31]))
    assert gone != set(learner.vocabulary.item.tolist())
    assert before.shares[slots].any() and np.isin(before.slots, slots).any()
    assert not learner._neighbours.shares[slots].any()
    assert not learner._neighbours.shares[np.isin(learner._neighbours.slots, slots)].any()
    for number in range(64):
        learner.add(window((30, 31), 2e9 + number))
    learner.learn()
    assert learner._neighbours.slots[slots, 0].tolist() == slots[::-1].tolist()


def test_a_learner_goes_on_from_a_snapshot_of_before_items_had_neighbours() -> None:
    first = taught(64, replace(SMALL, neighbours=0))
    new = ("neighbours.slots", "neighbours.shares", "own")
    old = {name: array for name, array in first.training().items() if name not in new}
    second = Learner(SMALL, Contents(), seed=7)
    second.restore(first.arrays(), old)
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(second.arrays()[name], array, err_msg=name)
    for number in range(64, 64 + 4 * 64):
        if second.add(window(CHAINS[number % 3], 100.0 * number)):
            second.learn()
    assert second._neighbours.shares.any()


def test_a_learner_smooths_nothing_without_neighbours_and_goes_on_from_one_that_does() -> None:
    contents = Contents()
    contents.put(11, (11, 1, 5))
    without = replace(SMALL, neighbours=0)
    learner = taught(128, without, contents)
    np.testing.assert_array_equal(learner.arrays()["items.weight"], learner.training()["own"])
    others = taught(256, contents=contents)
    learner = Learner(without, contents, seed=7)
    learner.restore(others.arrays(), others.training())
    np.testing.assert_array_equal(learner.arrays()["items.weight"], others.arrays()["items.weight"])
    for number in range(256, 320):
        if learner.add(window(CHAINS[number % 3], 100.0 * number)):
            learner.learn()
    np.testing.assert_array_equal(learner.arrays()["items.weight"], learner.training()["own"])


def test_an_item_of_which_nothing_is_known_yet_gets_no_gradient_and_its_neighbour_does() -> None:
    network = Network(4, NetworkConfig(units=4, item_dropout=0.0))
    slots, content = torch.tensor([UNKNOWN, 1, 2]), torch.tensor([[3, 0, 0], [0, 0, 0], [0, 0, 0]])
    vectors = network.vectors(slots, content, torch.tensor([[0], [2]]), torch.tensor([[0.0], [1.0]]))
    assert not vectors[0].any()
    tables = network.items.weight, network.get_parameter("content.0.weight")
    own, of_content = torch.autograd.grad((vectors * torch.arange(4.0)).sum(), tables)
    assert own.to_dense().any(dim=1).tolist() == [False, True, True, False]
    assert not of_content.to_dense().any()


def test_one_step_after_the_other_gives_what_a_whole_window_gives(learner: Learner) -> None:
    answers = scorer(learner)
    windows = [window([20, 11, 22]), window([0, 1])]
    state = answers.start(2)
    for place in range(2):
        looks = [([one.items[place]], [one.actions[place]], [one.gaps[place]]) for one in windows]
        answers.carry_on(state, LookBatch.of(looks))
    whole = answers.read([(one.items[:2], one.actions[:2], one.gaps[:2]) for one in windows])
    np.testing.assert_allclose(state.hidden, whole.hidden, atol=1e-6)
    np.testing.assert_array_equal(answers.read([]).hidden, np.zeros((0, 16)))


def test_tangents_are_right_to_the_precision_of_float32() -> None:
    points = np.concatenate([np.linspace(-10.0, 10.0, 200_001), [0.0, 1e-8, -1e-8, 1e-30, 50.0, -50.0]])
    values = points.astype(np.float32)
    true = np.tanh(values.astype(np.float64))
    kernels.tanh(values)
    np.testing.assert_allclose(values, true, rtol=4e-7, atol=1e-30)
    assert np.abs(values).max() <= 1.0 + 1e-6


def test_each_look_is_learnt_new_once(learner: Learner) -> None:
    assert (learner.learnt, learner.chunks) == (3 * 1280, 20)
    assert learner.positions > 5 * learner.learnt


def test_the_same_windows_give_the_same_weights_also_over_a_restart() -> None:
    whole = taught(256)
    first = taught(160)  # 32 windows are still waiting
    second = Learner(SMALL, Contents(), seed=7)
    second.restore(first.arrays(), first.training())
    for number in range(160, 256):
        if second.add(window(CHAINS[number % 3], 100.0 * number)):
            second.learn()
    assert (second.learnt, second.positions) == (whole.learnt, whole.positions)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(second.arrays()[name], array, err_msg=name)


def test_a_learner_of_many_items_goes_on_after_a_restart() -> None:
    """A table of item vectors grows by doubling: another learner's may have another number of spare rows."""
    chance = np.random.default_rng(5)
    visits = [window(chance.integers(0, 9_000, 16).tolist(), 100.0 * number) for number in range(6 * 64)]
    whole, first, second = (Learner(SMALL, Contents(), seed=7) for _ in range(3))
    for one in visits:
        if whole.add(one):
            whole.learn()
    for one in visits[: 4 * 64]:
        if first.add(one):
            first.learn()
    assert len(first.vocabulary) > 2048
    second.restore(first.arrays(), first.training())
    assert len(second.network.items.weight) != len(first.network.items.weight)
    for one in visits[4 * 64 :]:
        if second.add(one):
            second.learn()
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(second.arrays()[name], array, err_msg=name)


@pytest.mark.slow
def test_a_learner_goes_on_after_a_restart_with_as_many_rows_of_items_as_of_categories() -> None:
    contents = Contents()
    contents.put(0, (7, 8, 9))
    whole, restarted = (Learner(SMALL, contents, seed=7) for _ in range(2))
    visits = [window(list(range(start, start + 16)), 100.0 * start) for start in range(0, 4_096, 16)]
    for one in visits[:-64]:
        if whole.add(one):
            whole.learn()
    shapes = [parameter.shape for parameter in whole.network.parameters()]
    assert shapes.count(whole.network.items.weight.shape) > 1
    restarted.restore(whole.arrays(), whole.training())
    for one in visits[-64:]:
        for learner in (whole, restarted):
            if learner.add(one):
                learner.learn()
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(restarted.arrays()[name], array, err_msg=name)


def test_an_item_that_nobody_looked_at_is_expected_where_its_like_are() -> None:
    contents = Contents()
    for chain in CHAINS:
        for place, item in enumerate(chain):
            contents.put(item, (1 + place, 1 + chain[0], 5))
    contents.put(99, (4, 21, 5))  # as item 23, which comes after 20, 11, 22
    learner = taught(1280, contents=contents)
    answers = scorer(learner, contents)
    assert UNKNOWN == learner.vocabulary.slots(np.array([99]))[0]
    vectors = answers._vectors(np.zeros(2, np.int64), np.array([99, 98]))
    expected = answers.read([window([20, 11, 22])[:3]]).hidden[0]
    assert vectors[0] @ expected > 0.3 * np.linalg.norm(expected)
    assert not vectors[1].any()  # of which nothing is known


def test_a_worker_answers_from_a_snapshot_by_ids_whatever_their_numbers(learner: Learner) -> None:
    items = Items()
    for name in ("something else", "item 23", "item 11"):
        items.index(name)
    found = read_predictor(frozen(learner), items, Catalog(items))
    looks = [items.index("item 20"), items.index("item 11")]
    expected = found.expect([("ann", looked(looks)), ("bob", looked([])), ("cid", looked([items.index("item 0")]))])
    assert expected.ends.tolist() == [0, 11, 11, 22]
    assert [items.name(expected.items[place]) for place in (0, 11)] == ["item 22", "item 1"]
    assert expected.shares[0] > 0.5
    assert (np.diff(expected.shares[:11]) <= 0).all()
    assert expected.shares[:11].sum() == pytest.approx(1.0, abs=1e-5)


def test_cold_items_of_the_catalogue_are_expected_by_their_content(learner: Learner) -> None:
    items = Items()
    catalog = Catalog(items)
    catalog.put(CatalogItem("new", "New", "Kettles", 30.0))
    found = read_predictor(frozen(learner), items, catalog)
    expected = found.expect([("ann", looked([items.index("item 0")]))])
    assert "new" in [items.name(item) for item in expected.items]
    assert len(expected.items) == 12


def test_the_content_of_a_catalogue_is_that_of_its_items() -> None:
    items = Items()
    catalog = Catalog(items)
    items.index("nobody offers it")
    offers = [
        CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 32.0, brand="Acme"),
        CatalogItem("mug", "Mug", "Kitchen/Mugs", 0.0),
        CatalogItem("pin", "Pin", "Pins", 0.01, brand="Bolt", in_stock=False),
        CatalogItem("tower", "Tower", "Towers", 1e9, brand="Acme"),
        *(CatalogItem(f"step {n}", "Step", "Steps", 2.0 ** (n / 2)) for n in range(-9, 41)),
        *(CatalogItem(f"below {n}", "Below", "Steps", 2.0 ** (n / 2) * 0.999) for n in range(-9, 41)),
    ]
    for item in [*offers, CatalogItem("gone", "Gone", "Kettles", 5.0)]:
        catalog.put(item)
    catalog.withdraw("gone")
    found = contents_of(catalog)
    assert {item.item_id: tuple(found[items.find(item.item_id)].tolist()) for item in offers} == {
        item.item_id: content(item) for item in offers
    }
    assert not found[[items.find("gone"), items.find("nobody offers it")]].any()
    assert not found[len(items) :].any()
    steps = [content(item)[2] for item in offers]
    assert (steps[1], min(steps[2:]), max(steps)) == (0, 1, PRICES - 1)


def test_vectors_do_not_depend_on_the_pieces_they_are_made_in(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = Items()
    catalog = Catalog(items)
    whole = read_predictor(frozen(learner), items, catalog)._vectors.vectors
    monkeypatch.setattr("models.sequence.scorer.SLICE", 4)
    np.testing.assert_array_equal(read_predictor(frozen(learner), items, catalog)._vectors.vectors, whole)
    assert len(whole) == 11


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"code": "lstm-0"}, "expected code `lstm-1`, got code `lstm-0`"),
        ({"vocabulary": ("a",)}, "array `items.weight` must be \\(1, 16\\), got \\(12, 16\\)"),
        ({"arrays": {"items.weight": np.zeros((11, 16))}}, "`arrays` must be actions.weight, content.0.weight"),
        ({"config": {}}, "`config.network` must be units"),
    ],
)
def test_snapshots_that_do_not_fit_are_refused(learner: Learner, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SnapshotError, match=sentence):
        read_predictor(frozen(learner, **changes), Items(), Catalog(Items()))


def test_a_full_vocabulary_keeps_what_is_used() -> None:
    config = LearnerConfig(SMALL.network, vocabulary=9, chunk=64, negatives=8, batch=16)
    learner = taught(128, config)
    assert len(learner.vocabulary) == 9
    kept = set(learner.vocabulary.item[1:].tolist())
    assert 11 in kept  # the only one of two chains
    for number in range(64):
        learner.add(window((30, 31), 1e9 + number))
    learner.learn()
    assert {30, 31} <= set(learner.vocabulary.item.tolist())
    assert not (kept - {30, 31}) <= set(learner.vocabulary.item.tolist())


def test_uses_fade_and_late_looks_do_not_bring_time_back() -> None:
    vocabulary = Vocabulary(10, 100.0)
    vocabulary.use(np.array([5, 5]), np.array([0.0, 100.0]))
    assert vocabulary.uses[1:].tolist() == [1.5]
    vocabulary.use(np.array([5]), np.array([0.0]))
    assert (vocabulary.uses[1], vocabulary.at[1]) == (2.5, 100.0)


def test_a_long_visit_is_cut_to_its_end_and_windows_are_stored_and_taken_over() -> None:
    windows = Windows(4, 3)
    windows.add(LookWindow([1, 2, 3, 4], [0, 1, 2, 0], [9, 1, 2, 3], 1, 5.0))
    assert (windows.items[0].tolist(), windows.first[0], windows.fresh[0]) == ([2, 3, 4], 2, 1)
    other = Windows(4, 3)
    other.restore(windows.arrays())
    other.add(LookWindow([8], [0], [9], 1, 6.0))
    assert [array.tolist() for array in (other.items[:2], other.length[:2])] == [[[2, 3, 4], [8, -1, -1]], [3, 1]]
    assert other.row(np.array([0, 1])).tolist() == [1, 0]

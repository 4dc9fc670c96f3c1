"""Protocol A's `crosscurrent`: what a recommender asked by hand says, without what was seen, in the learnt order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="install the extra `learning` to run this")

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.next_item.hybrid import OURS, Hybrid, HybridConfig
from models.evaluation.next_item.methods import Scores
from models.evaluation.next_item.protocol import VISITS
from models.evaluation.next_item.served import PLACES, PRICE, SERVED, Served, ServedConfig
from models.evaluation.worker_counts import WorkerCounts
from models.sequence.predictor import SequencePredictor
from models.serving.recommender import Query, Recommender, RecommenderConfig, expected_of
from models.sessions.visits import Visit, Window
from models.shop.catalog import Catalog
from models.shop.events import Action, CatalogItem, Click
from models.shop.items import Items
from models.shop.policy import Policy
from tests.support.sequence_model import SMALL, scorer, well_taught

START = 1e9
LOOKS = 3

# The model's chains go on with 2 after (0, 1); counting says 4 after 1, thrice, and 5 after 0.
LOG = [[0, 1, 4], [1, 4], [1, 4], [0, 5], [3, 6]]


def numbered(number: int) -> Items:
    """Ids whose indices are the items of the model."""
    items = Items()
    for index in range(number):
        items.index(f"item {index}")
    return items


def counted(items: Items) -> WorkerCounts:
    counts = WorkerCounts(items, VISITS, CoOccurrenceConfig())
    for session, looked in enumerate(LOG):
        for place, item in enumerate(looked):
            at = START + 100 * session + 10 * place
            counts.learn(Click(f"session {session}", items.name(item), Action.VIEW, at))
    return counts


def served(items: Items) -> Served:
    """What has seen the log, and has the taught model."""
    found = Served(items, counted(items), LOOKS, ServedConfig())
    for looked in LOG:
        found.learn(looked, [START] * len(looked))
    found.update(scorer(well_taught()))
    return found


def columns(ranked: Scores) -> tuple[list[int], list[float]]:
    items, scores = ranked
    return items.tolist(), scores.tolist()


def test_the_lists_are_those_of_a_recommender_that_is_asked_by_hand() -> None:
    prefix, times = [9, 3, 0, 1], [START + 1000.0, START + 1010.0, START + 1020.0, START + 1035.0]
    items = numbered(24)
    (found,) = served(items).score_many([(prefix, times)])

    counts = counted(items)
    counts.publish()
    catalog = Catalog(items)
    for item in {9, *np.concatenate(LOG).tolist()}:
        catalog.put(CatalogItem(items.name(item), "", f"Category {item}", PRICE))
    policy = Policy(max_items=PLACES, max_cross_sell=PLACES, max_upsell=0, max_per_category=0)
    recommender = Recommender(items, catalog, counts.neighbours, policy, RecommenderConfig())
    visit = Visit([1, 0, 3, 9], [0.0, 15.0, 25.0, 35.0], [0] * 4, [], prefix)
    window = Window(prefix[-LOOKS:], [0] * LOOKS, times[-LOOKS:])
    query = Query(Action.VIEW, [1], visit, times[-1], "", "ann", window)
    expected = expected_of(SequencePredictor(scorer(well_taught()), "1"), [query])
    (by_hand,) = recommender.suggest_each([query], expected)

    ids, scores = found[SERVED]
    assert [items.name(item) for item in ids.tolist()] == [item["item_id"] for item in by_hand]
    assert scores.tolist() == [item["score"] for item in by_hand]
    assert {item["kind"] for item in by_hand} == {"cross-sell"}
    assert ids[0] == 4  # of all that is offered
    assert {5, 6} < set(ids.tolist())  # after items further back
    assert 2 not in ids  # the model expects it, and no session of the log has it


def test_what_was_seen_is_not_in_the_list_and_its_last_item_asks_even_if_nobody_else_has_seen_it() -> None:
    found = served(numbered(24)).score_many([([0, 1, 4, 0], [START] * 4), ([0, 21], [START] * 2), ([22], [START])])
    first, second, third = (set(answers[SERVED][0].tolist()) for answers in found)
    assert not first & {0, 1, 4}
    assert first >= {5, 6}
    assert second >= {1, 5}
    assert third >= {0, 1, 4}  # by popularity


def test_what_is_taken_again_and_again_comes_first_once_enough_of_it_was_learnt_and_a_chunk_has_ended() -> None:
    method, prefix = served(numbered(24)), ([1], [START + 1000.0])
    (ranked,) = method.score_many([prefix])
    assert ranked[SERVED][0][0] == 4
    for _ in range(10):
        for _ in range(60):
            method.ask([1, 1, 6], [START + 1000.0, START + 1000.0, START + 1010.0])
        (during,) = method.score_many([prefix])
        assert columns(during[SERVED]) == columns(ranked[SERVED])
        method.learn_asked()
        (ranked,) = method.score_many([prefix])
    assert ranked[SERVED][0][0] == 6


SESSIONS = [[int(item) for item in row] for row in np.random.default_rng(5).zipf(1.4, (500, 4)) % 40]
"""Items of which few are looked at often."""


def learnt(methods: tuple[str, ...] = OURS) -> Hybrid:
    """All our methods over the sessions in chunks of 64: six of each seven chunks have outcomes."""
    hybrid = Hybrid(numbered(40), replace(HybridConfig(VISITS, learner=SMALL), outcome_every=2), 3, methods)
    for number, session in enumerate(SESSIONS):
        hybrid.learn(session, [START + 100.0 * number + place for place in range(4)])
    hybrid.finish()
    return hybrid


PREFIXES = [([first, second], [START + 60_000.0, START + 60_001.0]) for first in range(4) for second in range(20)]


def test_equal_passes_are_equal_whatever_else_is_ranked() -> None:
    found, again, alone = (hybrid.score_many(PREFIXES) for hybrid in (learnt(), learnt(), learnt(("crosscurrent",))))
    assert found[0].keys() == again[0].keys() == set(OURS)
    assert alone[0].keys() == {SERVED}
    for answers, others, own in zip(found, again, alone, strict=True):
        for name, ranked in answers.items():
            assert columns(ranked) == columns(others[name]), name
        assert columns(answers[SERVED]) == columns(own[SERVED])


def test_items_to_return_to_are_mixed_in_as_with_our_other_methods() -> None:
    (answers,) = learnt().score_many(PREFIXES[1:2])
    shares = [dict(zip(*(column.tolist() for column in scores), strict=True)) for scores in answers.values()]
    assert all(sum(found.values()) == pytest.approx(1.0) for found in shares)
    assert {(found[0], found[1]) for found in shares} == {(shares[0][0], shares[0][1])}

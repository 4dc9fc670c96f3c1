"""Protocol A by hand-checked cases: files, places, figures, methods, and the command."""

from __future__ import annotations

import gzip
import math
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
import orjson
import pytest

pytest.importorskip("torch", reason="install the extra `learning` to run this")

from models.errors import SessionFileError
from models.evaluation.next_item.counting_method import with_returns
from models.evaluation.next_item.implicit_models import MODELS, ImplicitModel
from models.evaluation.next_item.protocol import METHODS, evaluate
from models.evaluation.next_item.returns import DEPTH, PRIOR, Returns
from models.evaluation.next_item.session_knn import Stan, StanConfig, Vsknn, VsknnConfig
from models.evaluation.next_item.sessions import Session, Test, read_tests, read_training, whole_sessions
from models.evaluation.ranks import MISSED, figures, place_of
from streams.__main__ import main

NONE = np.empty(0, np.int32)
NEEDS_IMPLICIT = pytest.mark.skipif(
    find_spec("implicit") is None, reason="pip install 'crosscurrent[evaluation]' brings implicit"
)
INSTALLED = [name for name in METHODS if name not in MODELS or find_spec("implicit") is not None]
TABLE = "SessionId\tItemId\tTime\n1\ta\t10.0\n2\tc\t5.5\n1\tb\t12.0\n2\ta\t7.0\n1\ta\t11.0\n"

clock = map(float, count()).__next__
"""A second passes with each look at it."""


def silent(stage: str, done: int, of: int) -> None:
    assert stage
    assert done <= of


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


# -- files -------------------------------------------------------------------------------------------------------------


def test_sessions_a_line_are_spread_over_time_in_their_order(tmp_path: Path) -> None:
    first, second = read_training(write(tmp_path / "train.txt.gz", "a b a\nc\n"))
    assert (first.items, second.items) == (("a", "b", "a"), ("c",))
    assert list(first.times) == sorted(set(first.times))
    assert second.times[0] - first.times[0] == 60 * 86_400.0


def test_a_table_is_put_into_sessions_by_time(tmp_path: Path) -> None:
    sessions = read_training(write(tmp_path / "train.txt", TABLE))
    assert sessions == [Session(("c", "a"), (5.5, 7.0)), Session(("a", "a", "b"), (10.0, 11.0, 12.0))]


def test_prefixes_of_one_session_belong_together(tmp_path: Path) -> None:
    lines = "a b c\td\na b\tc\na\tb\nx\ty\nx y\tz\na\tb\n"  # longest first, shortest first, and one of its own
    tests = read_tests(write(tmp_path / "test.txt", lines), after=1000.0)
    assert [test.session for test in tests] == [0, 0, 0, 1, 1, 2]
    assert (tests[0].prefix, tests[0].target) == (("a", "b", "c"), "d")
    assert [session.items for session in whole_sessions(tests).values()] == [
        ("a", "b", "c", "d"), ("x", "y", "z"), ("a", "b")
    ]  # fmt: skip
    assert tests[0].times[:2] == tests[1].times
    assert min(test.times[0] for test in tests) >= 1000.0


def test_a_table_of_tests_asks_every_prefix(tmp_path: Path) -> None:
    tests = read_tests(write(tmp_path / "test.txt", TABLE), after=0.0)
    assert [(test.session, test.prefix, test.target) for test in tests] == [
        (0, ("c",), "a"), (1, ("a",), "a"), (1, ("a", "a"), "b")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("a b\n\nc\n", ":2: expected item ids between spaces, got an empty line"),
        ("SessionId\tItemId\n1\ta\n", ":1: expected the columns SessionId, ItemId, Time, got SessionId, ItemId"),
        ("SessionId\tItemId\tTime\n1\ta\t1.0\n1\tb\tnoon\n", ":3: expected 3 cells between tabs, Time in epoch"),
        ("SessionId\tItemId\tTime\n1\ta\n", ":2: expected 3 cells"),
    ],
)
def test_a_wrong_training_file_is_told_by_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = write(tmp_path / "train.txt", text)
    with pytest.raises(SessionFileError) as caught:
        read_training(path)
    assert str(path) in str(caught.value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("line", ["a b c", "\tb", "a\tb c", "a\t"])
def test_a_wrong_test_line_is_told(tmp_path: Path, line: str) -> None:
    with pytest.raises(SessionFileError, match=r":2: expected `item item ... TAB item`"):
        read_tests(write(tmp_path / "test.txt", f"a\tb\n{line}\n"), after=0.0)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SessionFileError, match="cannot be read"):
        read_training(tmp_path / "nowhere.txt")
    (tmp_path / "bad.txt.gz").write_bytes(b"not compressed")
    with pytest.raises(SessionFileError, match="cannot be read"):
        read_training(tmp_path / "bad.txt.gz")


# -- places and figures ------------------------------------------------------------------------------------------------


def test_ties_count_against_us_and_what_is_taken_out_does_not_count() -> None:
    ids, scores = np.array([1, 2, 3, 4], np.int32), np.array([0.9, 0.5, 0.5, 0.1])
    assert [place_of(item, ids, scores, NONE) for item in (1, 2, 3, 4, 5)] == [1, 3, 3, 4, MISSED]
    assert place_of(4, ids, scores, np.array([1, 3, 9], np.int32)) == 2


def test_figures_are_means_in_percent_with_an_interval_around_them() -> None:
    places = np.array([1, 2, 40, MISSED] * 50)
    found = figures(places, np.arange(200), 20, seed=1)
    assert found["hr@20"].percent == 50.0
    assert found["mrr@20"].percent == 37.5
    assert found["ndcg@20"].percent == pytest.approx(25 * (1 + 1 / math.log2(3)), abs=1e-3)
    # Of 200 draws of a share of one half the deviation is 3.5 %: the interval is about 6.9 to either side.
    assert found["hr@20"].low == pytest.approx(50 - 6.9, abs=1.0)
    assert found["hr@20"].high == pytest.approx(50 + 6.9, abs=1.0)
    assert figures(places, np.arange(200), 20, seed=1) == found


def test_tests_of_one_session_are_drawn_together() -> None:
    places = np.repeat([1, MISSED], 100)
    alone = figures(places, np.arange(200), 20, seed=1)["hr@20"]
    clustered = figures(places, np.repeat(np.arange(20), 10), 20, seed=1)["hr@20"]
    assert clustered.high - clustered.low > 2.5 * (alone.high - alone.low)


def test_no_tests_give_no_figures() -> None:
    assert math.isnan(figures(np.empty(0, np.int64), np.empty(0, np.int64), 20, seed=1)["hr@20"].percent)


# -- methods -----------------------------------------------------------------------------------------------------------


def test_going_back_is_counted_by_how_many_items_there_are() -> None:
    returns = Returns()
    returns.learn([1, 1, 2, 1, 3])  # after 1: back to it; after 2 and 1: on to 3; after 1 and 2: back to the first
    np.testing.assert_allclose(returns.shares(1), [1 / (PRIOR + 2)])
    np.testing.assert_allclose(returns.shares(2), [0, 1 / (PRIOR + 2)])
    assert len(returns.shares(10 * DEPTH)) == DEPTH


def test_probabilities_add_up_to_one_and_keep_the_order_of_what_is_new() -> None:
    returns = Returns()
    for _ in range(100):
        returns.learn([1, 2, 1, 2])
    ids, scores = with_returns([1, 2], np.array([1, 5, 6], np.int32), np.array([9.0, 1.0, 3.0]), returns)
    assert scores.sum() == pytest.approx(1.0)
    found = dict(zip(ids.tolist(), scores.tolist(), strict=True))
    assert found[6] == pytest.approx(3 * found[5])
    assert found[1] == returns.shares(2)[1] > found[2] == returns.shares(2)[0]
    ids, scores = with_returns([1], NONE, np.empty(0), Returns())
    assert (ids.tolist(), scores.tolist()) == ([1], [0.0])


def test_vsknn_looks_at_the_most_recent_sessions_only() -> None:
    method = Vsknn(VsknnConfig(neighbours=10, sample=2))
    for other in (7, 8, 9):
        method.learn([1, other], [0.0, 1.0])
    assert set(method.score([1], [5.0])[0].tolist()) == {1, 8, 9}
    nearest = Vsknn(VsknnConfig(neighbours=1, sample=10))
    for other in (7, 8):
        nearest.learn([1, other], [0.0, 1.0])
    assert set(nearest.score([1], [5.0])[0].tolist()) == {1, 8}  # of two equally near the more recent
    assert nearest.score([99], [5.0])[0].tolist() == []


def test_vsknn_scores_by_the_latest_shared_item() -> None:
    method = Vsknn(VsknnConfig())
    method.learn([1, 2, 2, 5], [0.0, 1.0, 2.0, 3.0])
    method.learn([3, 6], [0.0, 1.0])
    ids, scores = method.score([1, 2, 3], [0.0, 1.0, 2.0])
    found = dict(zip(ids.tolist(), scores.tolist(), strict=True))
    assert found[5] == pytest.approx((1 / 3 + 2 / 3) / 2)  # its latest shared item is one step back
    assert found[6] == pytest.approx(3 / 3)
    assert found[2] == found[5]  # once, though it is there twice


def test_stan_fades_by_position_by_age_and_by_distance() -> None:
    config = StanConfig(position=1.0, recency_days=1.0, distance=2.0)
    method = Stan(config)
    method.learn([1, 8, 9], [0.0, 0.0, 0.0])
    method.learn([2, 7], [0.0, 86_400.0])
    ids, scores = method.score([1, 2], [86_400.0, 86_400.0])
    found = dict(zip(ids.tolist(), scores.tolist(), strict=True))
    far = math.exp(-1) / math.sqrt(2 * 3) * math.exp(-1)
    assert found[8] == pytest.approx(far * math.exp(-1 / 2))
    assert found[9] == pytest.approx(far * math.exp(-2 / 2))
    assert found[7] == pytest.approx(1 / math.sqrt(2 * 2) * math.exp(-1 / 2))


def test_arrays_of_sessions_grow() -> None:
    method, chance = Vsknn(VsknnConfig(sample=100_000, neighbours=100_000)), np.random.default_rng(3)
    sessions = chance.integers(0, 9_000, (9_000, 10))
    for session in sessions:
        method.learn(session.tolist(), [0.0] * 10)
    ids, _ = method.score([int(sessions[0, 0])], [0.0])
    expected = {int(item) for session in sessions if sessions[0, 0] in session for item in session}
    assert set(ids.tolist()) == expected


# Three sessions: 0 and 1 together, 0 and 2 with 3, and 7 twice alone. Nobody has looked at 4, 5 and 6.
THREE = ([0, 1], [0, 2, 3], [7, 7])


def fitted(name: str) -> ImplicitModel:
    model = ImplicitModel(name, 1)
    for row, items in enumerate(THREE):
        model.add(row, items)
    model.fit()
    return model


@NEEDS_IMPLICIT
def test_bm25_adds_up_how_like_an_item_is_to_those_of_the_prefix() -> None:
    model = fitted("bm25")
    first, second, both, alone = (
        dict(zip(ids.tolist(), scores.tolist(), strict=True))
        for ids, scores in model.scores_many([[0], [2], [0, 2], [7]])
    )
    assert (set(first), set(second), set(alone)) == ({0, 1, 2, 3}, {0, 2, 3}, {7})
    assert both == pytest.approx({item: first[item] + second.get(item, 0.0) for item in first})
    assert first[2] == first[3]  # always together


@NEEDS_IMPLICIT
def test_als_folds_a_new_session_in_by_the_normal_equations_of_its_items() -> None:
    model = fitted("als")
    (ids, scores), (again, same) = model.scores_many([[0, 3, 3], [0, 3, 3, 5, 99]])
    y = model._model.item_factors.astype(np.float64)
    confidence = 5.0 * np.array([1, 0, 0, 2, 0, 0, 0, 0])  # counts times alpha; 1 where there is no count
    asked = confidence > 0
    left = y.T @ y + (y[asked].T * (confidence[asked] - 1)) @ y[asked] + 0.01 * np.eye(64)
    user = np.linalg.solve(left, y[asked].T @ confidence[asked])
    assert ids.tolist() == again.tolist() == [0, 1, 2, 3, 7]
    np.testing.assert_allclose(scores, y[ids] @ user, atol=1e-5)
    np.testing.assert_allclose(same, scores)  # nobody has learnt 5 and 99


@NEEDS_IMPLICIT
def test_bpr_takes_the_mean_of_the_factors_and_each_bias_whole() -> None:
    model = fitted("bpr")
    ((ids, scores),) = model.scores_many([[0, 3]])
    factors = model._model.item_factors
    mean = np.append(factors[[0, 3], :-1].mean(axis=0), 1.0)
    assert ids.tolist() == [0, 1, 2, 3, 7]
    np.testing.assert_allclose(scores, factors[ids] @ mean, atol=1e-6)


@NEEDS_IMPLICIT
@pytest.mark.parametrize("name", MODELS)
def test_a_prefix_that_nobody_knows_is_answered_with_nothing(name: str) -> None:
    (unknown, known) = fitted(name).scores_many([[5, 99], [7]])
    assert [column.tolist() for column in unknown] == [[], []]
    assert 7 in known[0]


@NEEDS_IMPLICIT
@pytest.mark.parametrize("name", MODELS)
def test_a_fitted_model_learns_nothing_from_tests(name: str) -> None:
    training = [Session(("a", "b"), (1.0, 2.0))] * 3
    tests = [Test(n, ("x",), (5.0 + n,), "y", 6.0 + n) for n in range(3)]
    (result,) = evaluate(training, tests, [name], silent, clock, 1, learn_on_test=True).results
    assert result.all.tolist() == [MISSED] * 3


def test_the_command_says_which_package_a_method_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.evaluation.next_item.implicit_models.find_spec", lambda _: None)
    path = str(write(tmp_path / "train.txt", "a b\n"))
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "next-item", "--train", path, "--test", path, "--methods", "als,bpr,popularity"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "als, bpr: implicit is not installed: pip install 'crosscurrent[evaluation]', or choose other --methods\n"
    )


@pytest.mark.parametrize("name", INSTALLED)
def test_every_method_finds_what_always_follows(name: str) -> None:
    """Of forty pairs, one item always follows the other; popularity alone cannot know which."""
    training = [
        Session((f"a{pair}", f"b{pair}"), (3600.0 * (40 * n + pair), 3600.0 * (40 * n + pair) + 5))
        for n in range(100 if name == "bpr" else 5)  # which moves its factors a little at each look
        for pair in range(40)
    ]
    tests = [Test(pair, (f"a{pair}",), (1e8,), f"b{pair}", 1e8 + 5) for pair in range(40)]
    evaluation = evaluate(training, tests, [name], silent, clock, 1)
    (result,) = evaluation.results
    if name == "popularity":
        assert (result.new == 79).all()  # all are equally popular, and ties count against it
    else:
        # What was counted three years ago hardly weighs for the worker's recommender: it goes by the network, too.
        assert (result.new == 1).mean() >= (0.9 if name in ("lstm", "crosscurrent") else 1.0)


def test_an_item_of_the_prefix_is_asked_for_in_all_only() -> None:
    training = [Session(("a", "b", "c"), (1.0, 2.0, 3.0))] * 3
    tests = [Test(0, ("a", "b"), (9.0, 10.0), "a", 11.0), Test(0, ("a", "b", "a"), (9.0, 10.0, 11.0), "new", 12.0)]
    (result,) = evaluate(training, tests, ["last-item"], silent, clock, 1).results
    assert result.new.tolist() == [0, MISSED]
    assert result.all.tolist() == [2, MISSED]  # a and c are equally near to b


def test_learning_on_test_sees_a_session_only_after_its_tests() -> None:
    training = [Session(("a", "b"), (1.0, 2.0))]
    tests = [
        Test(0, ("x",), (5.0,), "y", 6.0),
        Test(0, ("x", "y"), (5.0, 6.0), "z", 7.0),
        Test(1, ("x",), (8.0,), "y", 9.0),
    ]
    (without,) = evaluate(training, tests, ["sequential-rules"], silent, clock, 1).results
    (learnt,) = evaluate(training, tests, ["sequential-rules"], silent, clock, 1, learn_on_test=True).results
    assert without.all.tolist() == [MISSED, MISSED, MISSED]
    assert learnt.all.tolist() == [MISSED, MISSED, 1]


def test_prefix_items_that_nobody_has_seen_do_no_harm() -> None:
    training = [Session(("a", "b"), (1.0, 2.0))]
    tests = [Test(0, ("unknown", "a"), (5.0, 6.0), "b", 7.0), Test(1, ("unknown",), (5.0,), "b", 7.0)]
    for result in evaluate(training, tests, INSTALLED, silent, clock, 1).results:
        assert result.new[0] == 1, result.name


def test_equal_runs_are_equal() -> None:
    chance = np.random.default_rng(5)
    training = [
        Session(tuple(map(str, chance.integers(0, 30, 4))), tuple(100.0 * n + np.arange(4.0))) for n in range(200)
    ]
    tests = [Test(n, ("1", str(n % 30)), (30_000.0, 30_001.0), str(n % 7), 30_002.0) for n in range(50)]
    first, second = (evaluate(training, tests, INSTALLED, silent, clock, 1) for _ in range(2))
    for result, again in zip(first.results, second.results, strict=True):
        assert (result.all == again.all).all(), result.name


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_writes_what_scripts_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write(tmp_path / "train.txt", "a b c\nb c d\na b d\n" * 20)
    test = write(tmp_path / "test.txt.gz", "a b\tc\na\tb\nb\tb\nz\ta\n")
    out = tmp_path / "figures.json"
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "next-item", "--train", str(train), "--test", str(test), "--json", str(out)])
    assert ended.value.code == 0
    figures = orjson.loads(out.read_bytes())
    assert (figures["protocol"], figures["tests"], figures["train"]) == ("next-item", 4, "train.txt")
    assert list(figures["methods"]) == list(METHODS)
    for name, found in figures["methods"].items():
        assert found["new"]["n"] == 3, name
        assert found["all"]["n"] == 4, name
        assert found["seconds"] >= 0
        assert set(found["all"]) == {"hr@20", "mrr@20", "ndcg@20", "n", "interval"}
        assert 0 <= found["all"]["mrr@20"] <= found["all"]["ndcg@20"] <= found["all"]["hr@20"] <= 100
    assert figures["methods"]["cooccurrence"]["new"]["hr@20"] == pytest.approx(66.667, abs=0.01)
    assert "cooccurrence" in capsys.readouterr().out


def test_the_command_refuses_a_method_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path / "train.txt", "a b\n"))
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "next-item", "--train", path, "--test", path, "--methods", "popularity,magic"])
    assert ended.value.code == 2
    assert "no method 'magic': choose from popularity," in capsys.readouterr().err


def test_a_sample_is_drawn_by_the_seed(tmp_path: Path) -> None:
    train = write(tmp_path / "train.txt", "a b c\n" * 5)
    test = write(tmp_path / "test.txt", "".join(f"a\t{'b' if n % 3 else 'c'}\n" for n in range(300)))
    found = []
    for seed in ("1", "1", "2"):
        out = tmp_path / "out.json"
        arguments = ["--train", str(train), "--test", str(test), "--sample", "50", "--seed", seed, "--json", str(out)]
        with pytest.raises(SystemExit):
            main(["evaluate", "next-item", "--methods", "sequential-rules", *arguments])
        found.append(orjson.loads(out.read_bytes()))
    assert found[0]["tests"] == 50
    mrr = [figures["methods"]["sequential-rules"]["all"]["mrr@20"] for figures in found]
    assert mrr[0] == mrr[1] != mrr[2]

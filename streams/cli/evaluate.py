"""`crosscurrent evaluate`: how good rankings are, beside the methods of the literature, on the same data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli import evaluate_arms, evaluate_baskets, evaluate_prequential, evaluate_uplift, evaluate_upsells
from streams.cli.evaluation_frame import EvaluationFrame, Methods, Seed, chosen, evaluation, sampled, staged_progress

if TYPE_CHECKING:
    from rich.table import Table


app = typer.Typer(help="Measure rankings against the methods of the literature.", no_args_is_help=True)
app.command("prequential")(evaluate_prequential.command)
app.command("baskets")(evaluate_baskets.command)
app.command("upsells")(evaluate_upsells.command)
app.command("uplift")(evaluate_uplift.command)
app.command("arms")(evaluate_arms.command)


@app.command("next-item")
@evaluation("json", "html")
def next_item(
    frame: EvaluationFrame,
    train: Annotated[Path, typer.Option("--train", help="Sessions to learn, in time order", show_default=False)],
    test: Annotated[Path, typer.Option("--test", help="Prefixes of later sessions, or they", show_default=False)],
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Ask only so many tests, drawn by the seed")
    ] = None,
    seed: Seed = 1,
    methods: Methods = None,
    learn_on_test: Annotated[
        bool, typer.Option("--learn-on-test", help="Learn each test session after it is scored")
    ] = False,
) -> None:
    """What comes next in a session (protocol A): HR, MRR and NDCG at 20 of every method, with 95 % intervals.

    Every method learns the training sessions once, in their order; nothing is tuned on the tests. "new": targets that
    are not in the prefix, whose items are taken out of the ranking; "all": every test, nothing taken out.
    """
    import time

    from models.evaluation.next_item.implicit_models import check_implicit
    from models.evaluation.next_item.protocol import METHODS, evaluate
    from models.evaluation.next_item.sessions import read_tests, read_training

    names = chosen(methods, METHODS)
    check_implicit(names)
    frame.check_plots()
    training = read_training(train)
    tests = read_tests(test, after=training[-1].times[-1])
    tests = [tests[number] for number in sorted(sampled(seed, sample, len(tests)))]
    with staged_progress(28) as progress:
        found = evaluate(training, tests, names, progress, time.process_time, seed, learn_on_test=learn_on_test)
    figures = {
        "protocol": "next-item",
        "train": train.name,
        "test": test.name,
        "tests": len(tests),
        "sessions": len(training),
        "learn_on_test": learn_on_test,
        "seed": seed,
        "methods": found.as_json(seed),
    }
    frame.finish(figures, _next_item_table(figures))


def _next_item_table(figures: dict[str, Any]) -> Table:
    from streams.cli.printing import new_table

    title = f"next item: {figures['tests']:,} tests after {figures['sessions']:,} sessions"
    headings = ("new HR@20", "95 %", "MRR@20", "all HR@20", "95 %", "MRR@20", "s")
    table = new_table(title, ["method"], headings)
    for name, found in figures["methods"].items():
        cells = []
        for reading in ("new", "all"):
            low, high = found[reading]["interval"]["hr@20"]
            cells += [f"{found[reading]['hr@20']:.2f}", f"{low:.1f}-{high:.1f}", f"{found[reading]['mrr@20']:.2f}"]
        table.add_row(name, *cells, f"{found['seconds']:.0f}")
    return table

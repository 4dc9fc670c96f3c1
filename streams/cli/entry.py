"""All subcommands of `crosscurrent`, one line each.

Their modules import heavy packages inside functions, so that `crosscurrent --help` is quick.
"""

from __future__ import annotations

import typer

from streams.cli import (
    backfill,
    bench,
    broker,
    dead_letters,
    demo,
    drill,
    evaluate,
    models,
    neighbours,
    publish,
    replay,
    tail,
    topics,
    trainer,
    worker,
)

app = typer.Typer(
    name="crosscurrent",
    help="Clicks and purchases on Kafka become explained cross-sell and upsell suggestions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a bug's traceback as Python prints it, without the values of variables
)
app.command("broker")(broker.command)
app.add_typer(topics.app, name="topics")
app.command("worker")(worker.command)
app.command("trainer")(trainer.command)
app.command("publish")(publish.command)
app.command("tail")(tail.command)
app.command("dead-letters")(dead_letters.command)
app.command("neighbours")(neighbours.command)
app.add_typer(replay.app, name="replay")
app.command("backfill")(backfill.command)
app.add_typer(models.app, name="models")
app.command("demo")(demo.command)
app.command("drill")(drill.command)
app.command("bench")(bench.command)
app.add_typer(evaluate.app, name="evaluate")

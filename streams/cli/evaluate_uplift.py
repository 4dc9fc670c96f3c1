"""`crosscurrent evaluate uplift`: what suggestions earn in the simulated shop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.evaluation_frame import EvaluationFrame, Seed, counting_progress, evaluation, learn_beside, log_of

if TYPE_CHECKING:
    from rich.table import Table


@evaluation("json", "policy", "config")
def command(
    frame: EvaluationFrame,
    events: Annotated[int, typer.Option("--events", min=1, help="Events of the shoppers' own accord")] = 10_000,
    seed: Seed = 1,
) -> None:
    """What suggestions earn in the simulated shop (protocol E): revenue with ours, popularity's, and no lists.

    The same shoppers come for the same things in every arm. They answer lists with known probabilities, which depend on
    what is right in that shop; what they accept goes into their orders and is learnt from. Uplift is revenue above that
    of the same shoppers without lists; what they buy anyway adds nothing. Intervals (95 %) resample shoppers.
    """
    from models.evaluation.prequential.protocol import OURS, POPULARITY, RANKINGS
    from models.evaluation.prequential.replay import Engine
    from models.evaluation.uplift.arms import Arm, NoLists, Popular, Served
    from models.evaluation.uplift.figures import NONE, figures
    from models.evaluation.uplift.loop import Loop
    from streams.connectors.answering_shop import NAME, AnsweringShop
    from streams.connectors.simulated_shop import SimulatedShop

    settings, policy = frame.settings()
    log = log_of("simulated", limit=events, seed=seed)
    own, shop = list(log.events), SimulatedShop(seed)
    answers = AnsweringShop(shop.truth, own)
    rankings = {OURS: {OURS: RANKINGS[OURS]}, POPULARITY: {}}
    engines = {
        name: Engine(
            policy,
            settings.visits,
            settings.cooccurrence,
            ranking,
            settings.flush_interval_s,
            histories=settings.histories,
        )
        for name, ranking in rankings.items()
    }
    for engine in engines.values():
        for item in log.catalog:
            engine.catalog.put(item)
    learn_beside(engines[OURS], [OURS], settings, seed)
    arms: dict[str, Arm] = {
        OURS: Served(engines[OURS], OURS),
        POPULARITY: Popular(engines[POPULARITY]),
        NONE: NoLists(),
    }
    loops = {name: Loop(log.catalog, own, answers, seed) for name in arms}
    with counting_progress(total=len(arms) * len(own)) as progress:
        for number, (name, loop) in enumerate(loops.items()):
            before = number * len(own)
            loop.run(arms[name], lambda done, before=before: progress(completed=before + done))  # type: ignore[misc]
    found: dict[str, Any] = {
        "protocol": "uplift",
        "shop": f"{shop.name}, {NAME}",
        "events": len(own),
        "shoppers": len(loops[NONE].shoppers),
        "seed": seed,
        "policy": policy.hash,
        "arms": figures(loops, seed),
    }
    frame.finish(found, _table(found))


def _table(found: dict[str, Any]) -> Table:
    from streams.cli.printing import new_table

    title = f"{found['shop']}: {found['events']:,} events of {found['shoppers']:,} shoppers, EUR"
    columns = ("revenue", "uplift", "95 %", "per 1,000 lists", "cross-sells accepted %", "upsells accepted %")
    table = new_table(title, ["arm"], columns)
    for name, arm in found["arms"].items():
        low, high = arm["uplift_interval"]
        table.add_row(
            name,
            f"{arm['revenue']:,.0f}",
            f"{arm['uplift']:,.0f}",
            f"{low:,.0f} to {high:,.0f}",
            f"{arm['uplift_per_1000_lists']:,.0f}",
            *(f"{share:.2f}" for share in arm["accepted"].values()),
        )
    return table

"""Figures of tallies, as `evaluate prequential --json` writes them: shares in percent, None if nothing was counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.lists import ALL, FIGURES, MEAN_OVER, WITH_ITEMS, WITH_TARGETS, coverage, decile_shares, gini
from models.evaluation.prequential.tallies import (
    ALONG,
    BOTH,
    COLUMNS,
    OUTCOMES,
    PARTS,
    SHORTEST_STEP_S,
    SLICES,
    UPSELLS,
    Tally,
    number,
    percent,
)
from models.evaluation.ranks import intervals_of_sums


def slice_figures(tally: Tally, k: tuple[int, int, int], seed: int) -> dict[str, Any]:
    """Figures of a method and their intervals by slice and outcome; `k` has the most places by PARTS."""
    table = np.array(list(tally.sums.values()), np.float64).reshape(-1, len(SLICES), len(OUTCOMES), COLUMNS)
    names = [(row, outcome) for row in range(len(SLICES)) for outcome in range(len(OUTCOMES))]
    tables = [table[:, row, outcome] for row, outcome in names]
    sums = np.concatenate([part[:, : len(FIGURES)] for part in tables], axis=1)
    sizes = np.concatenate([part[:, [len(FIGURES) + over for over in MEAN_OVER]] for part in tables], axis=1)
    nothing = [(math.nan, math.nan)] * len(sums.T)
    intervals = iter(intervals_of_sums(sums, sizes, seed) if len(table) else nothing)
    found: dict[str, Any] = {}
    for (row, outcome), part in zip(names, tables, strict=True):
        total = part.sum(axis=0)
        n = total[len(FIGURES) :]
        percents = {
            f"{figure}@{k[min(row, BOTH)]}": percent(total[place], n[over])
            for place, (figure, over) in enumerate(zip(FIGURES, MEAN_OVER, strict=True))
        }
        found[f"{SLICES[row]}, {OUTCOMES[outcome]}"] = (
            percents
            | {"n": int(n[ALL]), "with_items": int(n[WITH_ITEMS]), "with_targets": int(n[WITH_TARGETS])}
            | {"interval": {name: [number(end) for end in next(intervals)] for name in percents}}
        )
    return found


def list_figures(tally: Tally, offered: list[int], *, fall_backs: bool) -> dict[str, Any]:
    """Figures by part that do not depend on targets; `fall_backs`: whether the method has any."""
    found: dict[str, Any] = {}
    n = [sum(step[(1 + len(ALONG)) * part] for step in tally.curve.values()) for part in range(len(PARTS))]
    for part, name in enumerate(PARTS):
        exposure = exposure_of(tally, offered, part)
        items, fallen_back, hit = tally.items[part]
        lists, by_category, by_brand = tally.diversity[part]
        found[name] = {
            "items": items,
            "taken": hit,
            "coverage": percent(coverage(exposure), 1),
            "gini": number(round(gini(exposure), 4)) if len(exposure) else None,
            "diversity_category": percent(by_category, lists),
            "diversity_brand": percent(by_brand, lists),
            "revenue_per_1000_lists": number(round(1000 * tally.revenue[part] / n[part], 2)) if n[part] else None,
        }
        if fall_backs:
            found[name]["fall_backs"] = percent(fallen_back, items)
    (shown, steps), (taken, steps_taken) = tally.steps
    found["upsell"] |= {
        "price_step": percent(steps, shown),
        "price_step_taken": percent(steps_taken, taken),
        "lift_per_anchor": percent(steps_taken, n[UPSELLS]),
    }
    found["both"]["cold_items"] = percent(tally.cold_items, tally.items[BOTH][0])
    return found


def exposure_of(tally: Tally, offered: list[int], part: int) -> NDArray[np.int64]:
    """(offered,) how often each item was shown."""
    counters = tally.exposure if part == BOTH else tally.exposure[part : part + 1]
    return np.array([sum(shown[item] for shown in counters) for item in offered], np.int64)


def exposure_by_decile(
    tallies: Mapping[str, Tally], offered: list[int], popularity: NDArray[np.int64]
) -> dict[str, list[float | None]]:
    """Shares of all places by decile of popularity, for the events themselves and for each method."""
    shown = {name: exposure_of(tally, offered, BOTH) for name, tally in tallies.items()}
    return {
        name: [number(round(100.0 * share, 3)) for share in decile_shares(exposure, popularity)]
        for name, exposure in {"events": popularity, **shown}.items()
    }


def curve(tallies: Mapping[str, Tally], step_s: int) -> dict[str, Any]:
    """Lists and hit rates along the stream, by method and part; a step is a multiple of SHORTEST_STEP_S."""
    steps: dict[int, dict[str, list[int]]] = {}
    for method, tally in tallies.items():
        for shortest, counts in tally.curve.items():
            of_methods = steps.setdefault(
                shortest * SHORTEST_STEP_S // step_s, {name: [0] * len(counts) for name in tallies}
            )
            of_methods[method] = [a + b for a, b in zip(of_methods[method], counts, strict=True)]
    return {
        "step_s": step_s,
        "steps": [
            {"at": step * step_s, "methods": {name: _hit_rates(counts) for name, counts in of_methods.items()}}
            for step, of_methods in sorted(steps.items())
        ],
    }


def _hit_rates(counts: list[int]) -> dict[str, dict[str, float | None]]:
    """Lists of a step and their hit rates by part; `counts` as of `Tally.curve`."""
    found: dict[str, dict[str, float | None]] = {}
    width = 1 + len(ALONG)
    for place, part in enumerate(PARTS):
        n, *hits = counts[width * place : width * (place + 1)]
        found[part] = {"n": n} | {f"hr {name}": percent(hit, n) for name, hit in zip(ALONG, hits, strict=True)}
    return found

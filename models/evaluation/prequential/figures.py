"""Figures of tallies, as `evaluate prequential --json` writes them: shares in percent, None if nothing was counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.lists import ALL, FIGURES, MEAN_OVER, WITH_ITEMS, WITH_TARGETS, coverage, decile_shares, gini
from models.evaluation.prequential.tallies import (
    ALONG,
    BOTH,
    COLUMNS,
    JUDGED,
    OUTCOMES,
    PARTS,
    SHORTEST_STEP_S,
    SLICES,
    UPSELLS,
    Tally,
    number,
    percent,
)
from models.evaluation.ranks import intervals_of, intervals_of_sums, resampled_means

_LED = ("hr taken", "right")
"""Figures in which methods are compared along the stream."""


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


def truth_figures(tallies: Mapping[str, Tally], size: int, events: int, seed: int) -> dict[str, Any]:
    """Right items and hit rates: of all lists, of the last whole stretch of `size` events, and of every stretch.

    Each is by method and part, as of `_compared`; empty where there are no lists.
    """
    keys = sorted(next(iter(tallies.values())).stretches)
    counts = [[tally.stretches[key] for tally in tallies.values()] for key in keys]
    table = np.array(counts, np.float64).reshape(len(keys), len(tallies), JUDGED + 2 * len(PARTS))
    stretches, groups = np.array(keys, np.int64).reshape(-1, 2).T

    def of(stretch: int) -> dict[str, Any]:
        held = stretches == stretch
        return _compared(list(tallies), groups[held], table[held], seed)

    return {
        "stretch_events": size,
        "all": _compared(list(tallies), groups, table, seed),
        "at_end": of(events // size - 1),
        "stretches": [
            {"first": size * stretch + 1, "last": min(events, size * (stretch + 1)), "methods": of(stretch)}
            for stretch in np.unique(stretches).tolist()
        ],
    }


def _compared(
    methods: Sequence[str], groups: NDArray[np.int64], table: NDArray[np.float64], seed: int
) -> dict[str, Any]:
    """Figures of judged lists by method and part, with what the first method leads each other one by, in points.

    `groups` (n,) are of shoppers, `table` (n, methods, counts) has counts as of `Tally.stretches`. The same groups are
    resampled for all methods, so the interval of a lead is of paired lists.
    """
    if not len(groups):
        return {}
    _, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((int(group.max()) + 1, *table.shape[1:]))
    np.add.at(counts, group, table)
    width, shape = 1 + len(ALONG), (-1, len(methods), len(_LED), len(PARTS))
    sums = np.concatenate([counts[:, :, 1:JUDGED:width], counts[:, :, JUDGED + 1 :: 2]], axis=2)
    sizes = np.concatenate([counts[:, :, :JUDGED:width], counts[:, :, JUDGED::2]], axis=2)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a method has no items, or all windows are open
        rates = (sums.sum(axis=0) / sizes.sum(axis=0)).reshape(shape)[0]
    means = resampled_means(sums.reshape(len(sums), -1), sizes.reshape(len(sums), -1), seed)
    leads = (means.reshape(shape)[:, :1] - means.reshape(shape)).reshape(means.shape)
    own, lead = (np.reshape(intervals_of(resampled), (*rates.shape, 2)) for resampled in (means, leads))
    found: dict[str, Any] = {}
    for place, method in enumerate(methods):
        total = counts[:, place].sum(axis=0).astype(np.int64).tolist()
        hit_rates = _hit_rates(total[:JUDGED])
        found[method] = {}
        for part, name in enumerate(PARTS):
            items, right = total[JUDGED + 2 * part : JUDGED + 2 * part + 2]
            figures: dict[str, Any] = {
                **hit_rates[name],
                "items": items,
                "right": percent(right, items),
                "interval": {led: _ends(own[place, row, part]) for row, led in enumerate(_LED)},
            }
            if place:
                points = 100 * (rates[0] - rates[place])[:, part]
                figures["lead"] = {led: number(round(float(points[row]), 3)) for row, led in enumerate(_LED)}
                figures["lead"]["interval"] = {led: _ends(lead[place, row, part]) for row, led in enumerate(_LED)}
            found[method][name] = figures
    return found


def _ends(interval: NDArray[np.float64]) -> list[float | None]:
    return [number(end) for end in interval]


def _hit_rates(counts: list[int]) -> dict[str, dict[str, float | None]]:
    """Lists of a step and their hit rates by part; `counts` as of `Tally.curve`."""
    found: dict[str, dict[str, float | None]] = {}
    width = 1 + len(ALONG)
    for place, part in enumerate(PARTS):
        n, *hits = counts[width * place : width * (place + 1)]
        found[part] = {"n": n} | {f"hr {name}": percent(hit, n) for name, hit in zip(ALONG, hits, strict=True)}
    return found

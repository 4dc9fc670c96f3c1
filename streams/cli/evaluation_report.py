"""Figures of `crosscurrent evaluate` as one HTML page without scripts or links, with plots as inline SVG.

Its input is what `--json` writes, of any protocol: `methods`, each with readings that hold figures in percent and
perhaps their intervals. For the prequential protocol it also draws the curve along the stream, exposure, calibration.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from streams.errors import CrosscurrentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#e69f00", "#999999", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442")
"""Colours of methods, in their order, cyclic; distinguishable with colour vision deficiency (Okabe and Ito)."""

PANELS = 4
"""Figures of a reading that are drawn; the table has all."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p { color: #444; max-width: 60rem; }
figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 13px; } th, td { padding: .2rem .7rem; text-align: right; }
th { border-bottom: 1px solid #999; } td { border-bottom: 1px solid #e5e5e5; }
th:first-child, td:first-child, th.left, td.left { text-align: left; } .scroll { overflow-x: auto; }
"""


class PlotsMissingError(CrosscurrentError):
    """matplotlib is not installed. Operator action: install it as the message says, or leave `--html` out."""


def check_plots() -> None:
    """Raise PlotsMissingError if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        message = "a report needs matplotlib for its plots: pip install 'crosscurrent[evaluation]' (or matplotlib)"
        raise PlotsMissingError(message)


def report(figures: Mapping[str, Any]) -> str:
    """The page of figures as `--json` writes them. Needs matplotlib."""
    title = escape(f"Crosscurrent, evaluation: {figures.get('protocol', 'figures')}")
    parts = [f"<h1>{title}</h1>", _facts(figures)]
    if "curve" in figures:
        parts += _curve(figures)
    if "truth" in figures:
        parts += _truth(figures)
    parts += _bars(figures)
    if "exposure_by_decile" in figures:
        parts += _exposure(figures)
    if "calibration" in figures:
        parts += _calibration(figures)
    parts += _figure_tables(figures)
    head = f"<meta charset='utf-8'><title>{title}</title><style>{_STYLE}</style>"
    return f"<!doctype html>\n<html lang='en'><head>{head}</head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"


def _facts(figures: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><td>{escape(_words(name))}</td><td>{escape(_cell(value))}</td></tr>"
        for name, value in figures.items()
        if isinstance(value, str | int | float)
    )
    return f"<div class='scroll'><table>{cells}</table></div>"


def readings(figures: Mapping[str, Any]) -> dict[str, list[str]]:
    """Readings of a protocol with the names of their figures.

    >>> new = {"hr@20": 40.0, "mrr@20": 12.5, "n": 900, "interval": {"hr@20": [39.0, 41.0], "mrr@20": [12.0, 13.0]}}
    >>> readings({"methods": {"popularity": {"new": new, "seconds": 1.5}}})
    {'new': ['hr@20', 'mrr@20']}
    """
    found: dict[str, list[str]] = {}
    for method in figures["methods"].values():
        for reading, held in method.items():
            if isinstance(held, Mapping) and (names := [name for name in held if "@" in name]):
                found.setdefault(reading, names)
    return found


# -- plots -------------------------------------------------------------------------------------------------------------


def _bars(figures: Mapping[str, Any]) -> list[str]:
    """For each reading a row of panels with bars of all methods and their intervals."""
    methods = list(figures["methods"])
    parts = ["<h2>By method</h2>", "<p>In percent; lines are 95 % intervals, where the figures have some.</p>"]
    for reading, names in readings(figures).items():
        drawn = names[:PANELS]
        figure = _figure(2.9 * len(drawn) + 1.2, 0.7 + 0.32 * len(methods))
        panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        for panel, name in zip(panels, drawn, strict=True):
            _bar_panel(panel, figures["methods"], reading, name)
        counts = next((held[reading].get("n") for held in figures["methods"].values() if reading in held), None)
        figure.suptitle(reading if counts is None else f"{reading}  (n = {counts:,})", x=0.01, ha="left", fontsize=10)
        parts.append(_svg(figure, f"bars of {reading}"))
    return parts


def _bar_panel(panel: Axes, methods: Mapping[str, Any], reading: str, name: str) -> None:
    most = 0.0
    for place, held in enumerate(methods.values()):
        value = held.get(reading, {}).get(name)
        if value is None:
            continue
        low, high = held[reading].get("interval", {}).get(name) or (None, None)
        panel.barh(place, value, color=_colour(place), height=0.7)
        end = value
        if low is not None and high is not None:
            panel.plot([low, high], [place, place], color="black", linewidth=1.4, solid_capstyle="butt")
            end = high
        panel.annotate(f"{value:.2f}", (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        most = max(most, end)
    panel.set_yticks(range(len(methods)), list(methods))
    panel.set_ylim(len(methods) - 0.4, -0.6)
    panel.set_xlim(0, 1.25 * most or 1.0)
    panel.set_title(_words(name), fontsize=9, loc="left")
    panel.tick_params(left=False)


def _curve(figures: Mapping[str, Any]) -> list[str]:
    """Hit rate along the stream by part of the list and method."""
    steps, step_s = figures["curve"]["steps"], figures["curve"]["step_s"]
    unit = {600: "ten minutes", 3_600: "hour", 86_400: "day"}[step_s]
    parts = [
        "<h2>Along the stream</h2>",
        f"<p>Share of the lists of each {unit} (UTC) of which at least one item was taken (solid) or followed "
        "(dotted), in percent. Everything is learnt from the stream itself, from nothing on.</p>",
    ]
    if not steps:
        return [*parts, "<p>No list was counted.</p>"]
    at = [datetime.fromtimestamp(step["at"], UTC).replace(tzinfo=None) for step in steps]
    return [*parts, _along(at, steps, {"hr taken": "-", "hr followed": ":"}, "hit rate")]


def _truth(figures: Mapping[str, Any]) -> list[str]:
    """Share of right items and hit rate along the stream, by stretches of equally many events."""
    truth = figures["truth"]
    parts = [
        "<h2>Right by the shop's truth</h2>",
        f"<p>Of each stretch of {truth['stretch_events']:,} events, the share of the suggested items that are right "
        "(solid), and of the lists of which at least one item was taken (dotted), in percent.</p>",
    ]
    if not truth["stretches"]:
        return [*parts, "<p>Nothing was suggested.</p>"]
    ends = [stretch["last"] for stretch in truth["stretches"]]
    return [*parts, _along(ends, truth["stretches"], {"right": "-", "hr taken": ":"}, "right and taken")]


def _along(at: Sequence[Any], steps: Sequence[Mapping[str, Any]], lines: Mapping[str, str], what: str) -> str:
    """Panels by part of the list with lines along the stream: of each method each figure of `lines`, in its style."""
    methods = list(steps[0]["methods"])
    parts_of_lists = list(steps[0]["methods"][methods[0]])
    figure = _figure(4.0 * len(parts_of_lists), 3.1)
    panels = figure.subplots(1, len(parts_of_lists), squeeze=False)[0]
    marker = "o" if len(steps) < 40 else ""
    for panel, part in zip(panels, parts_of_lists, strict=True):
        for place, method in enumerate(methods):
            for number, (name, style) in enumerate(lines.items()):
                found = [step["methods"][method][part][name] for step in steps]
                values = [float("nan") if value is None else value for value in found]
                looks = {"color": _colour(place), "marker": marker, "markersize": 3, "linewidth": 1.4}
                panel.plot(at, values, style, label=None if number else method, **looks)
        panel.set_title(f"{part}, {what}", fontsize=9, loc="left")
        panel.set_ylim(bottom=0)
        panel.tick_params(axis="x", rotation=30)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(methods), fontsize=8, frameon=False)
    return _svg(figure, f"{what} along the stream")


def _exposure(figures: Mapping[str, Any]) -> list[str]:
    """Share of all places by decile of popularity."""
    shares = figures["exposure_by_decile"]
    figure = _figure(8.5, 3.1)
    panel = figure.subplots()
    width = 0.8 / len(shares)
    for place, (name, values) in enumerate(shares.items()):
        colour = "#333333" if name not in figures["methods"] else _colour(list(figures["methods"]).index(name))
        heights = [0.0 if value is None else value for value in values]
        offsets = [decile + width * (place - (len(shares) - 1) / 2) for decile in range(1, len(values) + 1)]
        panel.bar(offsets, heights, width, color=colour, label="events themselves" if name == "events" else name)
    panel.set_xticks(range(1, 11))
    panel.set_xlabel("tenth of the catalogue, the most popular first", fontsize=8)
    panel.set_ylabel("share of all places, %", fontsize=8)
    panel.legend(fontsize=8, frameon=False)
    return [
        "<h2>Popularity bias</h2>",
        "<p>How places in lists are shared among the items, by how many events each had in the whole stream. A method "
        "whose bars are higher at the left than those of the events shows the popular more than they are asked "
        "for.</p>",
        _svg(figure, "share of exposure by popularity decile"),
    ]


def _calibration(figures: Mapping[str, Any]) -> list[str]:
    """Scores against the shares that were taken and followed."""
    kinds = figures["calibration"]
    figure = _figure(4.6 * len(kinds), 3.6)
    for panel, (kind, bins) in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds.items(), strict=True):
        for outcome, marker, place in (("taken", "o", 0), ("followed", "s", 3)):
            drawn = [found for found in bins if found["score"] > 0 and found[outcome]]
            scores, shares = [found["score"] for found in drawn], [found[outcome] / 100 for found in drawn]
            panel.plot(scores, shares, marker + "-", color=_colour(place), markersize=4, linewidth=1, label=outcome)
            for found, *point in zip(drawn, scores, shares, strict=True) if outcome == "taken" else ():
                text, style = _short(found["n"]), {"textcoords": "offset points", "fontsize": 6.5, "ha": "center"}
                panel.annotate(text, point, (0, -10), **style)
        panel.plot([1e-4, 1.0], [1e-4, 1.0], "--", color="#999999", linewidth=1, label="score = share")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_title(kind, fontsize=9, loc="left")
        panel.set_xlabel("score", fontsize=8)
        panel.legend(fontsize=8, frameon=False)
    return [
        "<h2>Calibration</h2>",
        "<p>Our scores, counted by powers of two, against the share of the items that were taken or followed; the "
        "small numbers say how many items a point stands for. Scores say which item of a list comes first; on the "
        "dashed line they would be probabilities, too. Points with nothing taken cannot be drawn on these axes; the "
        "table has them.</p>",
        _svg(figure, "calibration of scores"),
    ]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, text: str) -> str:
    """A figure as an element of the page; equal figures give equal text."""
    import matplotlib

    for panel in figure.axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(True, color="#eeeeee", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=8)
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": text, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    element = out.getvalue()
    element = element[element.index("<svg") :].replace("<svg", f"<svg role='img' aria-label='{escape(text)}'", 1)
    return f"<figure>{element}</figure>"


# -- tables ------------------------------------------------------------------------------------------------------------


def _figure_tables(figures: Mapping[str, Any]) -> list[str]:
    """All figures of all readings, of lists and of calibration."""
    parts = ["<h2>All figures</h2>"]
    for reading, names in readings(figures).items():
        rows = []
        for method, held in figures["methods"].items():
            found = held.get(reading, {})
            others = [name for name in found if name not in (*names, "interval")]
            cells = []
            for name in names:
                interval = found.get("interval", {}).get(name)
                low_high = f" ({_cell(interval[0])} to {_cell(interval[1])})" if interval else ""
                cells.append(_cell(found.get(name)) + low_high)
            rows.append([method, *cells, *(_cell(found[name]) for name in others)])
        parts.append(_table(reading, ["method", *names, *others], rows))
    for kind in next(iter(figures["methods"].values())).get("lists", {}):
        lists = {method: held["lists"][kind] for method, held in figures["methods"].items()}
        heads = list(dict.fromkeys(head for found in lists.values() for head in found))
        rows = [[method, *(_cell(found.get(head)) for head in heads)] for method, found in lists.items()]
        parts.append(_table(f"{kind}: what the lists are like", ["method", *map(_words, heads)], rows))
    for kind, bins in figures.get("calibration", {}).items():
        rows = [[f"{held['score']:.5f}", *(_cell(held[name]) for name in ("n", "taken", "followed"))] for held in bins]
        parts.append(_table(f"{kind}: calibration", ["mean score", "items", "taken %", "followed %"], rows))
    return parts


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h3>{escape(title)}</h3><div class='scroll'><table><tr>{head}</tr>{body}</table></div>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _short(number: int) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else str(number)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]

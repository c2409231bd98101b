"""Plots of evaluation runs with matplotlib: heat maps, bars of the rank distance, curves.

Only the object interface is used, so no plot, backend or setting outlives a call. Equal input
gives equal bytes: fonts are matplotlib's own, SVG ids are salted, and no date is written.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

Grid = Mapping[str, Mapping[str, float | None]]
Spread = tuple[float, float]  # mean and deviation

INK = "#1d2b33"
QUIET_INK = "#5c6c75"
NO_SCORE = "#e9edee"
# Luminance falls steadily along the scale, so it also reads in grey and to the colour-blind.
HEAT = LinearSegmentedColormap.from_list(
    "heat", ["#f0f6f5", "#cfe7e3", "#93cdc8", "#4ba3ae", "#22718f", "#163f66"]
).with_extremes(bad=NO_SCORE)
RUN_COLOURS = (
    "#d1803f",
    "#2f9088",
    "#3c5a9a",
    "#b5576c",
    "#7d8f3a",
    "#7a5ea8",
    "#4b9cd3",
    "#8a6d5a",
)
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": QUIET_INK,
    "axes.edgecolor": "#c9d3d7",
    "axes.titlecolor": INK,
    "xtick.color": QUIET_INK,
    "ytick.color": QUIET_INK,
    "svg.hashsalt": "hybrid_fast",
    "svg.fonttype": "path",
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.12,
}
MARKERS = "osD^vPX*<>p"
GAP_BEFORE_ALL = 0.35
LONGEST_CODE = 12


@matplotlib.rc_context(STYLE)
def draw_grids(
    grids: Mapping[str, Grid], languages: Sequence[str], metric: str, peak: float
) -> Figure:
    """Draw one heat map for each run, side by side, on one colour scale from 0 to `peak`.

    Args:
        grids: run label to grid, a grid being query language -> corpus language or "all" -> score.
        languages: codes, the order of rows and columns.
        metric: what the colour scale is called.
        peak: the score that has the darkest colour, above 0.
    """
    num_columns = min(len(grids), 3)
    num_rows = -(-len(grids) // num_columns)
    side = 1.2 + 0.29 * max(len(languages), 4)
    size = (num_columns * (side + 0.3) + 0.9, num_rows * side)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for each, (label, grid) in zip(axes, grids.items(), strict=False):
        mesh = _draw_grid(each, grid, languages, peak)
        each.set_title(_latin(label), fontsize=11, fontweight="bold", pad=8)
    for unused in axes[len(grids) :]:
        unused.set_axis_off()
    bar = figure.colorbar(mesh, ax=list(axes), shrink=0.7, aspect=28, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(_latin(metric))
    return figure


def _draw_grid(axes: Axes, grid: Grid, languages: Sequence[str], peak: float) -> QuadMesh:
    columns = [*languages, "all"]
    cells = [[grid.get(row, {}).get(column) for column in columns] for row in languages]
    scores = np.array(cells, dtype=np.float64).reshape(len(languages), len(columns))
    edges = np.arange(len(languages) + 1.0)
    all_edges = edges[-1] + GAP_BEFORE_ALL + np.array([0.0, 1.0])
    scale = Normalize(0, peak)
    draw = partial(axes.pcolormesh, cmap=HEAT, norm=scale, edgecolors="white", linewidth=1.2)
    mesh = draw(edges, edges, scores[:, :-1])
    draw(all_edges, edges, scores[:, -1:])
    centres = [*(edges[:-1] + 0.5), all_edges.mean()]
    _write_scores(axes, scores, centres, peak)
    turn = 90 if max(map(len, columns)) > 3 else 0
    ticks = [_latin(code, LONGEST_CODE) for code in columns]
    axes.set_xticks(centres, ticks, rotation=turn)
    axes.set_yticks(centres[:-1], ticks[:-1])
    axes.set(xlabel="corpus language", ylabel="query language", aspect="equal")
    axes.set_xlim(0, all_edges[-1])
    axes.set_ylim(len(languages), 0)
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False, labelsize=8)
    axes.spines[:].set_visible(False)
    return mesh


def _write_scores(axes: Axes, scores: np.ndarray, centres: Sequence[float], peak: float) -> None:
    for (row, column), value in np.ndenumerate(scores):
        missing = np.isnan(value)
        colour = INK if missing else ink_on(heat_colour(value / peak))
        text = "-" if missing else f"{value:.2f}".removeprefix("0")
        place = (centres[column], row + 0.5)
        # Left out of the layout, which would measure thousands of them for nothing.
        axes.text(*place, text, color=colour, fontsize=6, ha="center", va="center", in_layout=False)


@matplotlib.rc_context(STYLE)
def draw_rank_distance(
    distances: Mapping[str, Mapping[str, float | None]],
    names: Mapping[str, str],
    colours: Sequence[str],
) -> Figure:
    """Draw the rank distance of each query language as bars, the runs side by side.

    Args:
        distances: run label to language code to rank distance, None where there is none.
        names: language code to the name below its bars, in order.
        colours: one for each run.
    """
    figure = Figure(figsize=(max(5.0, 0.95 * len(names) + 1), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(distances)
    starts = np.arange(len(names)) - 0.4
    for position, (by_language, colour) in enumerate(zip(distances.values(), colours, strict=True)):
        known = [(start, by_language.get(code)) for start, code in zip(starts, names, strict=True)]
        places = [start + width * (position + 0.5) for start, value in known if value is not None]
        heights = [value for _, value in known if value is not None]
        axes.bar(places, heights, width * 0.9, color=colour)
    axes.set_xticks(range(len(names)), [_latin(name).replace(" ", "\n") for name in names.values()])
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel("rank distance (lower is better)")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", color="#e6ebed", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(
        [Patch(color=colour) for colour in colours],
        [_latin(label) for label in distances],
        loc="outside upper left",
        ncols=min(len(distances), 3),
        frameon=False,
        handlelength=1,
        handleheight=1,
    )
    return figure


@matplotlib.rc_context(STYLE)
def draw_curves(
    panels: Mapping[str, Mapping[str, Sequence[Spread | None]]], field: str, values: Sequence[Any]
) -> Figure:
    """Draw scores against a field as curves with error bars, two panels a row.

    Args:
        panels: title of a panel to label of a curve to its points, one for each of `values`, None
            where there is none; all panels have the same labels.
        field: what the horizontal axes are called.
        values: of the field; in their order, but to scale (a logarithmic one if the largest is 20
            times the smallest) if all are numbers.
    """
    labels = [_latin(label) for label in next(iter(panels.values()))]
    num_rows = -(-len(panels) // 2)
    figure = Figure(
        figsize=(11.4, 3.3 * num_rows), layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12)
    )
    axes = figure.subplots(num_rows, 2, squeeze=False).ravel()
    for unused in axes[len(panels) :]:
        unused.set_axis_off()
    for each, (title, curves) in zip(axes, panels.items(), strict=False):
        each.set_title(_latin(title), fontsize=11, fontweight="bold")
        each.set_xlabel(_latin(field))
        _draw_panel(each, list(curves.values()), labels, values)
    if len(labels) > 1:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=3, frameon=False)
    return figure


def _draw_panel(
    axes: Axes,
    curves: Sequence[Sequence[Spread | None]],
    labels: Sequence[str],
    values: Sequence[Any],
) -> None:
    places, to_scale = _places(values)
    for position, (points, label) in enumerate(zip(curves, labels, strict=True)):
        by_place = sorted(zip(places, points, strict=True))
        known = [(place, *point) for place, point in by_place if point is not None]
        axes.errorbar(
            [place for place, _, _ in known],
            [mean for _, mean, _ in known],
            yerr=[deviation for _, _, deviation in known],
            color=RUN_COLOURS[position % len(RUN_COLOURS)],
            marker=MARKERS[position % len(MARKERS)],
            markersize=5,
            linewidth=1.5,
            capsize=3,
            label=label,
        )
    if to_scale and min(values) > 0 and max(values) >= 20 * min(values):
        axes.set_xscale("log")
    if axes.get_ylim()[1] >= 1000:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xticks(places, [_latin(str(value)) for value in values])
    axes.minorticks_off()
    axes.grid(axis="y", color="#e6ebed", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _places(values: Sequence[Any]) -> tuple[list[float], bool]:
    """Return where values stand on an axis, and whether that is to scale."""
    if all(type(value) in (int, float) for value in values):
        return [float(value) for value in values], True
    return [float(position) for position in range(len(values))], False


@matplotlib.rc_context(STYLE)
def to_svg(figure: Figure) -> bytes:
    """Return a plot as the bytes of an SVG file."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", facecolor="white", metadata=metadata)
    return buffer.getvalue()


def run_colours(families: Sequence[str]) -> list[str]:
    """Return a colour for each run: one hue a family (runs that differ by seed), paler by turns."""
    hues = {
        family: to_rgb(RUN_COLOURS[i % len(RUN_COLOURS)])
        for i, family in enumerate(dict.fromkeys(families))
    }
    colours = []
    for position, family in enumerate(families):
        paleness = 0.6 * families[:position].count(family) / families.count(family)
        colours.append(to_hex([channel + (1 - channel) * paleness for channel in hues[family]]))
    return colours


def heat_colour(share: float) -> str:
    """Return the colour of a score, as "#rrggbb", from its share of the scale in [0, 1]."""
    return to_hex(HEAT(share))


def ink_on(background: str) -> str:
    """Return black or white, whichever has the higher WCAG contrast on a colour (4.5 at least)."""
    luminance = relative_luminance(background)
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"


def relative_luminance(colour: str) -> float:
    """Return the relative luminance of a colour in [0, 1] as WCAG 2.2 defines it."""
    linear = [
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in to_rgb(colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _latin(label: str, longest: int = 40) -> str:
    """Return a label as the built-in font can draw it: Latin, no formula, not too long."""
    drawable = "".join(char if char.isprintable() and char < "\u0250" else "?" for char in label)
    short = (
        drawable
        if len(drawable) <= longest
        else drawable[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
    )
    plain = short.replace("$", r"\$")
    return f" {plain}" if plain.startswith("_") else plain

"""The plots of a search as PNG files: what search_plots.py draws as SVG, drawn by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rl_cli.config.schema import as_text
from rl_cli.report import pictures, search_plots, search_sections
from rl_cli.report.pictures import COLORS, SIZE, WIDE
from rl_cli.report.search_plots import MAX_LABELS, OBJECTIVES, SECOND
from rl_cli.report.search_record import Dimension, SearchRecord, Trial
from rl_cli.report.searches import Search
from rl_cli.tracking.formatting import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRAY, BLUE, ORANGE = "#7a828a", COLORS[0], COLORS[1]
"""Trials, the defaults, the best trial; the page uses the same."""

MAX_SEARCHES = 8
"""More are not drawn."""


def draw(searches: Sequence[Search]) -> dict[str, bytes]:
    """File name -> PNG of each plot of the searches."""
    found: dict[str, bytes] = {}
    for i, each in enumerate(searches[:MAX_SEARCHES]):
        name = pictures.file_name(each.record.study)
        name = f"{name}_{i}" if f"report-{name}-history.png" in found else name
        for plot in search_sections.plots_of(each.record):
            found[f"report-{name}-{plot.name}.png"] = DRAWN[plot.name](each.record)
    return found


def _title(record: SearchRecord, what: str) -> str:
    return pictures.literal(f"Search of {record.algo} on {record.env}: {what}")


def _color(record: SearchRecord, trial: Trial) -> str:
    return BLUE if trial.trial == 0 else ORANGE if trial.trial == record.best else GRAY


def history(record: SearchRecord) -> bytes:
    """The objective of each trial, the best so far, the defaults; others at the bottom."""
    figure, axes = pictures.new(*SIZE)
    complete = sorted(record.complete, key=lambda t: t.trial)
    values = [trial.values[0] for trial in complete]
    pick = min if record.minimizes else max
    if complete:
        so_far = [pick(values[: i + 1]) for i in range(len(values))]
        ends = [*(t.trial for t in complete), max(t.trial for t in record.trials)]
        look: dict[str, Any] = {"color": GRAY, "linewidth": 1.2, "label": "best so far"}
        axes.plot(ends, [*so_far, so_far[-1]], drawstyle="steps-post", **look)
    for trial in complete[:1]:
        if trial.trial == 0:
            axes.axhline(trial.values[0], color=BLUE, linewidth=1, linestyle="--")
    _dots(axes, record, complete, lambda trial: (trial.trial, trial.values[0]))
    if others := [t.trial for t in record.trials if t not in complete]:
        bottom = axes.get_xaxis_transform()  # heights from 0 to 1
        look = {"s": 16, "facecolors": "none", "edgecolors": GRAY, "linewidths": 0.8}
        axes.scatter(
            others, [0.02] * len(others), transform=bottom, **look, label="ended early or failed"
        )
        axes.margins(y=0.1)
    axes.set(title=_title(record, "history"), xlabel="trial", ylabel=OBJECTIVES[record.objective])
    axes.locator_params(axis="x", integer=True)
    pictures.shorten(axes.yaxis)
    pictures.furnish(figure, axes, "below")
    return pictures.png(figure)


def _dots(
    axes: Axes,
    record: SearchRecord,
    trials: Sequence[Trial],
    place: Callable[[Trial], tuple[float, float]],
    hollow: Callable[[Trial], bool] = lambda trial: False,
) -> None:
    """A dot per trial, the defaults and the best one in colors of their own."""
    names = {GRAY: "trial", BLUE: "defaults", ORANGE: "best trial"}
    for color, name in names.items():
        shown = [place(t) for t in trials if _color(record, t) == color]
        fill = ["none" if hollow(t) else color for t in trials if _color(record, t) == color]
        if shown:
            size = 20 if color == GRAY else 42
            x, y = zip(*shown, strict=True)
            axes.scatter(x, y, s=size, facecolors=fill, edgecolors=color, label=name, zorder=3)


def pareto(record: SearchRecord) -> bytes:
    """Both objectives of each trial; those of the front are filled."""
    figure, axes = pictures.new(*SIZE)
    front = sorted(_both(trial) for trial in record.complete if trial.front)
    if front:
        axes.plot(*zip(*front, strict=True), color=GRAY, linewidth=0.8)
    _dots(axes, record, record.complete, _both, lambda trial: not trial.front)
    what = "Pareto front (filled)"
    axes.set(title=_title(record, what), ylabel=OBJECTIVES[record.objective])
    axes.set_xlabel(SECOND.get(record.second or "", ""))
    pictures.shorten(axes.xaxis)
    pictures.shorten(axes.yaxis)
    pictures.furnish(figure, axes, "below")
    return pictures.png(figure)


def _both(trial: Trial) -> tuple[float, float]:
    return trial.values[1], trial.values[0]


def importances(record: SearchRecord) -> bytes:
    """A bar per key."""
    shares = sorted(record.importances.items(), key=lambda item: item[1])
    figure, axes = pictures.new(SIZE[0], 0.3 * len(shares) + 1.0)
    names = [pictures.literal(key.removeprefix("algo.")) for key, _ in shares]
    bars = axes.barh(range(len(shares)), [share for _, share in shares], color=BLUE, height=0.7)
    axes.bar_label(bars, [f"{share:.0%}" for _, share in shares], padding=4, fontsize="small")
    axes.set_yticks(range(len(shares)), names)
    axes.set(title=_title(record, "importances (PED-ANOVA)"))
    axes.xaxis.set_visible(False)
    axes.margins(x=0.12)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    return pictures.png(figure)


def parallel(record: SearchRecord) -> bytes:
    """A line per complete trial through its values to its objective; the better, the darker."""
    figure, axes = pictures.new(WIDE, 4.6)
    keys, lines = search_plots.paths(record)
    values = [trial.values[0] for trial in record.complete]
    least, most = min(values), max(values)
    for trial, places, opacity in lines:
        end = (trial.values[0] - least) / (most - least) if most > least else 0.5
        color = _color(record, trial)
        special = color != GRAY
        look: dict[str, Any] = {
            "alpha": 1.0 if special else opacity,
            "linewidth": 2.0 if special else 1.2,
        }
        style = "--" if color == BLUE else "-"
        name = {BLUE: "defaults", ORANGE: "best trial"}.get(color)
        order = 3 if special else 2
        axes.plot(
            range(len(keys) + 1),
            [*places, end],
            style,
            color=color,
            label=name,
            zorder=order,
            **look,
        )
    for i, key in enumerate(keys):
        _axis(axes, i, record.space[key], i % 2 == 1)
    _objective(axes, len(keys), least, most)
    axes.set(ylim=(-0.1, 1.25), xlim=(-0.4, len(keys) + 0.7))
    axes.set_title(_title(record, "parallel coordinates"))
    axes.set_axis_off()
    pictures.place_legend(figure, axes, "below")
    return pictures.png(figure)


def _axis(axes: Axes, x: float, dimension: Dimension, lower: bool) -> None:
    """The axis of a key: its name above, its bounds or choices at it."""
    axes.plot([x, x], [0, 1], color="#444444", linewidth=0.8, zorder=1)
    name = pictures.literal(dimension.key.rpartition(".")[2])
    axes.text(x, 1.11 if lower else 1.19, name, ha="center", fontsize="small")
    if dimension.kind != "categorical":
        axes.text(x, -0.03, search_plots.number_of(dimension.low), **SMALL, va="top")
        axes.text(x, 1.02, search_plots.number_of(dimension.high), **SMALL, va="bottom")
        return
    last = max(len(dimension.choices) - 1, 1)
    for i, choice in enumerate(dimension.choices[:MAX_LABELS]):
        text = pictures.literal(as_text(choice)[:14])
        axes.text(x + 0.04, i / last, text, fontsize="x-small", va="center", bbox=CLEAR, zorder=4)


SMALL: dict[str, Any] = {"ha": "center", "fontsize": "x-small"}
CLEAR: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
"""Behind a text that lines may cross."""


def _objective(axes: Axes, x: float, least: float, most: float) -> None:
    """The axis on the right."""
    from matplotlib.ticker import MaxNLocator

    axes.plot([x, x], [0, 1], color="#444444", linewidth=0.8, zorder=1)
    axes.text(x, 1.19 if x % 2 == 0 else 1.11, "objective", ha="center", fontsize="small")
    if not most > least or not math.isfinite(most - least):
        axes.text(x + 0.06, 0.5, number(least), fontsize="x-small", va="center")
        return
    for tick in MaxNLocator(5).tick_values(least, most):
        if least <= tick <= most:
            place = (tick - least) / (most - least)
            axes.text(x + 0.06, place, number(tick), fontsize="x-small", va="center")


def fresh(record: SearchRecord) -> bytes:
    """Each candidate on fresh seeds: its runs, and the IQM with its interval."""
    figure, axes = pictures.new(SIZE[0], 0.55 * len(record.checked) + 1.2)
    for i, each in enumerate(record.checked):
        color = COLORS[i % len(COLORS)]
        axes.scatter(each.values, [i] * len(each.values), s=18, color=color, alpha=0.6)
        iqm, low, high = (*each.iqm, None, None, None)[:3]
        if low is not None and high is not None:
            axes.plot([low, high], [i - 0.25] * 2, color=color, linewidth=3)
        if iqm is not None:
            axes.scatter([iqm], [i - 0.25], s=48, color=color, zorder=3)
    names = ["defaults" if each.trial == 0 else f"trial {each.trial}" for each in record.checked]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.set(title=_title(record, "fresh seeds"), xlabel=OBJECTIVES[record.objective])
    pictures.shorten(axes.xaxis)
    pictures.furnish(figure, axes)
    return pictures.png(figure)


DRAWN = {
    "fresh": fresh,
    "history": history,
    "pareto": pareto,
    "importances": importances,
    "parallel": parallel,
}
"""Plot -> what draws it, as `search_sections.DRAWN`."""

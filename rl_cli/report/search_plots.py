"""Plots of a search as SVG: history, importances, parallel coordinates, Pareto front, fresh seeds.

The elements of one trial have the class t<number> in every plot, so that the page can highlight them
together.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from rl_cli.config.schema import as_text
from rl_cli.report.search_record import Dimension, SearchRecord, Trial
from rl_cli.tracking.formatting import number

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 84, 20, 16, 48

OBJECTIVES = {
    "final": "return of the last evaluation",
    "best": "return of the best evaluation",
    "auc": "mean return over the budget",
    "steps": "env steps to the threshold",
}
"""What an objective is; the label of its axis."""

SECOND = {"seconds": "seconds of training", "steps": "env steps to the threshold"}
"""The same of the second objective."""

COLORS = 8
"""Of candidates, as of the groups in charts."""

MAX_AXES = 9
"""Keys of the parallel coordinates, the most important ones."""

MAX_LABELS = 8
"""Choices of a categorical axis that are written next to it."""


def _svg(body: str, label: str, height: int = HEIGHT, css: str = "") -> str:
    label = html.escape(label)
    head = f'<svg class="{css}" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">'
    return f"{head}{body}</svg>"


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _labels(x: str, y: str) -> str:
    """The data that the axes of a plot show."""
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f'<text transform="translate(16 {middle:.0f}) rotate(-90)" text-anchor="middle">'
    return f"{turned}{html.escape(y)}</text>" + _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x)


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _dot(x: float, y: float, css: str, title: str, size: float = 3.5) -> str:
    shown = f"<title>{html.escape(title)}</title>"
    return f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{size}">{shown}</circle>'


class _Scale:
    """A linear scale of values to pixels, a little wider than the values."""

    def __init__(self, values: Sequence[float], low: float, high: float) -> None:
        least, most = min(values, default=0.0), max(values, default=1.0)
        size = max(abs(least), abs(most), 1e-9)
        margin = 0.05 * (most - least if most - least > 1e-9 * size else size)
        self.least, self.most, self.low, self.high = least - margin, most + margin, low, high

    def __call__(self, value: float) -> float:
        share = (value - self.least) / (self.most - self.least)
        return self.low + share * (self.high - self.low)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the scale."""
        raw = (self.most - self.least) / count
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(size * k for k in (1, 2, 5, 10) if size * k >= raw)
        first = math.ceil(self.least / step)
        return [k * step for k in range(first, math.floor(self.most / step) + 1)]


def _y_axis(scale: _Scale) -> str:
    lines = [_line(LEFT, scale(t), WIDTH - RIGHT, scale(t), "grid") for t in scale.ticks()]
    texts = [_text(LEFT - 8, scale(t) + 4, number(t), "end") for t in scale.ticks()]
    return "".join(lines + texts)


def title_of(trial: Trial) -> str:
    """A trial in one line."""
    result = " / ".join(map(number, trial.values)) if trial.values else trial.state
    keys = " ".join(f"{k.rpartition('.')[2]}={as_text(v)}" for k, v in trial.keys.items())
    return f"trial {trial.trial}: {result}  {keys}"


def _special(record: SearchRecord, trial: Trial) -> str:
    """CSS class of the defaults and of the best trial."""
    return " first" if trial.trial == 0 else " top" if trial.trial == record.best else ""


def history(record: SearchRecord) -> str:
    """The objective of each trial, the best so far, the defaults; pruned and failed ones at the bottom."""
    complete = sorted(record.complete, key=lambda t: t.trial)
    y = _Scale([t.values[0] for t in complete], HEIGHT - BOTTOM - 14, TOP)
    x = _Scale([0, max((t.trial for t in record.trials), default=1)], LEFT, WIDTH - RIGHT)
    parts, best = [_y_axis(y)], list[str]()
    pick, so_far = (min if record.minimizes else max), None
    for trial in complete:
        if so_far is not None:
            best.append(f"L{x(trial.trial):.1f} {y(so_far):.1f}")
        so_far = trial.values[0] if so_far is None else pick(so_far, trial.values[0])
        best.append(f"{'L' if best else 'M'}{x(trial.trial):.1f} {y(so_far):.1f}")
    first = [y(trial.values[0]) for trial in complete if trial.trial == 0]
    parts += [_line(LEFT, height, WIDTH - RIGHT, height, "defaults") for height in first]
    parts.append(f'<path class="best" d="{" ".join(best)}"/>' if best else "")
    for trial in record.trials:
        done = trial in complete
        css = f"trial t{trial.trial} {trial.state}{_special(record, trial)}"
        height = y(trial.values[0]) if done else HEIGHT - BOTTOM - 4
        parts.append(_dot(x(trial.trial), height, css, title_of(trial), 3.5 if done else 2.5))
    parts += [_text(x(t), HEIGHT - 28, f"{t:g}") for t in x.ticks(8) if t >= 0 and t == int(t)]
    parts.append(_labels("trial", OBJECTIVES[record.objective]))
    return _svg("".join(parts), "objective of each trial")


def importances(record: SearchRecord) -> str:
    """A bar per key."""
    shares = sorted(record.importances.items(), key=lambda item: -item[1])
    left, row = 230, 24
    most = max((share for _, share in shares), default=1.0) or 1.0
    parts = []
    for i, (key, share) in enumerate(shares):
        width = max((WIDTH - left - 70) * share / most, 0.5)
        parts.append(_text(left - 8, row * i + 20, key.removeprefix("algo."), "end"))
        parts.append(
            f'<rect class="bar" x="{left}" y="{row * i + 8}" width="{width:.1f}" height="15"/>'
        )
        parts.append(_text(left + width + 6, row * i + 20, f"{share:.0%}", "start"))
    return _svg("".join(parts), "importance of each key", row * len(shares) + 14)


def parallel(record: SearchRecord) -> str:
    """A line per complete trial through its values; better trials are drawn last and darker."""
    keys, lines = paths(record)
    height, step = 360, (WIDTH - 120) / max(len(keys), 1)
    top, bottom = 40, height - 24
    value = _Scale([t.values[0] for t in record.complete], bottom, top)
    parts = []
    for trial, places, opacity in lines:
        points = [
            f"{50 + i * step:.1f},{bottom - place * (bottom - top):.1f}"
            for i, place in enumerate(places)
        ]
        points.append(f"{50 + len(keys) * step:.1f},{value(trial.values[0]):.1f}")
        css = f"path t{trial.trial}{_special(record, trial)}"
        style = f"opacity:{opacity:.2f}"
        shown = f"<title>{html.escape(title_of(trial))}</title>"
        parts.append(
            f'<polyline class="{css}" style="{style}" points="{" ".join(points)}">{shown}</polyline>'
        )
    for i, key in enumerate(keys):
        parts.append(_axis(50 + i * step, record.space[key], top, bottom, i % 2 == 1))
    x = 50 + len(keys) * step
    parts += [_line(x, top, x, bottom, "axis"), _text(x, 12, "objective")]
    parts += [_text(x + 6, value(t) + 4, number(t), "start") for t in value.ticks()]
    return _svg("".join(parts), "keys and objective of each complete trial", height, "many")


def paths(record: SearchRecord) -> tuple[list[str], list[tuple[Trial, list[float], float]]]:
    """The lines of parallel coordinates.

    Returns:
        The keys of the axes, the most important first; and, the best last, each complete trial, its place on
        each axis (0 to 1) and its opacity. A trial with a value outside of its range is left out.

    """
    keys = sorted(record.space, key=lambda k: -record.importances.get(k, 0.0))[:MAX_AXES]
    order = sorted(record.complete, key=lambda t: t.values[0], reverse=record.minimizes)
    found = []
    for rank, trial in enumerate(order):
        places = [record.space[key].place(trial.keys.get(key)) for key in keys]
        known = [place for place in places if place is not None]
        if len(known) == len(keys):
            share = rank / max(len(order) - 1, 1)
            found.append((trial, known, 0.15 + 0.75 * share**3))
    return keys, found


def _axis(x: float, dimension: Dimension, top: float, bottom: float, lower: bool) -> str:
    parts = [_line(x, top, x, bottom, "axis")]
    parts.append(_text(x, 26 if lower else 12, dimension.key.rpartition(".")[2]))
    if dimension.kind == "categorical":
        shown = list(enumerate(dimension.choices))[:MAX_LABELS]
        last = max(len(dimension.choices) - 1, 1)
        parts += [
            _text(x + 4, bottom - (bottom - top) * i / last + 4, as_text(choice)[:14], "start")
            for i, choice in shown
        ]
    else:
        parts.append(_text(x, bottom + 15, number_of(dimension.low)))
        parts.append(_text(x + 4, top + 4, number_of(dimension.high), "start"))
    return "".join(parts)


def number_of(value: float | None) -> str:
    """A bound of a range."""
    return "" if value is None else f"{value:g}"


def pareto(record: SearchRecord) -> str:
    """Both objectives of each trial; the front is marked."""
    y = _Scale([t.values[0] for t in record.complete], HEIGHT - BOTTOM, TOP)
    x = _Scale([t.values[1] for t in record.complete], LEFT, WIDTH - RIGHT)
    parts = [_y_axis(y)]
    for trial in record.complete:
        css = f"trial t{trial.trial}{_special(record, trial)}"
        css += " front" if trial.front else " behind"
        parts.append(_dot(x(trial.values[1]), y(trial.values[0]), css, title_of(trial), 4.5))
    parts += [_text(x(t), HEIGHT - 28, number(t)) for t in x.ticks()]
    parts.append(_labels(SECOND.get(record.second or "", ""), OBJECTIVES[record.objective]))
    return _svg("".join(parts), "both objectives of each trial")


def fresh(record: SearchRecord) -> str:
    """Each candidate on fresh seeds: its runs, and the IQM with its interval."""
    every = [value for each in record.checked for value in each.values]
    x, row = _Scale(every, 120, WIDTH - RIGHT), 40
    height = row * len(record.checked) + 46
    parts = [_line(x(t), 8, x(t), height - 40, "grid") for t in x.ticks()]
    parts += [_text(x(t), height - 24, number(t)) for t in x.ticks()]
    parts.append(_text((120 + WIDTH - RIGHT) / 2, height - 4, OBJECTIVES[record.objective]))
    for i, each in enumerate(record.checked):
        y = row * i + 28
        name = "defaults" if each.trial == 0 else f"trial {each.trial}"
        parts.append(_text(108, y + 4, name, "end"))
        css = f"checked k{i % COLORS}"
        parts += [_dot(x(v), y, css, f"{name}: {number(v)}", 3) for v in each.values]
        iqm, low, high = (*each.iqm, None, None, None)[:3]
        if low is not None and high is not None:
            parts.append(_line(x(low), y - 11, x(high), y - 11, f"interval {css}"))
        if iqm is not None:
            parts.append(_dot(x(iqm), y - 11, f"iqm {css}", f"{name}: IQM {number(iqm)}", 4.5))
    return _svg("".join(parts), "runs on fresh seeds", height)

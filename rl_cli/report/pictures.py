"""The charts of a report as PNG files, for slides and papers. Drawn by matplotlib, an optional package.

The plots of a search: search_pictures.py.
"""

from __future__ import annotations

import importlib.util
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rl_cli.core.errors import BadInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f",
)  # fmt: skip
"""Okabe and Ito; the page uses the same."""

SIZE, WIDE, DPI = (6.4, 4.0), 10.24, 150
"""Inches, width in inches of a picture with more in it, dots per inch: 960 or 1536 x 600 pixels."""

MAX_PICTURES = 40
"""More are not drawn."""

MAX_LINES = 32
"""Of a picture; more are not drawn, which its title says."""

LEGEND_AT_RIGHT = 6
"""Number of lines from which the legend is placed to the right of the chart."""

STYLES = ("-", "--", "-.", ":")
"""Of lines that have the same color."""

MAX_NAME = 40
"""Characters of an env in a file name, and of a method in a legend."""


def require(drawn: bool | None) -> bool:
    """Whether pictures are drawn. Raises BadInput if they are requested and matplotlib is missing."""
    if drawn and not available():
        raise BadInput("pictures need matplotlib", "pictures=true", "pip install 'rl-cli[plots]'")
    return available() if drawn is None else drawn


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(data: Mapping[str, Any]) -> dict[str, bytes]:
    """File name -> PNG of each chart of `page.describe`."""
    found: dict[str, bytes] = {}
    for i, env in enumerate(data["envs"]):
        if len(found) >= MAX_PICTURES:
            break
        name = file_name(env["env"])
        name = f"{name}_{i}" if f"report-{name}.png" in found else name
        groups = env["groups"]
        lines = [{**g["curve"], "name": g["method"]} for g in groups]
        if not any(len(line["x"]) for line in lines):
            continue  # no run was evaluated
        found[f"report-{name}.png"] = _picture(
            lines, env["env"], "env steps", "evaluation return", threshold=env["threshold"]
        )
        steps = [_staircase(g) for g in groups if g["reached"]]
        if any(len(g["reached"]["x"]) for g in groups if g["reached"]):
            at = "their threshold" if env["threshold"] is None else env["threshold"]
            found[f"report-{name}-solved.png"] = _picture(
                steps,
                f"{env['env']}: runs that reached {at}",
                *("env steps", "share of runs"),
                steps=True,
            )
    return found | ({} if data["across"] is None else _across(data["across"]))


def file_name(text: str) -> str:
    """A part of a file name, from the name of an env or a study."""
    return re.sub(r"[^\w-]+", "_", text, flags=re.ASCII)[:MAX_NAME].strip("_") or "env"


def _across(found: Mapping[str, Any]) -> dict[str, bytes]:
    title = f"{len(found['envs'])} envs"
    parts = {
        name: [{"x": found[x], **m[name], "name": m["method"]} for m in found["methods"]]
        for name, x in (("profile", "tau"), ("efficiency", "steps"))
    }
    return {
        "report-profile.png": _picture(
            parts["profile"], title, "scaled return", "share of runs above"
        ),
        "report-efficiency.png": _picture(
            *(parts["efficiency"], title, "env steps", "scaled return, IQM"),
            log=True,
        ),
    }


def _staircase(group: Mapping[str, Any]) -> dict[str, Any]:
    """Shares of a group's runs from step 0 to its last evaluation."""
    reached = group["reached"]
    x, y = [0.0, *reached["x"]], [0.0, *reached["y"]]
    if len(group["curve"]["x"]):
        x, y = [*x, float(group["curve"]["x"][-1])], [*y, y[-1]]
    return {"name": group["method"], "x": x, "y": y}


def _picture(
    lines: Sequence[Mapping[str, Any]],
    title: str,
    x_label: str,
    y_label: str,
    threshold: float | None = None,
    steps: bool = False,
    log: bool = False,
) -> bytes:
    """A PNG of lines {name, x, y, low, high}; `low` and `high` are the bounds of a band."""
    drawn, wide = lines[:MAX_LINES], len(lines) >= LEGEND_AT_RIGHT
    size = (WIDE, max(SIZE[1], 0.19 * len(drawn) + 0.5)) if wide else SIZE
    figure, axes = new(*size)
    for i, line in enumerate(drawn):
        _line(axes, line, i, steps)
    if len(drawn) < len(lines):
        title = f"{title}: {len(drawn)} of {len(lines)}"
    if threshold is not None:
        axes.axhline(threshold, color="#888888", linewidth=0.8, linestyle=":")
    axes.set(title=literal(title), xlabel=x_label, ylabel=y_label)
    if log:
        axes.set_xscale("log")
    shorten(axes.xaxis)
    if steps:  # shares
        axes.set_ylim(-0.02, 1.02)
    furnish(figure, axes, "right" if wide else "inside")
    return png(figure)


def new(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty picture. Args: width, height: in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def shorten(axis: Axis) -> None:
    """Write the numbers of an axis as 12k, 1.5M."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def furnish(figure: Figure, axes: Axes, legend: str = "inside") -> None:
    """Grid, frame and legend. Args: legend: as of `place_legend`."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    place_legend(figure, axes, legend)


def place_legend(figure: Figure, axes: Axes, where: str) -> None:
    """A legend, if there is something to name. Args: where: inside the chart, right of it or below it."""
    look: dict[str, Any] = {"frameon": False, "fontsize": "small"}
    if where == "right":
        figure.legend(loc="outside right upper", **look)
    elif axes.get_legend_handles_labels()[0]:
        if where == "below":
            figure.legend(loc="outside lower center", ncols=5, columnspacing=1.2, **look)
        else:
            axes.legend(**look)


def png(figure: Figure) -> bytes:
    """The bytes of a PNG."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks
        figure.savefig(out, format="png", metadata={"Software": "rl-cli"})
    return out.getvalue()


def _line(axes: Axes, line: Mapping[str, Any], place: int, steps: bool) -> None:
    color = COLORS[place % len(COLORS)]
    dashes = STYLES[place // len(COLORS) % len(STYLES)]
    x, y = np.asarray(line["x"], float), np.asarray(line["y"], float)
    marker = "o" if np.isfinite(y).sum() == 1 else ""
    drawstyle = "steps-post" if steps else "default"
    name = line["name"]
    label = literal(name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…")
    look: dict[str, Any] = {
        "color": color,
        "linestyle": dashes,
        "drawstyle": drawstyle,
        "marker": marker,
    }
    axes.plot(x, y, label=label, **look)
    if "low" in line:
        low, high = np.asarray(line["low"], float), np.asarray(line["high"], float)
        if not all(map(math.isnan, low)):
            axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)


def _short(value: float) -> str:
    """12k, 1.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def literal(text: str) -> str:
    """A text that matplotlib does not read as a formula; a label that begins with _ would be hidden."""
    return " " * text.startswith("_") + text.replace("$", r"\$")

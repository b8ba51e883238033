"""Numbers, durations, paths and summaries as text for the terminal."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from rl_cli.core.errors import escaped
from rl_cli.tracking.statistics import Summary

SPARKS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int) -> str:
    """The values as a row of `width` or fewer block characters, each the mean of its neighbors."""
    if not values:
        return ""
    means = binned(values, width)
    low, high = min(means), max(means)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[int((m - low) * scale)] for m in means)


def binned(values: Sequence[float], width: int) -> list[float]:
    """Means of `width` or fewer groups of neighboring values."""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def joined(items: Sequence[str], width: int) -> str:
    """Items in lines of at most `width` characters; an item is broken only if it is longer."""
    lines = [""]
    for item in items:
        longer = f"{lines[-1]}   {item}" if lines[-1] else item
        if len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(item)
    return "\n".join(lines)


def path_lines(path: str, width: int) -> list[str]:
    """A path in lines of at most `width` characters, broken after a slash where there is one."""
    lines = [""]
    for part in re.findall(r"[^/]*/|[^/]+", path):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return lines


def describe(summary: Summary) -> str:
    """An evaluation: mean, standard deviation of several episodes, success rate."""
    text = f"eval return {number(summary.mean)}"
    if summary.episodes > 1:
        text += f" ± {number(summary.std)}"
    text += f" ({summary.episodes} episode{'s' if summary.episodes > 1 else ''})"
    if summary.success_rate is not None:
        text += f", success {summary.success_rate:.0%}"
    return text


def describe_returns(row: Mapping[str, float]) -> list[str]:
    """Mean, maximum and success rate of a row's episodes; empty if none ended."""
    if "rollout/episode_return" not in row:
        return []
    words = [number(row["rollout/episode_return"])]
    if "rollout/episode_return_max" in row:
        words.append(f"max {number(row['rollout/episode_return_max'])}")
    if "rollout/success_rate" in row:
        words.append(f"success {row['rollout/success_rate']:.0%}")
    return words


def describe_row(row: Mapping[str, float], episodes: int | None) -> list[str]:
    """A row of metrics. `episodes`: the budget of episodes, if that measures progress."""
    words = [] if episodes is None else [f"episode {row['rollout/episodes']:,.0f}/{episodes:,}"]
    if returns := describe_returns(row):
        words += [f"return {returns[0]}", *returns[1:]]
    words.append(f"{row['time/steps_per_second']:,.0f} steps/s")
    if "train/loss" in row:
        words.append(f"loss {number(row['train/loss'])}")
    return words


def describe_training(summary: Mapping[str, float]) -> str:
    """A run's training episodes, from `EpisodeTally.summary`."""
    text = (
        f"{summary['episodes']:,} episodes, return {number(summary['mean'])} ± {number(summary['std'])}, "
        f"mean length {summary['mean_length']:,.1f}"
    )
    if "success_rate" in summary:  # not that of an evaluation: of the untrained agent too
        text += f"; {summary['success_rate']:.0%} of them, while learning and exploring, "
        at = summary.get("success_at")
        text += "were a success" if at is None else f"reached {at:g}"
    return text


def success_means(summary: Summary) -> str:
    """What the success rate of a summary counts, in parentheses; empty without a rate."""
    if summary.success_rate is None:
        return ""
    at = summary.success_at
    return " (as info says)" if at is None else f" (return >= {at:g})"


def number(value: float) -> str:
    """Three or four significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 0.01 <= abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.1e}"


def size(count: int) -> str:
    """A number of bytes: 999 B, 1.5 kB, 12 MB."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "B" else f"{value:,.0f} {unit}"


def duration(seconds: float) -> str:
    """1:05 or 2:03:04."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def cell(text: str) -> str:
    """Text of an env, a folder or a record for rich: without markup, control characters escaped."""
    return escape(escaped(text))


def summary_table(summary: Summary, title: str) -> Table:
    """`summary_rows` as a table."""
    table = Table(title=cell(title), title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in summary_rows(summary):
        table.add_row(cell(name), cell(value))
    return table


def summary_rows(summary: Summary) -> list[tuple[str, str]]:
    """All values of a summary, by name."""
    interval = f"[{summary.iqm_low:.2f}, {summary.iqm_high:.2f}]"
    success = "success rate", "no threshold; set env.success_at"
    if summary.success_rate is not None:
        success = f"success rate{success_means(summary)}", f"{summary.success_rate:.0%}"
    return [
        ("episodes", f"{summary.episodes}"),
        ("mean return", f"{summary.mean:.2f}"),
        ("std", f"{summary.std:.2f}"),
        ("median", f"{summary.median:.2f}"),
        ("IQM [95% interval]", f"{summary.iqm:.2f} {interval}"),
        ("min, max", f"{summary.min:.2f}, {summary.max:.2f}"),
        ("mean length", f"{summary.mean_length:.1f}"),
        success,
    ]

"""rl-runs: list and delete runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rl_cli.cli import hydra_errors, plain_keys, shell_requests
from rl_cli.cli.layout import item, paragraph
from rl_cli.config.commands import RunsConfig
from rl_cli.config.schema import keys
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput, RunError, plain
from rl_cli.core.start_folder import relative
from rl_cli.report import listing, run_data
from rl_cli.report.listing import Entry
from rl_cli.storage.run_folder import ROOT
from rl_cli.tracking.formatting import joined, number, size


def _help() -> str:
    return "\n".join((
        "rl-runs: list and delete runs.",
        "",
        "  rl-runs [delete] [<folder> ...] [<key>=<value> ...]",
        "",
        paragraph(
            "Lists the runs below the folders (default: runs), by name: names begin with the start time, "
            "unless run_dir= named the folder. `delete` deletes the runs listed, after a question."
        ),
        "",
        item("algo, env", "only runs of this algorithm or env"),
        item("state", "only runs that are running, completed, interrupted, failed, died (killed, or crashed) or pruned (by a search)"),
        item("min_return, max_return", "only completed runs with a final return in this range"),
        item("sort", "name (default), return or size"),
        item("last", "only the last n of the sorted list"),
        item("yes", "true: delete without a question"),
        "",
        "  rl-runs algo=ppo sort=return",
        "  rl-runs delete state=failed",
    ))  # fmt: skip


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    if (answered := shell_requests.answer(argv)) is not None:
        return answered
    if any(arg in ("-h", "--help") for arg in argv):
        terminal.show(_help())
        return 0
    with hydra_errors.reported(argv, lambda: keys(RunsConfig)) as code:
        names, cfg = plain_keys.parse("rl-runs", argv, RunsConfig)
        deletes = names[:1] == ["delete"]
        places = [Path(name) for name in names[deletes:]] or [Path("runs")]
        found = _selected(listing.entries(run_data.find(places)), cfg)
        _show(found)
        if deletes and found:
            code[0] = _delete(_inside(found, places), bool(cfg.yes))
    return code[0]


def _inside(entries: list[Entry], places: list[Path]) -> list[Entry]:
    """The runs below the named folders or runs/. A record of a sweep may name a run anywhere."""
    roots = [place.resolve() for place in (*places, ROOT)]
    found = []
    for entry in entries:
        if any(entry.folder.resolve().is_relative_to(root) for root in roots):
            found.append(entry)
        else:
            folder = plain(relative(entry.folder))
            terminal.warn(f"note: {folder} is kept: it is outside of the folders named")
    return found


def _selected(entries: list[Entry], cfg: RunsConfig) -> list[Entry]:
    low = -float("inf") if cfg.min_return is None else cfg.min_return
    high = float("inf") if cfg.max_return is None else cfg.max_return
    bounded = cfg.min_return is not None or cfg.max_return is not None
    wanted = [(e.algo, e.env, e.state) for e in entries]
    typed = (cfg.algo, cfg.env, cfg.state)
    found = [
        entry
        for entry, values in zip(entries, wanted, strict=True)
        if all(want is None or want == value for want, value in zip(typed, values, strict=True))
        and (not bounded or (entry.final is not None and low <= entry.final <= high))
    ]
    if cfg.sort == "return":
        found.sort(key=lambda e: -float("inf") if e.final is None else e.final)
    else:
        found.sort(key=lambda e: e.size if cfg.sort == "size" else e.folder.name)
    return found[-cfg.last :] if cfg.last else found


COLUMNS = ("run", "algo", "env", "state", "step", "return", "size")
NUMBERS = 4
"""Columns from this one on are aligned to the right."""

INDENT = " " * 4


def _show(entries: list[Entry]) -> None:
    width = shutil.get_terminal_size().columns if terminal.is_screen() else None
    terminal.say(*lines([COLUMNS, *(_words(entry) for entry in entries)], width))
    terminal.say(f"{_count(entries)}, {size(sum(e.size for e in entries))}")


def lines(rows: Sequence[tuple[str, ...]], width: int | None) -> list[str]:
    """The rows of a table as lines. On a narrow terminal the name of a run has a line of its own.

    Args:
        rows: the heads of the columns, then a row per run.
        width: of the terminal, in characters; None: no limit.

    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [
        [
            word.rjust(size) if i >= NUMBERS else word.ljust(size)
            for i, (word, size) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    if width is None or len("  ".join(padded[0])) <= width:
        return ["  ".join(row).rstrip() for row in padded]
    found = []
    for row in padded:
        rest = "  ".join(row[1:]).rstrip()
        if len(rest) + len(INDENT) > width:
            rest = joined([word.strip() for word in row[1:] if word.strip()], width - len(INDENT))
        found += [row[0].rstrip(), *(INDENT + line for line in rest.splitlines())]
    return found


def _words(e: Entry) -> tuple[str, ...]:
    final = "" if e.final is None else number(e.final)
    name = plain(e.folder.name or e.folder.resolve().name)
    return name, e.algo, e.env, e.state, f"{e.step:,}", final, size(e.size)


def _count(entries: list[Entry]) -> str:
    return f"{len(entries):,} run{'' if len(entries) == 1 else 's'}"


def _delete(entries: list[Entry], confirmed: bool) -> int:
    """Delete the runs after a question. -> exit code: 1 if one of them could not be deleted."""
    if not entries:
        return 0
    if not confirmed and not _confirm(f"Delete {_count(entries)}? [y/N] "):
        terminal.say("nothing was deleted")
        return 0
    failed = 0
    for entry in entries:
        try:
            listing.delete(entry.folder)
        except RunError as error:
            terminal.warn(*str(error).splitlines())
            failed += 1
        except OSError as error:
            terminal.warn(f"cannot delete {relative(entry.folder)}: {error.strerror or error}")
            failed += 1
    terminal.say(f"deleted {len(entries) - failed:,} of {_count(entries)}")
    return 1 if failed else 0


def _confirm(question: str) -> bool:
    """Ask on the terminal. Raises BadInput if there is none."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise BadInput("there is no terminal to ask on", "delete", "add yes=true")
    terminal.say(question)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

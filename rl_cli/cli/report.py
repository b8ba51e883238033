"""rl-report: compare runs, from their folders alone."""

from __future__ import annotations

from pathlib import Path

from rl_cli.cli import hydra_errors, plain_keys, shell_requests
from rl_cli.cli.layout import item, paragraph
from rl_cli.config.commands import ReportConfig
from rl_cli.config.schema import keys
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput
from rl_cli.storage.atomic_files import writing_to


def _help() -> str:
    return "\n".join((
        "rl-report: compare runs, from their folders alone.",
        "",
        "  rl-report <folder> [<folder> ...] [<key>=<value> ...]",
        "",
        paragraph(
            "A folder is a run, a sweep, or contains runs at any depth. Runs that differ only in the seed form "
            "a group. Of the groups of an env, the others are compared with the first. Prints a table, and "
            "writes report.html (one page that opens from disk), report.csv and, with matplotlib, its charts as "
            "report-*.png."
        ),
        "",
        item(
            "output",
            "folder of report.html and report.csv; default: the folder given, or runs/ if that is a run or "
            "there are several",
        ),
        item(
            "threshold",
            "return that counts as success; default: that of the runs (env.success_at, or the env's own)",
        ),
        item(
            "pictures",
            "true: write the charts as PNG; false: do not; default: if matplotlib is installed "
            "(pip install 'rl-cli[plots]')",
        ),
        "",
        "  rl-report runs",
        "  rl-report runs/ppo runs/dqn output=comparison",
    ))  # fmt: skip


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    if (answered := shell_requests.answer(argv)) is not None:
        return answered
    if not argv or any(arg in ("-h", "--help") for arg in argv):
        terminal.show(_help())
        return 0 if argv else 2
    with hydra_errors.reported(argv, lambda: keys(ReportConfig)) as code:
        names, cfg = plain_keys.parse("rl-report", argv, ReportConfig)
        if not names:
            raise BadInput("no folder is named", " ".join(argv), "rl-report runs")
        folders = [Path(name) for name in names]
        from rl_cli.report import pictures, report, table  # imports numpy

        pictures.require(cfg.pictures)
        found = report.make(folders, cfg.threshold)
        table.show(found)
        single = len(folders) == 1 and not (folders[0] / "config.yaml").exists()
        target = Path(cfg.output or (folders[0] if single else "runs"))
        with writing_to("output"):
            files = report.write(found, target, cfg.pictures)
        table.show_files(files)
    return code[0]

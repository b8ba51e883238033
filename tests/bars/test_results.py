"""Results of bars: what a test reports is what `make bars` adds up."""

from __future__ import annotations

from tests.bars.results import report, totals


def test_totals_add_the_reports_of_each_bar(capsys):
    report(12, 3, 4, "runs")
    report(2, 1_000, 1_000)
    first = capsys.readouterr().out
    print("some other output")
    report(12, 5, 6)
    second = capsys.readouterr().out
    assert totals([first, "", second]) == ["B2 got/target: 1000/1000", "B12 got/target: 8/10"]

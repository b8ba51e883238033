"""The page of a search, from search.json alone, which anybody may have written."""

from __future__ import annotations

import json
import re

import pytest

from rl_cli.cli import report as rl_report
from rl_cli.core.errors import BadInput
from rl_cli.report import search_page, search_plots, search_record
from tests.report.folders import write_run

SPACE = {
    "algo.learning_rate": {"key": "algo.learning_rate", "kind": "log", "low": 1e-4, "high": 1e-2, "choices": []},
    "algo.act": {"key": "algo.act", "kind": "categorical", "low": None, "high": None, "choices": ["relu", "tanh"]},
}  # fmt: skip


def trial(number, value, rate=1e-3, **more):
    run = {
        "seed": 0,
        "state": "completed",
        "value": value,
        "seconds": 1.0,
        "folder": f"runs/t{number}",
        "step": 9,
    }
    return {
        "trial": number, "state": "complete", "values": [value], "keys": {"algo.learning_rate": rate, "algo.act": "relu"},
        "reason": "", "front": False, "runs": [run],
    } | more  # fmt: skip


def record(**more):
    return {
        "format": 1, "study": "s", "algo": "dqn", "env": "cartpole", "updated": "2026-01-01T00:00", "objective": "final",
        "second": None, "directions": ["maximize"], "budget": 100, "seeds": [0], "fresh_seeds": [1000], "space": SPACE,
        "defaults": {"algo.learning_rate": 1e-3, "algo.act": "relu"},
        "trials": [trial(0, 1.0), trial(1, 3.0, 1e-4), trial(2, 2.0, 1e-2), trial(3, 0.0, state="pruned", values=[])],
        "best": 1, "importances": {"algo.learning_rate": 0.75, "algo.act": 0.25},
        "checked": [
            {"trial": 0, "values": [1.0], "failed": 0, "iqm": [1.0, 0.5, 1.5], "gain": None},
            {"trial": 1, "values": [3.0], "failed": 0, "iqm": [3.0, 2.5, 3.5], "gain": [2.0, 1.0, 3.0]},
        ],
        "winner": 1, "preset": "conf/hparams/x.yaml",
    } | more  # fmt: skip


@pytest.fixture
def written(here):
    """A function that writes a record. -> its folder."""

    def write(**more):
        folder = here / "runs/searches/s"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "search.json").write_text(json.dumps(record(**more)))
        return folder

    return write


def test_page_says_the_answer_and_marks_each_trial_in_every_plot(written):
    folder = written()
    text = search_page.write(folder).read_text()
    assert (
        "On fresh seeds trial 1 has 3.000 [2.500, 3.500], the defaults 1.000 [0.500, 1.500]" in text
    )
    for number in range(3):
        assert len(re.findall(rf'class="(?:trial|path|row) t{number}\b', text)) == 3
    assert (
        len(re.findall(r'class="(?:trial|path|row) t3\b', text)) == 2
    )  # pruned: no line through keys
    rows = re.findall(r'data-t="(\d)"', text)
    assert rows == ["1", "2", "0", "3"]  # the best first
    assert 'href="../../t1/"' in text
    assert "75%" in text
    assert "http" not in text


def test_history_rises_with_the_best_trial_so_far(written):
    text = search_plots.history(search_record.load(written()))
    ys = [float(y) for y in re.findall(r'cy="([\d.]+)"', text)]
    assert ys[1] < ys[2] < ys[0] < ys[3]  # returns 3, 2, 1, and pruned at the bottom
    path = re.search(r'class="best" d="([^"]*)"', text)[1]
    heights = [float(y) for y in re.findall(r" ([\d.]+)(?: |$)", path)]
    assert heights[0] == ys[0]
    assert heights[-1] == ys[1]


def test_lines_pass_the_axes_where_the_values_lie(written):
    text = search_plots.parallel(search_record.load(written()))
    points = dict(re.findall(r'class="path t(\d)[^>]*points="([^"]*)"', text))
    first = {n: float(p.split(" ")[0].split(",")[1]) for n, p in points.items()}
    assert first["1"] > first["0"] > first["2"]  # 1e-4 is at the bottom, 1e-2 at the top
    assert first["0"] == pytest.approx((first["1"] + first["2"]) / 2)  # 1e-3 is between them


def test_texts_of_a_record_cannot_become_html(written):
    evil = "<script>alert(1)</script>\"'"
    bad = trial(1, 3.0, reason=evil, keys={"algo.learning_rate": evil, "algo.act": evil})
    bad["runs"][0] |= {"folder": f"runs/{evil}", "state": evil}
    folder = written(
        study=evil, algo=evil, env=evil, preset=evil, trials=[bad, trial(0, 1.0)], best=1
    )
    text = search_page.write(folder).read_text()
    assert "<script>alert" not in text
    assert re.findall(r"<(script|img|a on)", text) == ["script"]


@pytest.mark.parametrize(
    "more",
    [
        {"format": 2},
        {"unknown": 1},
        {"trials": [{"trial": 1}]},
        {"directions": []},
        {"second": "steps"},
        {"trials": [trial(0, 1e300)]},
        {"best": "x"},
        {"objective": "x"},
    ],
    ids=str,
)
def test_what_is_no_record_is_refused(written, more):
    with pytest.raises(BadInput) as error:
        search_page.write(written(**more))
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [1e-320, 0.0], [-1e99, 1e99]])
def test_every_plot_can_be_drawn(written, values):
    two = {"second": "seconds", "directions": ["maximize", "minimize"]}
    for more in ({}, two):
        trials = [trial(i, v, values=[v, v] if more else [v]) for i, v in enumerate(values)]
        folder = written(trials=trials, checked=[], importances={}, best=None, winner=None, **more)
        assert "</html>" in search_page.write(folder).read_text()


def test_rl_report_makes_the_page_again(written, capsys):
    folder = written()
    write_run(folder / "runs/t0000_s0", {100: 1.0})
    assert rl_report.run([str(folder)]) == 0
    assert (folder / "search.html").exists()
    assert "search.html" in capsys.readouterr().out

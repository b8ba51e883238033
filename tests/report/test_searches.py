"""A search in a report: its plots, from search.json, which anybody may have written, and its runs."""

from __future__ import annotations

import json
import re

import pytest

from rl_cli.cli import report as rl_report
from rl_cli.core.errors import BadInput
from rl_cli.report import (
    pictures,
    report,
    search_pictures,
    search_plots,
    search_record,
    search_sections,
)
from tests.report.folders import write_run


def page_of(folder):
    return report.write(report.make([folder]), folder)[0].read_text()


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
    text = page_of(folder)
    assert (
        "On fresh seeds trial 1 has 3.000 [2.500, 3.500], the defaults 1.000 [0.500, 1.500]" in text
    )
    for number in range(3):
        assert len(re.findall(rf'class="(?:trial|path|row) t{number}\b', text)) == 3
    assert (
        len(re.findall(r'class="(?:trial|path|row) t3\b', text)) == 2
    )  # pruned: no line through keys
    rows = re.findall(r'class="row t(\d)"', text)
    assert rows == ["1", "2", "0", "3"]  # the best first
    assert 'href="runs/t1/"' in text
    assert "75%" in text


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
    text = page_of(folder)
    assert "<script>alert" not in text
    assert len(re.findall(r"<script", text)) == 3  # data, uPlot and the page's own
    assert not re.findall(r"<img|<a on", text)


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
        search_record.load(written(**more))
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [1e-320, 0.0], [-1e99, 1e99]])
def test_every_plot_can_be_drawn(written, values):
    two = {"second": "seconds", "directions": ["maximize", "minimize"]}
    for more in ({}, two):
        trials = [trial(i, v, values=[v, v] if more else [v]) for i, v in enumerate(values)]
        folder = written(trials=trials, checked=[], importances={}, best=None, winner=None, **more)
        assert "</html>" in page_of(folder)


def test_runs_of_a_search_are_grouped_by_trial_and_fresh_seeds_apart(written, capsys):
    """Also from another folder, and if the folder was moved; a run of no search has a group of its own."""
    folder = written().rename("moved")
    rates = {0: 1e-3, 1: 1e-4, 2: 1e-2}
    for number, rate in rates.items():
        for seed in (0, 1):
            name = f"t{number:04d}_s{seed}"
            write_run(folder / "runs" / name, {100: number + 1.0}, seed=seed, algo__gamma=rate)
    for number in (0, 1):
        for seed in range(1000, 1006):
            name = f"fresh_t{number:04d}_s{seed}"
            returns = {100: number * 10.0 + seed - 1000}
            write_run(folder / "runs" / name, returns, seed=seed, algo__gamma=rates[number])
    write_run(folder.parent / "own" / "t0000_s5", {100: 7.0}, seed=5, algo__gamma=rates[0])
    made = report.make([folder.parent])
    fresh, chosen = "cartpole: s, fresh seeds", "cartpole: s, seeds of the search"
    assert [(row.group.section, row.group.method, row.count) for row in made.rows] == [
        ("cartpole", "dqn", 1),
        *((fresh, name, 6) for name in ("defaults", "trial 1")),
        *((chosen, name, 2) for name in ("defaults", "trial 1", "trial 2")),  # the best first
    ]
    assert made.rows[2].improvement == (1.0, 1.0, 1.0)  # 10 to 15 against 0 to 5
    assert [row.improvement for row in made.rows[3:]] == [None] * 3  # they were chosen by these
    assert [a.split(":")[0] for a in made.answers] == ["s", "cartpole", "cartpole"]
    assert rl_report.run([str(folder)]) == 0
    page = (folder / "report.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert [(e["env"], e["chosen"]) for e in data["envs"]] == [(fresh, False), (chosen, True)]
    assert 'aria-label="objective of each trial"' in page
    said = capsys.readouterr().out
    assert fresh in said
    assert chosen not in said


def test_answer_of_a_search_compares_the_best_trial_with_the_defaults(written):
    folder = written()
    values = {0: 0.0, 1: 20.0, 2: 10.0}
    for number, value in values.items():
        for seed in range(6):
            write_run(folder / f"runs/fresh_t{number:04d}_s{seed}", {100: value + seed}, seed=seed)
    text = report.make([folder]).answers[1]
    assert "trial 1 has the final return 22.5" in text
    assert "the defaults have 2.5" in text


def test_killed_search_without_a_record_is_grouped_by_trial(here):
    folder = here / "runs/searches/killed"
    for number in (0, 1):
        write_run(folder / f"runs/t{number:04d}_s0", {100: 1.0}, algo__gamma=0.9 + number / 100)
    made = report.make([folder])
    assert [row.group.name for row in made.rows] == [
        f"{name} on cartpole: killed, seeds of the search" for name in ("defaults", "trial 1")
    ]
    assert made.searches == []


def colors(path):
    """How many pixels of a picture have nearly the colors of the page's defaults and best trial."""
    cv2 = pytest.importorskip("cv2")
    image = cv2.imread(str(path)).astype(int)[:, :, ::-1]
    near = [abs(image - color).sum(2) < 60 for color in ((0, 114, 178), (213, 94, 0))]
    return image.shape, *(int(found.sum()) for found in near)


def test_plots_of_a_search_are_pictures_too(written, monkeypatch):
    """The same plots as the page has, with the same colors of the defaults and of the best trial."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(pictures, "available", lambda: True)
    folder = written()
    report.write(report.make([folder]), folder)
    plots = ("fresh", "history", "importances", "parallel")
    found = {path.name for path in folder.glob("*.png")}
    assert found == {f"report-s-{name}.png" for name in plots}
    for name in ("history", "parallel"):
        shape, blue, orange = colors(folder / f"report-s-{name}.png")
        assert shape[0] >= 600
        assert min(blue, orange) > 50
    front = [trial(i, v, values=[v, 9.0 - v], front=v > 1) for i, v in enumerate([3.0, 1.0, 2.0])]
    two = {"second": "steps", "directions": ["maximize", "minimize"], "best": None}
    written(study="$two", trials=front, checked=[], importances={}, winner=None, **two)
    drawn = search_pictures.draw(report.make([folder]).searches)
    assert sorted(drawn) == [f"report-two-{name}.png" for name in ("history", "parallel", "pareto")]
    (folder / "pareto.png").write_bytes(drawn["report-two-pareto.png"])
    _, blue, orange = colors(folder / "pareto.png")
    assert blue > 50 > orange


@pytest.mark.parametrize("values", [[], [5.0, 5.0], [-1e99, 1e99]])
def test_every_plot_can_be_a_picture(written, values):
    pytest.importorskip("matplotlib")
    two = {"second": "seconds", "directions": ["maximize", "minimize"], "objective": "steps"}
    trials = [trial(i, v, values=[v, v], front=i == 0) for i, v in enumerate(values)]
    trials.append(trial(len(values), 0.0, state="failed", values=[]))
    one = {"trial": 0, "values": [], "failed": 2, "iqm": [None, None, None], "gain": None}
    more = {"trials": trials, "checked": [one], "importances": {"algo.act": 0.0}, "best": None}
    record = search_record.load(written(winner=None, **more, **two))
    for plot in search_sections.plots_of(record):
        assert search_pictures.DRAWN[plot.name](record).startswith(b"\x89PNG")

"""Reading, grouping and reporting runs."""

from __future__ import annotations

import csv
import json
import math
import re
import sys

import cv2
import numpy as np
import pytest

from rl_cli.cli import report as command
from rl_cli.core.errors import BadInput
from rl_cli.report import across, curves, groups, page, pictures, report, run_data, wording
from rl_cli.storage.provenance_file import Start, write_starts
from tests.report.folders import write_run


def read(*folders):
    return [run_data.read_run(folder) for folder in folders]


def test_run_is_read_from_its_folder(tmp_path):
    run = read(write_run(tmp_path / "a", {100: 10.0, 300: 30.0}, seed=4, env__success_at=25.0))[0]
    assert (run.algo, run.env, run.seed, run.state) == ("dqn", "cartpole", 4, "completed")
    assert run.steps.tolist() == [100, 300]
    assert run.returns.tolist() == [10.0, 30.0]
    assert run.seconds_at.tolist() == [1.0, 3.0]
    assert (run.final, run.best, run.success_at) == (30.0, 30.0, 25.0)


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
def test_run_that_did_not_complete_has_no_final_return(tmp_path, state):
    run = read(write_run(tmp_path / "a", {100: 10.0}, state=state))[0]
    assert math.isnan(run.final)
    assert run.best == 10.0


def test_rows_without_a_finite_return_are_skipped(tmp_path):
    folder = write_run(tmp_path / "a", {100: 10.0})
    with (folder / "eval.csv").open("ab") as file:
        file.write(b"200,0,0,nan,1\n200,0,0,,1\n200,0,0,1e400,1\n300,0")
    assert read(folder)[0].returns.tolist() == [10.0]


def test_table_saved_by_a_spreadsheet_is_read(tmp_path):
    folder = write_run(tmp_path / "a", {100: 10.0})
    table = folder / "eval.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b",", b";"))
    assert read(folder)[0].returns.tolist() == [10.0]


@pytest.mark.parametrize("text", [b"\xff\n", b"a,b\n1,2\n", b"step\nx\n"])
def test_run_whose_table_is_damaged_is_refused(tmp_path, text):
    folder = write_run(tmp_path / "a", {100: 10.0})
    (folder / "eval.csv").write_bytes(text)
    with pytest.raises(BadInput, match="cannot be read"):
        read(folder)


def test_only_the_seed_may_differ_within_a_group(tmp_path):
    folders = [
        write_run(tmp_path / "a", {100: 1.0}, seed=0),
        write_run(tmp_path / "b", {100: 2.0}, seed=1, log__every=7, eval__every=50, typed=["seed"]),
        write_run(tmp_path / "c", {100: 3.0}, seed=0, algo__gamma=0.9),
        write_run(tmp_path / "d", {100: 3.0}, seed=0, total_timesteps=600),
        write_run(tmp_path / "e", {100: 3.0}, seed=0, labels=("ppo", "cartpole")),
    ]
    found = groups.group(read(*folders))
    assert [[run.folder.name for run in g.runs] for g in found] == [["a", "b"], ["c"], ["d"], ["e"]]
    assert [g.method for g in found] == [
        "dqn gamma=0.99 total_timesteps=300",
        "dqn gamma=0.9 total_timesteps=300",
        "dqn gamma=0.99 total_timesteps=600",
        "ppo",
    ]


def test_repeated_seed_counts_once(tmp_path):
    write_run(tmp_path / "a", {100: 1.0, 200: 5.0}, state="interrupted")
    write_run(tmp_path / "b", {100: 1.0})
    found = groups.group(read(tmp_path / "a", tmp_path / "b"))
    assert [run.folder.name for run in found[0].runs] == ["b"]
    assert found[0].repeated == 1


def test_curves_are_aligned_without_extrapolation(tmp_path):
    runs = read(
        write_run(tmp_path / "a", {100: 0.0, 300: 20.0}),
        write_run(tmp_path / "b", {200: 30.0}, seed=1),
    )
    curve = curves.align(runs)
    assert curve.steps.tolist() == [100, 200, 300]
    np.testing.assert_equal(curve.each, [[0.0, 10.0, 20.0], [math.nan, 30.0, math.nan]])
    assert curve.seeds.tolist() == [1, 2, 1]
    assert curve.value.tolist() == [0.0, 20.0, 20.0]


def test_runs_of_a_sweep_are_found_wherever_the_report_is_made(tmp_path, monkeypatch):
    write_run(tmp_path / "base" / "runs" / "a", {100: 1.0})
    sweep = tmp_path / "base" / "sweeps" / "s"
    sweep.mkdir(parents=True)
    (sweep / "job_0000.json").write_text(json.dumps({"run_dir": "runs/a"}))
    (sweep / "job_0001.json").write_text("[1]")
    for place in (tmp_path, sweep):
        monkeypatch.chdir(place)
        assert [folder.name for folder in run_data.find([sweep])] == ["a"]


def test_threshold_and_failed_runs_are_counted(tmp_path):
    write_run(tmp_path / "a", {100: 10.0, 200: 50.0})
    write_run(tmp_path / "b", {100: 10.0, 200: 20.0}, seed=1)
    write_run(tmp_path / "c", {100: 45.0}, seed=2, state="failed")
    row = report.make([tmp_path], threshold=40.0).rows[0]
    assert row.seeds == "2 of 3, 1 failed"
    assert (row.solved, row.worst, row.best, row.iqm.value) == (1, 20.0, 50.0, 35.0)
    # reached at 100 (c) and 200 (a), b is observed until 200: S(100) = 2/3, S(200) = 1/3
    assert row.steps == (2, 3, 200)


def test_a_difference_needs_seeds_and_the_number_is_said(tmp_path):
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", {100: 10.0 + seed}, seed=seed)
        write_run(tmp_path / f"b{seed}", {100: 11.0 + seed}, seed=seed, algo__gamma=0.9)
    text = wording.answer(report.make([tmp_path]).rows)
    assert (
        "Too few seeds for a conclusion: at least 5 runs of each are needed; about 8" in text
    )  # 2 * 2.8² / 2


def test_group_whose_runs_record_no_threshold_has_that_of_its_env(tmp_path):
    """A run records the env's threshold when an episode of its training has ended."""
    write_run(tmp_path / "a", {100: 1.0, 200: 5.0}, env__success_at=4.0)
    write_run(tmp_path / "b", {100: 5.0, 200: 1.0}, labels=("ppo", "cartpole"))
    write_run(tmp_path / "c", {100: 5.0}, labels=("ppo", "acrobot"))
    rows = report.make([tmp_path]).rows
    found = {(row.group.algo, row.group.env): (row.threshold, row.solved) for row in rows}
    assert found == {
        ("dqn", "cartpole"): (4.0, 1),
        ("ppo", "cartpole"): (4.0, 0),
        ("ppo", "acrobot"): (None, None),
    }


def test_time_to_a_threshold_has_a_median_only_where_steps_have_one(tmp_path):
    """One run of three reached it. It took longest, so by the seconds alone no other run was at risk any more."""
    for seed, seconds in enumerate((9.0, 3.0, 4.0)):
        folder = write_run(tmp_path / str(seed), {100: 8.0 if seed == 0 else 1.0}, seed=seed)
        (folder / "metrics.csv").write_text(f"step,time/elapsed\n100,{seconds}\n")
    (row,) = report.make([tmp_path], threshold=5.0).rows
    assert row.steps == (1, 3, math.inf)
    assert row.seconds == (1, 3, math.inf)
    (row,) = report.make([tmp_path], threshold=1.0).rows
    assert (row.steps, row.seconds) == ((3, 3, 100.0), (3, 3, 4.0))


def test_key_that_follows_another_one_is_not_named(tmp_path):
    for gamma in (0.9, 0.99):
        both = {"algo__gamma": gamma, "env__reward_gamma": gamma}
        write_run(tmp_path / str(gamma), {100: 1.0}, **both)
    assert [row.group.method for row in report.make([tmp_path]).rows] == [
        "dqn gamma=0.9",
        "dqn gamma=0.99",
    ]
    write_run(tmp_path / "own", {100: 1.0}, algo__gamma=0.9, env__reward_gamma=0.5)
    assert sorted(row.group.method for row in report.make([tmp_path]).rows) == [
        "dqn gamma=0.9 env.reward_gamma=0.5",
        "dqn gamma=0.9 env.reward_gamma=0.9",
        "dqn gamma=0.99 env.reward_gamma=0.99",
    ]


def test_what_runs_of_a_group_do_not_share_is_said(tmp_path):
    for seed, (last, torch) in enumerate([(200, "2.12"), (300, "2.13")]):
        folder = write_run(tmp_path / f"a{seed}", {100: 1.0, last: 2.0}, seed=seed)
        start = Start(machine={"host": f"n{seed}"}, packages={"torch": torch, "numpy": "2"})
        write_starts(folder, [start])
    with (tmp_path / "a0" / "eval.csv").open("a") as file:
        file.write("200,9,9,nan,10\n200,9,9,inf,10\n")
    notes = " ".join(report.make([tmp_path]).left_out)
    assert "dqn on cartpole: the runs end at steps 200 to 300" in notes
    assert "Runs of torch 2.12, 2.13 are averaged: dqn on cartpole." in notes
    assert "numpy" not in notes
    assert "Times were measured on different machines." in notes
    assert "without a finite return, left out: 2 in 1 runs" in notes


def test_runs_of_other_sources_of_the_user_are_not_averaged(tmp_path):
    for seed, digest in enumerate(["a" * 64, "b" * 64]):
        folder = write_run(tmp_path / f"a{seed}", {100: 1.0}, seed=seed)
        write_starts(folder, [Start(sources={"env": digest})])
    rows = report.make([tmp_path]).rows
    assert [row.group.method for row in rows] == [
        "dqn env source=aaaaaaaa",
        "dqn env source=bbbbbbbb",
    ]


def test_training_curve_is_thinned_to_means():
    curve = np.column_stack([np.arange(600.0), np.arange(600.0) % 10])
    found = run_data.thinned(curve)
    assert found.shape == (run_data.MAX_POINTS, 2)
    assert found[0].tolist() == [4.5, 4.5]  # of ten rows


def test_completed_run_counts_after_its_end_in_the_curve_of_sample_efficiency(tmp_path):
    for env in ("cartpole", "acrobot"):
        write_run(tmp_path / f"{env}0", {100: 0.0, 1000: 8.0}, labels=("dqn", env))
        write_run(tmp_path / f"{env}1", {100: 2.0}, seed=1, labels=("dqn", env))
        short = {100: 10.0}
        write_run(tmp_path / f"{env}2", short, seed=2, state="failed", labels=("dqn", env))
    found = across.describe(report.make([tmp_path]).rows)
    (method,) = found["methods"]
    assert [found["steps"][0], found["steps"][-1]] == pytest.approx([100, 1000])
    # returns are scaled by 10; of 0, 0.2, 1 the IQM is 0.3 (weights 0.25, 1, 0.25 of 1.5); then of 0.8, 0.2
    assert method["efficiency"]["y"][0] == pytest.approx(0.3)
    assert method["efficiency"]["y"][-1] == pytest.approx(0.5)


def test_pictures_are_drawn_where_matplotlib_is(here, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    for env in ("cartpole", "a $x_1$/../b"):
        for seed in range(2):
            at = 3.0 if env == "cartpole" else 99.0
            returns = {100: 1.0, 200: 2.0 + seed}
            folder = here / "runs" / f"{env[0]}{seed}"
            write_run(folder, returns, seed=seed, labels=("dqn", env), env__success_at=at)
    assert command.run(["runs", "pictures=true"]) == 2
    text = capsys.readouterr().err
    assert "pip install 'rl-cli[plots]'" in text
    monkeypatch.setattr(pictures, "available", lambda: True)
    assert command.run(["runs", "pictures=false"]) == 0
    assert list(here.glob("runs/*.png")) == []
    assert command.run(["runs"]) == 0
    names = sorted(path.name for path in (here / "runs").glob("*.png"))
    assert names == sorted(
        f"report-{name}.png"
        for name in (
            "a_x_1_b",
            "cartpole",
            "cartpole-solved",
            "efficiency",
            "profile",
        )
    )
    image = cv2.imread(str(here / "runs" / "report-cartpole.png"))
    assert image.shape == (600, 960, 3)
    blue = (np.abs(image.astype(int) - [178, 114, 0]).max(axis=2) < 20).sum()  # the line, BGR
    assert blue > 500


def test_no_picture_of_an_env_without_an_evaluation(here, monkeypatch):
    pytest.importorskip("matplotlib")
    write_run(here / "runs" / "a", {100: 1.0})
    write_run(here / "runs" / "b", {}, labels=("dqn", "pong"), state="failed")
    monkeypatch.setattr(pictures, "available", lambda: True)
    files = report.write(report.make([here / "runs"]), here)
    assert [path.name for path in files if path.suffix == ".png"] == ["report-cartpole.png"]


def test_pictures_that_fail_cost_a_line(here, capsys, monkeypatch):
    write_run(here / "runs" / "a", {100: 1.0})
    monkeypatch.setattr(pictures, "available", lambda: True)
    monkeypatch.setattr(pictures, "draw", lambda data: 1 / 0)
    assert command.run(["runs"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "no pictures: ZeroDivisionError: division by zero\n"
    assert "report.html" in printed.out


def test_unreadable_folder_is_left_out_and_named(tmp_path):
    write_run(tmp_path / "good", {100: 1.0})
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.yaml").write_text("a: [")
    found = report.make([tmp_path])
    assert [len(row.group.runs) for row in found.rows] == [1]
    assert any("bad" in note for note in found.left_out)
    with pytest.raises(BadInput, match="no runs"):
        report.make([tmp_path / "bad"])


HOSTILE = "</script><script>alert(1)</script>"


def test_page_contains_no_markup_from_a_run_folder(tmp_path):
    write_run(tmp_path / "a", {100: 1.0}, labels=("dqn", HOSTILE), algo__gamma=HOSTILE)
    write_run(tmp_path / "b", {100: 1.0}, labels=("dqn", HOSTILE))
    written = report.write(report.make([tmp_path]), tmp_path)
    text = written[0].read_text()
    assert HOSTILE not in text
    assert text.count("<script") == text.count("</script") == 3


def test_page_is_self_contained_and_its_data_is_json(tmp_path):
    write_run(tmp_path / "a", {100: 1.0, 200: 2.0})
    (tmp_path / "a" / "videos").mkdir()
    (tmp_path / "a" / "videos" / "step_000000200.mp4").touch()
    text = report.write(report.make([tmp_path]), tmp_path)[0].read_text()
    assert not re.search(r"""(?:src|href)=["']|@import|url\(""", text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["envs"][0]["groups"][0]["curve"]["y"] == [1.0, 2.0]
    assert data["envs"][0]["groups"][0]["iqm"] == [2.0, None, None]
    assert data["runs"][0]["videos"] == ["a/videos/step_000000200.mp4"]


def test_numbers_of_the_page_are_finite_and_short():
    found = page.plain_numbers({"a": (math.nan, 1 / 3), "b": np.array([[math.inf, 2.0]])})
    assert found == {"a": [None, 0.333333], "b": [[None, 2.0]]}


def test_csv_has_a_line_per_group(tmp_path):
    for seed in range(5):
        write_run(tmp_path / f"a{seed}", {100: float(seed)}, seed=seed)
        write_run(tmp_path / f"b{seed}", {100: seed + 10.0}, seed=seed, algo__gamma=0.9)
    written = report.write(report.make([tmp_path]), tmp_path)
    rows = list(csv.DictReader(written[1].read_text().splitlines()))
    assert [(r["settings"], r["seeds"], r["iqm"]) for r in rows] == [
        ("algo.gamma=0.99", "5", "2.0"),
        ("algo.gamma=0.9", "5", "12.0"),
    ]
    assert [r["improvement"] for r in rows] == ["", "1.0"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere"], "there is no such folder"),
        (["output=x"], "no folder is named"),
        ([".", "treshold=3"], "threshold"),
        ([".", "threshold=high"], "threshold must be float"),
        (["."], "there are no runs to report"),
        (["--fast", "."], "no option --fast"),
    ],
)
def test_command_refuses_bad_input_in_three_lines(here, capsys, argv, message):
    assert command.run(argv) == 2
    text = capsys.readouterr().err
    assert message in text
    assert len(text.splitlines()) <= 3


def test_command_prints_the_answer_and_writes_the_page_into_their_folder(here, capsys):
    for seed in range(5):
        write_run(here / "runs" / f"a{seed}", {100: float(seed)}, seed=seed)
        write_run(here / "runs" / f"b{seed}", {100: seed + 10.0}, seed=seed, algo__gamma=0.9)
    assert command.run(["runs"]) == 0
    printed = capsys.readouterr().out
    assert "with probability 100%" in printed
    assert sorted(p.name for p in (here / "runs").glob("report.*")) == ["report.csv", "report.html"]


def terminal_of(monkeypatch, columns):
    """Standard output is a terminal with so many columns."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_report_loses_no_value_and_breaks_no_word_on_a_terminal(here, capsys, monkeypatch, columns):
    for algo, low in (("dqn", 1000.5), ("ppo", -2000.5)):
        for seed in range(5):
            folder, labels = here / "runs" / f"{algo}{seed}", (algo, "cartpole")
            write_run(folder, {100: low + seed}, seed=seed, labels=labels, env__success_at=1002.0)
    terminal_of(monkeypatch, columns)
    monkeypatch.setenv("TERM", "xterm")
    assert command.run(["runs"]) == 0
    printed = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, printed.splitlines())) <= columns
    shown = " ".join(printed.split())
    words = ["dqn", "ppo", "IQM [95% interval]", "1,002.5 [1,00", "-1,998.5 [-1,99", "P(better)"]
    words += ["-2,000.5", "0% [0, 0]", "3/5", "0/5", "probability", "100%"]
    assert [word for word in words if word not in shown] == []


def test_table_in_a_pipe_has_the_width_that_it_needs(here, capsys, monkeypatch):
    for seed in range(5):
        write_run(
            here / "runs" / f"b{seed}",
            {100: 1234.5 + seed},
            seed=seed,
            labels=("a" * 16, "cartpole"),
        )
    monkeypatch.setenv("COLUMNS", "30")
    assert command.run(["runs"]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "a" * 16 in printed


def test_a_key_that_an_earlier_version_did_not_have_separates_no_groups(tmp_path):
    earlier = write_run(tmp_path / "a", {100: 10.0}, seed=0)
    now = write_run(tmp_path / "b", {100: 20.0}, seed=1, env__wrappers=[], algo__encoder="auto")
    other = write_run(tmp_path / "c", {100: 20.0}, seed=1, algo__encoder="mlp")
    found = groups.group(read(earlier, now, other))
    assert [[run.seed for run in group.runs] for group in found] == [[0, 1], [1]]
    assert [group.settings for group in found] == [
        {"algo.encoder": "auto"},
        {"algo.encoder": "mlp"},
    ]

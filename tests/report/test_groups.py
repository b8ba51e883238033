"""What separates groups: values as numbers, keys that are not set, seeds in any form."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from rl_cli.report import groups, page, pictures, report, run_data, summary, wording
from tests.report.folders import write_run
from tests.report.test_absent import write_record


def grouped(*folders):
    return groups.group([run_data.read_run(folder) for folder in folders])


def test_whole_numbers_of_any_form_are_one_value(tmp_path):
    found = grouped(
        write_run(tmp_path / "a", {100: 1.0}, 0, total_timesteps=500, algo__gamma=1),
        write_run(tmp_path / "b", {100: 1.0}, 1, total_timesteps=500.0, algo__gamma=1.0),
        write_run(tmp_path / "c", {100: 1.0}, 0, total_timesteps=500.5, algo__gamma=1.0),
        write_run(tmp_path / "d", {100: 1.0}, 0, total_timesteps=500, algo__gamma=True),
    )
    assert [[run.folder.name for run in g.runs] for g in found] == [["a", "b"], ["c"], ["d"]]
    lists = [
        write_run(tmp_path / f"l{i}", {100: 1.0}, i, algo__hidden_sizes=sizes)
        for i, sizes in enumerate(([64, 64], [64.0, 64], [64.5, 64]))
    ]
    assert [len(g.runs) for g in grouped(*lists)] == [2, 1]


def test_key_that_is_not_set_is_another_value_than_null(tmp_path):
    found = grouped(
        write_run(tmp_path / "a", {100: 1.0}),
        write_run(tmp_path / "b", {100: 1.0}, env__kwargs__desc=None),
        write_run(tmp_path / "c", {100: 1.0}, env__kwargs__desc="x"),
    )
    assert [g.method for g in found] == ["dqn", "dqn env.kwargs.desc=null", "dqn env.kwargs.desc=x"]


def test_page_of_methods_without_a_result_in_one_env(tmp_path):
    """A method whose runs of one env all failed before an evaluation."""
    both = {"labels": ("dqn", "acrobot"), "env__id": "Acrobot-v1"}
    for name, more in (("a", {}), ("b", {"algo__gamma": 0.9})):
        write_run(tmp_path / f"{name}0", {100: 1.0, 300: 2.0}, **more)
    write_run(tmp_path / "a1", {100: 1.0, 300: 2.0}, **both)
    write_run(tmp_path / "b1", {}, state="failed", algo__gamma=0.9, **both)
    report.write(report.make([tmp_path]), tmp_path / "out", drawn=False)
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("line", "seed"),
    [("seed: 1e3", 0), ("seed: 1000.0", 1000), ("seed: 7\r", 7), ("seed: 1.5", 0), ("seed: x", 0)],
)
def test_seed_in_another_form(tmp_path, line, seed):
    """YAML reads 1e3, without a point, as a text; no version recorded it so."""
    path = write_run(tmp_path / "a", {100: 1.0}) / "config.yaml"
    path.write_bytes(path.read_bytes().replace(b"seed: 0\n", f"{line}\n".encode()))
    assert run_data.read_run(tmp_path / "a").seed == seed


def test_seeds_without_a_run_are_named_from_any_folder_above(here):
    """Also where the first run of the sweep is not the one that counts."""
    for seed in (0, 1):
        write_run(here / f"runs/a/r{seed}", {300: 1.0}, seed)
        write_record(here / "runs/sweeps/s", seed, f"runs/a/r{seed}")
    write_record(here / "runs/sweeps/s", 2, "", "failed")
    write_run(here / "runs/b/r0", {300: 1.0, 400: 1.0}, 0)
    for places in ([here / "runs"], [here / "runs/sweeps/s", here / "runs/b"]):
        (row,) = report.make(places).rows
        assert (row.seeds, row.group.repeated) == ("2 of 3, 1 failed", 1)


def test_seed_without_a_run_in_two_sweeps_is_one_seed(here):
    for sweep, state in (("s", "failed"), ("t", "waiting")):
        for seed in (0, 1):
            if sweep == "s":
                write_run(here / f"runs/a/r{seed}", {300: 1.0}, seed)
            write_record(here / f"runs/{sweep}", seed, f"runs/a/r{seed}")
        write_record(here / f"runs/{sweep}", 2, "", state)
        write_record(here / f"runs/{sweep}", 7, "", "failed", words=("algo=ppo",))
    (row,) = report.make([here / "runs"]).rows
    assert row.seeds == "2 of 3, 1 failed"
    made = report.make([here / "runs", here / "runs/s"])
    assert "dqn on cartpole: 1 jobs of a sweep have no run." in made.left_out


def test_sentence_says_when_runs_of_the_first_are_worse_more_often(tmp_path):
    """Nine of 30 runs have 1000 and the others 9: IQM of the middle half 108; runs of the other have 10."""
    for seed in range(30):
        write_run(tmp_path / f"a{seed}", {300: 1000.0 if seed < 9 else 9.0}, seed)
        write_run(tmp_path / f"b{seed}", {300: 10.0 + seed / 100}, seed, algo__gamma=0.9)
    (answer,) = report.make([tmp_path]).answers
    assert "probability 30%" in answer
    assert "a run of the second is better more often" in answer
    assert "no difference" not in answer


def test_returns_of_any_size_have_a_report(tmp_path):
    for seed in range(5):
        write_run(tmp_path / f"a{seed}", {300: 1e299 * (1 + seed)}, seed)
        write_run(tmp_path / f"b{seed}", {300: -9e99 / (1 + seed)}, seed, algo__gamma=0.9)
        write_run(tmp_path / f"c{seed}", {300: 9e99 / (1 + seed)}, seed, algo__gamma=0.8)
    made = report.make([tmp_path])
    assert [row.count for row in made.rows] == [0, 5, 5]
    assert all(math.isfinite(row.iqm.value) for row in made.rows[1:])


def test_name_that_is_not_utf8_is_linked_and_shown(tmp_path):
    place = tmp_path / b"kmi\xe9t".decode(errors="surrogateescape")
    write_run(place / "a", {100: 1.0})
    made = report.make([place])
    report.write(made, tmp_path / "out", drawn=False)
    text = (tmp_path / "out" / "report.html").read_text()
    assert "kmi%E9t" in text
    assert "Report of kmi\\udce9t" in text


def test_run_that_is_the_current_folder_has_a_name(here, monkeypatch):
    monkeypatch.chdir(write_run(here / "mine", {100: 1.0}))
    made = report.make([here.__class__()])
    data = page.describe("", made.rows, (), (), here)
    assert [run["folder"] for run in data["runs"]] == ["mine"]


def test_steps_are_drawn_to_the_end_of_their_own_group(tmp_path):
    short = write_run(tmp_path / "a", {100: 10.0}, env__success_at=0.0)
    long = write_run(tmp_path / "b", {100: 10.0, 9_000: 10.0}, env__success_at=0.0, algo__gamma=0.9)
    rows = summary.summarize(grouped(short, long))
    data = page.describe("", rows, (), (), tmp_path)
    found = [pictures._staircase(group) for group in data["envs"][0]["groups"]]
    assert [line["x"] for line in found] == [[0.0, 100, 100.0], [0.0, 100, 9_000.0]]
    assert [np.asarray(line["y"]).tolist() for line in found] == [[0, 1, 1], [0, 1, 1]]


def test_note_says_which_of_the_runs_with_one_seed_counts(tmp_path):
    write_run(tmp_path / "a", {100: 1.0, 200: 5.0}, state="interrupted")
    write_run(tmp_path / "b", {100: 1.0})
    rows = summary.summarize(grouped(tmp_path / "a", tmp_path / "b"))
    assert wording.repeated_seeds(rows) == [
        "Runs that repeat a seed of their group: 1; a completed one counts before others, "
        "then the one with the latest evaluation."
    ]
    assert wording.repeated_seeds(summary.summarize(grouped(tmp_path / "b"))) == []


@pytest.mark.parametrize(
    "change", [{"trial": 10**400}, {"runs": [{"seed": 10**400}]}, {"runs": [{"folder": "a\0"}]}]
)
def test_forged_search_is_left_out(tmp_path, change):
    run = {"seed": 0, "state": "completed", "value": 1.0, "seconds": 1.0, "folder": "r", "step": 1}
    trial = {
        "trial": 0,
        "state": "complete",
        "values": [1.0],
        "keys": {},
        "reason": "",
        "front": False,
    }
    runs = [run | each for each in change.get("runs", [{}])]
    record = {
        "format": 1, "study": "s", "algo": "dqn", "env": "cartpole", "updated": "", "objective": "final",
        "second": None, "directions": ["maximize"], "budget": 300, "seeds": [0], "fresh_seeds": [],
        "space": {}, "defaults": {}, "trials": [trial | {"runs": runs, **{k: v for k, v in change.items() if k == "trial"}}],
        "best": 0, "importances": {}, "checked": [], "winner": None, "preset": "",
    }  # fmt: skip
    write_run(tmp_path / "runs" / "t0_s0", {100: 1.0})
    (tmp_path / "search.json").write_text(json.dumps(record))
    made = report.make([tmp_path])
    assert any("not the record of a search" in line for line in made.left_out)

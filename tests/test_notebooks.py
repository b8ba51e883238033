"""benchmarks/notebooks.py: what it reads from a run, and the table it writes."""

from __future__ import annotations

import importlib
import json
import sys

import pytest

from tests.config.test_config import compose
from tests.conftest import FULL, REPO


@pytest.fixture(scope="module")
def bench():
    """The module benchmarks/notebooks.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPO / "benchmarks")
        yield importlib.import_module("notebooks")
        del sys.modules["notebooks"]


@pytest.fixture
def options(bench, tmp_path):
    return bench.Options([400, 401], 1, False, tmp_path)


def record(folder, number, seed, mean=7.5, returns=("1.0", "2.5"), **changes):
    """Create the record of a job of a sweep, its run folder and an evaluation of the run."""
    run = folder / f"run_{number}"
    run.mkdir()
    training = {"episodes": 12, "success_rate": 0.25}
    status = {"step": 900, "reason": "total_episodes=12", "seconds": 3.5, "training": training}
    (run / "status.json").write_text(json.dumps(status))
    rows = [f"{100 * i},{value}" for i, value in enumerate(returns)]
    (run / "metrics.csv").write_text("\n".join(["step,rollout/running_return", *rows]) + "\n")
    evaluation = folder / f"evaluation_latest_c{number}"
    evaluation.mkdir()
    summary = {"summary": {"mean": mean}}
    (evaluation / "evaluation.json").write_text(json.dumps(summary))
    job = {
        "seed": seed,
        "state": "completed",
        "config": f"c{number}",
        "run_dir": str(run),
    } | changes
    (folder / f"job_{number}.json").write_text(json.dumps(job))
    return job


def test_row_contains_the_last_metrics_and_the_evaluation(bench, options, tmp_path):
    job = record(tmp_path, 0, 400)
    assert bench.read_row(tmp_path, job, "latest", options) == {
        **{"seed": 400, "steps": 900, "episodes": 12, "ended": "total_episodes=12"},
        **{"seconds": 3.5, "training": 2.5, "success": 0.25, "evaluation": 7.5},
    }


def test_run_without_a_completed_episode_has_no_training_return(bench, options, tmp_path):
    job = record(tmp_path, 0, 400, returns=("",))
    assert str(bench.read_row(tmp_path, job, "latest", options)["training"]) == "nan"


@pytest.mark.parametrize("changes", [{"seed": 7}, {"state": "failed"}, {"state": "interrupted"}])
def test_incomplete_runs_and_other_seeds_are_ignored(bench, options, tmp_path, changes):
    job = record(tmp_path, 0, 400) | changes
    assert bench.read_row(tmp_path, job, "latest", options) is None


def test_run_whose_evaluation_fails_is_ignored(bench, options, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(bench, "call", lambda *words: calls.append(words) or 2)
    job = record(tmp_path, 0, 400)
    # only the latest checkpoint has been evaluated
    assert bench.read_row(tmp_path, job, "best", options) is None
    (module, words), run, out = calls[0], job["run_dir"], tmp_path / "evaluation_best_c0"
    assert module == "evaluate"
    assert words == [run, "checkpoint=best", "episodes=100", f"output={out}"]


def test_measure_runs_one_sweep_and_sorts_rows_by_seed(bench, options, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(bench, "call", lambda *words: calls.append(words) or 0)
    folder = tmp_path / "p"
    folder.mkdir()
    record(folder, 0, 401, 3.0)
    record(folder, 1, 400, 4.0)
    record(folder, 2, 99)
    found = bench.measure("p", "experiment=p", "latest", options)
    assert [(row["seed"], row["evaluation"]) for row in found] == [(400, 4.0), (401, 3.0)]
    (module, words), *more = calls
    assert (module, more) == ("train", [])
    assert words[:3] == ["-m", "experiment=p", "seed=400,401"]
    assert words[-2:] == ["jobs=1", f"hydra.sweep.dir={folder}"]
    record(folder, 3, 400)
    with pytest.raises(SystemExit, match="different configurations"):
        bench.measure("p", "experiment=p", "latest", options)


def test_cell_contains_mean_interval_and_missing_runs(bench):
    assert bench.cell([1.0, 2.0, 6.0], 3) == "3.0 [-3.6, 9.6]"  # 3 ± 4.303 * 2.6458 / sqrt(3)
    assert bench.cell([500.0, 500.0], 2) == "500.0 [500.0, 500.0]"
    assert bench.cell([1.0, 2.0], 3).endswith("(2 of 3 runs)")
    assert bench.cell([4.0], 1) == "4.0"
    assert bench.cell([], 2) == "- (0 of 2 runs)"


def test_table_compares_presets_with_their_counterparts(bench):
    row = {"episodes": 1_000, "training": 5.0, "evaluation": 7.0, "seconds": 3.4}
    cases = [bench.Case("p", "002", "algo=ppo"), bench.Case("q", "004", None)]
    results = {"p": [row], "algo=ppo": [row | {"evaluation": 9.0, "seconds": 8.0}], "q": []}
    text = bench.table(results, cases, 1)
    head, _, first, second = text.splitlines()
    assert head.count("|") == first.count("|") == second.count("|") == 10
    assert first == ("| 002 | `experiment=p` | 1,000 | 5.0 | 7.0 | 3 | `algo=ppo` | 9.0 | 8 |")
    missing = "- (0 of 1 runs)"
    assert second == f"| 004 | `experiment=q` | - | {missing} | {missing} | - | - | - | - |"


def test_recorded_presets_are_not_run_and_their_counterparts_are(bench, options, monkeypatch):
    ran = []

    def measure(name, words, which, options):
        ran.append((words, which, options.seeds))
        return [{"evaluation": 1.0}]

    monkeypatch.setattr(bench, "measure", measure)
    case = next(case for case in bench.CASES if case.preset == "cartpole_sarsa")
    recorded = [{"evaluation": 2.0}]
    results = bench.collect([case], options, {case.preset: recorded})
    assert results == {case.preset: recorded, case.counterpart: [{"evaluation": 1.0}]}
    assert ran == [(case.counterpart, "best", [405, 406])]


def test_publish_replaces_only_the_table_of_the_page(bench, tmp_path, monkeypatch):
    page, kept = tmp_path / "page.md", tmp_path / "record.json"
    page.write_text("before\n<!-- table -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(bench, "PAGE", page)
    monkeypatch.setattr(bench, "RECORD", kept)
    bench.publish({"p": []}, r"| \1 |", [400])
    assert page.read_text() == "before\n<!-- table -->\n| \\1 |\n<!-- end -->\nafter\n"
    assert json.loads(kept.read_text())["seeds"] == [400]


def test_each_notebook_preset_is_a_case_and_each_counterpart_composes(bench):
    for case in bench.CASES:
        compose(f"experiment={case.preset}", *bench.ALWAYS, *bench.QUICK)
        compose(*case.counterpart.split())
    others = {"smoke", "fast_cartpole", "fast_lunarlander", "fast_mountaincar", "lunarlander_windy"}
    presets = {path.stem for path in (REPO / "conf/experiment").glob("*.yaml")}
    assert {case.preset for case in bench.CASES} == presets - others


@pytest.mark.skipif(not FULL, reason="long form only: trains")
def test_quick_benchmark_of_one_preset(bench, tmp_path):
    case = next(case for case in bench.CASES if case.preset == "cartpole_reinforce")
    quick = bench.Options([400], 1, True, tmp_path)
    results = bench.collect([case], quick, {})
    assert {name: len(rows) for name, rows in results.items()} == {
        case.preset: 1,
        case.counterpart: 1,
    }
    assert "of 1 runs" not in bench.table(results, [case], 1)

"""Whole searches on runs that are written to disk: pruning, failures, stops, the answer on fresh seeds."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from rl_cli.core.errors import StorageError
from rl_cli.report import search_record
from rl_cli.search.run_processes import RunProcesses
from rl_cli.search.search import Search
from tests.search.plans import HandWritten, make_plan


def quality(values):
    """Highest at learning_rate=1e-2, n_step=5."""
    return 100 - 10 * abs(math.log10(values["algo.learning_rate"]) + 2) + values["algo.n_step"]


def noise(seed):
    return ((seed * 7919) % 13) / 13


def learns(values, seed):
    final = quality(values) + noise(seed)
    return [0.2 * final, 0.6 * final, final]


@pytest.fixture
def search(here):
    """A function that runs a search. -> its record, the runs, the presets."""

    def run(returns=learns, code=0, stop_after=None, **cfg):
        presets = []

        def write(values, notes):
            presets.append((values, notes))
            return "conf/hparams/x.yaml"

        runs = HandWritten(returns, cfg.get("jobs", 2))
        runs.stop_after = stop_after
        cfg = {"trials": 8, "seeds": 3, "verify": 5, "top": 2, "jobs": 2} | cfg
        plan = make_plan(**cfg)
        found = Search(plan, "plain", write, RunProcesses(lambda: runs)).run()
        assert found == code
        return search_record.load(plan.folder), runs, presets

    return run


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("rl_cli.search.worker.time.sleep", lambda seconds: None)
    monkeypatch.setattr("rl_cli.search.worker.IDLE_SECONDS", 0.0)
    monkeypatch.setattr("os.fsync", lambda file: None)


def seeds_run(runs, prefix):
    """Run folder name -> how often it was started."""
    names = [Path(task.folder).name for task in runs.log]
    return {name: names.count(name) for name in names if name.startswith(prefix)}


def test_the_winner_is_checked_on_fresh_seeds_becomes_a_preset_and_stays_so(search, capsys):
    known = []

    def returns(values, seed):
        if (
            seed >= 1000
        ):  # the trials are in the record before fresh seeds run, should the rest be killed
            known.append(len(search_record.load(Path("runs/searches/s")).complete))
        return learns(values, seed)

    record, runs, presets = search(returns, prune="none", prune_seeds=False)
    assert known == [8] * 15
    assert [t.state for t in record.trials] == ["complete"] * 8
    assert seeds_run(runs, "t0000") == {f"t0000_s{seed}": 1 for seed in range(3)}
    mean_noise = sum(map(noise, range(3))) / 3
    for trial in record.trials:
        assert trial.values == [pytest.approx(quality(trial.keys) + mean_noise)]
    best = max(record.trials, key=lambda t: t.values[0])
    assert record.best == best.trial
    assert [c.trial for c in record.checked][:2] == [0, best.trial]
    fresh = range(1000, 1005)
    assert record.checked[1].values == [
        pytest.approx(quality(best.keys) + noise(seed)) for seed in fresh
    ]
    assert record.winner == best.trial
    ((values, notes),) = presets
    assert values == best.keys
    assert "seeds 1000 to 1004" in notes[1]
    said = capsys.readouterr().out.split("trials:")[1]
    assert "preset:  conf/hparams/x.yaml" in said
    assert (Path("runs/searches/s") / "report.html").exists()
    again, runs, presets = search(prune="none", prune_seeds=False)  # repeated, it runs nothing
    assert runs.log == []
    assert capsys.readouterr().out.split("trials:")[1] == said
    assert again.checked == record.checked
    assert len(presets) == 1


def test_no_preset_without_a_difference(search, capsys):
    record, _, presets = search(lambda values, seed: [1.0, 2.0, 3.0 + noise(seed)])
    assert record.winner is None
    assert presets == []
    assert "no trial is better than the defaults" in capsys.readouterr().out


def test_a_stopped_search_continues_where_it_was(search):
    whole, _, _ = search(name="whole", jobs=1)
    _, runs, _ = search(name="parts", jobs=1, code=130, stop_after=5)
    assert len(runs.log) == 6
    record, rest, _ = search(name="parts", jobs=1)
    assert [t.keys for t in record.trials] == [t.keys for t in whole.trials]
    assert [t.values for t in record.trials] == [t.values for t in whole.trials]
    done = [Path(task.folder).name for task in runs.log[:5]]
    assert not set(done) & set(seeds_run(rest, "t"))
    resumed = [t.config["resume"] for t in rest.log if "resume" in t.config]
    assert [Path(folder).name for folder in resumed] == [Path(runs.log[5].folder).name]


def test_runs_below_the_median_are_ended_and_say_so(search):
    def returns(values, seed):
        good = values["algo.n_step"] == 1  # the defaults, and few others
        return [50.0, 50.0, 50.0] if good or values["algo.gamma"] < 0.95 else [1.0, 1.0, 1.0]

    record, _, _ = search(returns, trials=20, seeds=1, prune_after=0.0, verify=0)
    pruned = [t for t in record.trials if t.state == "pruned"]
    assert pruned
    for trial in pruned:
        (run,) = trial.runs
        assert (run.state, run.step, run.value) == ("pruned", 100, 1.0)
        status = json.loads((Path(run.folder) / "status.json").read_text())
        assert status["state"] == "pruned"
        assert status["reason"] == trial.reason == "median: return 1 at step 100"
    assert record.trials[0].state == "complete"
    off, _, _ = search(returns, name="off", trials=9, seeds=1, prune="none", verify=0)
    assert {t.state for t in off.trials} == {"complete"}


def test_successive_halving_ends_runs_at_a_rung(search):
    def returns(values, seed):
        return [values["algo.n_step"] * v for v in (1.0, 2.0, 3.0)]

    record, _, _ = search(returns, trials=16, seeds=1, prune="asha", prune_after=1 / 3, verify=0)
    pruned = [t for t in record.trials if t.state == "pruned"]
    assert pruned
    assert all(t.reason.startswith("asha: return") and t.runs[0].step == 100 for t in pruned)


def test_a_trial_that_is_worse_on_each_seed_ends_between_seeds(search):
    def returns(values, seed):
        return [0.0, 0.0, (9.0 if values == search.first else 1.0) + noise(seed)]

    search.first = dict(make_plan().defaults)
    record, _, _ = search(returns, trials=3, seeds=5, prune="none", verify=0, jobs=1)
    first, *others = record.trials
    assert len(first.runs) == 5
    for trial in others:
        assert trial.state == "pruned"
        assert len(trial.runs) == 3  # one-sided p = 1/8 < prune_p
        assert trial.reason == "worse than trial 0 on 3 seeds"
    off, _, _ = search(
        returns, name="off", trials=3, seeds=5, prune="none", prune_seeds=False, verify=0
    )
    assert [len(t.runs) for t in off.trials] == [5] * 3


@pytest.mark.parametrize(("code", "state"), [(1, "failed"), (2, "failed"), (3, "pruned")])
def test_a_failed_run_ends_its_trial_and_nothing_else(search, code, state):
    def returns(values, seed):
        return code if values["algo.n_step"] > 3 and seed == 1 else learns(values, seed)

    record, _, _ = search(returns, prune="none", prune_seeds=False, trials=6, seeds=2, verify=0)
    failed = [t for t in record.trials if t.keys["algo.n_step"] > 3]
    assert failed
    assert {t.state for t in failed} == {state}
    assert {t.state for t in record.trials if t not in failed} == {"complete"}
    assert all("seed 1 failed: exit code" in t.reason for t in failed)
    assert len(record.trials) == 6


def test_a_run_whose_process_is_killed_continues(search):
    killed = []

    def returns(values, seed):
        if seed == 1 and len(killed) < 2:
            killed.append(values)
            return 137
        return learns(values, seed)

    record, runs, _ = search(returns, trials=2, verify=0, jobs=1)
    assert [t.state for t in record.trials] == ["complete"] * 2
    assert seeds_run(runs, "t0000_s1") == {"t0000_s1": 3}


def test_a_full_disk_ends_the_search_and_leaves_its_trials(search):
    with pytest.raises(StorageError):
        search(lambda values, seed: 4 if seed == 2 else learns(values, seed), verify=0)
    record, _, _ = search(verify=0)
    assert len(record.trials) == 8


def test_two_objectives_give_a_front(search):
    def returns(values, seed):
        fast = values["algo.n_step"]
        return [10.0 * fast, 50.0 - fast, 60.0 - 5 * fast]

    record, _, _ = search(returns, second="steps", threshold=20.0, trials=12, verify=0)
    assert {t.state for t in record.trials} == {"complete"}
    for trial in record.trials:
        n = trial.keys["algo.n_step"]
        assert trial.values == [60.0 - 5 * n, 100.0 if n >= 2 else 200.0]
        assert trial.front == (n in (1, 2))


def test_steps_to_the_threshold_are_minimized(search):
    def returns(values, seed):
        n = values["algo.n_step"]
        return [30.0 if n > 3 else 0.0, 30.0 if n > 1 else 0.0, 10.0]

    record, _, _ = search(returns, objective="steps", threshold=20.0, verify=5)
    for trial in record.complete:
        n = trial.keys["algo.n_step"]
        assert trial.values == [100.0 if n > 3 else 200.0 if n > 1 else 600.0]
    assert record.trials[record.winner].keys["algo.n_step"] > 3


def test_each_run_gets_one_signal_to_end_and_the_users_second_one():
    """A second signal ends a run without a checkpoint."""
    sent = []
    executor = SimpleNamespace(send=lambda *words: sent.append(words), wait=lambda seconds: [])
    runs = RunProcesses(lambda: executor)
    runs.executor, runs.running = executor, dict.fromkeys([0, 1])
    runs.stop(0)  # pruned
    runs.signals = [signal.SIGHUP]
    runs.poll()
    runs.stop(1)
    assert sent == [(0, signal.SIGTERM), (1, signal.SIGHUP)]
    runs.signals.append(signal.SIGINT)
    runs.poll()
    assert sent[2:] == [(0, signal.SIGINT), (1, signal.SIGINT)]

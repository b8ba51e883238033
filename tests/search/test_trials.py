"""Trials of a study: proposed from a seed, taken over from killed processes, never more than requested."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from rl_cli.core.errors import BadInput
from rl_cli.search.sampler import distributions
from rl_cli.search.study import (
    masked,
    open_storage,
    open_study,
    quiet_optuna,
    require_own_folder,
)
from rl_cli.search.trials import OWNER, RunResult, Trials, label, results, save
from rl_cli.storage.folder_lock import Owner
from tests.search.plans import SPACE, make_plan


@pytest.fixture(autouse=True)
def quiet(here):
    with quiet_optuna():
        yield


def make_trials(plan, limit=10):
    study = open_study(open_storage(plan), plan)
    return Trials(study, distributions(plan), limit, stale_after=2.0)


def run_all(trials, values=None):
    """Complete all trials that can be taken. -> parameters by number."""
    found = {}
    while (trial := trials.take()) is not None:
        found[trial.number] = trial.params
        value = -abs(trial.params["algo.gamma"] - 3.0) if values is None else values
        trials.complete(trial, [value])
    return found


def test_first_trial_has_the_defaults():
    first = run_all(make_trials(make_plan(), 1))[0]
    assert {k: SPACE[k].value(p) for k, p in first.items()} == {
        "algo.learning_rate": 0.001, "algo.gamma": 0.99, "algo.n_step": 1, "algo.hidden_sizes": [8, 8],
    }  # fmt: skip


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_in_two_parts_proposes_the_same_trials(sampler):
    whole = run_all(make_trials(make_plan(name="whole", sampler=sampler), 9))
    run_all(make_trials(make_plan(name="parts", sampler=sampler), 4))
    rest = run_all(make_trials(make_plan(name="parts", sampler=sampler), 9))
    assert rest == {n: whole[n] for n in range(4, 9)}
    assert len({str(each) for each in whole.values()}) == 9
    other = run_all(make_trials(make_plan(name="other", sampler=sampler, seed=1), 9))
    assert other[0] == whole[0]
    assert other[1] != whole[1]


def test_of_two_processes_that_take_the_last_trial_one_gets_it():
    plan = make_plan()
    one, two = make_trials(plan, 3), make_trials(plan, 3)
    taken = [one.take(), two.take(), one.take(), two.take()]
    assert [t is not None for t in taken] == [True, True, True, False]
    # both find one trial missing, and both take one
    one.limit = two.limit = 4
    first, second = one.study.ask(one.space), two.study.ask(two.space)
    assert [one._is_surplus(first.number), two._is_surplus(second.number)] == [False, True]


def gone():
    """An owner whose process has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return dataclasses.replace(Owner.this_process(), pid=done.pid, born=1)


def test_a_trial_of_a_killed_process_continues_once_with_its_runs():
    plan = make_plan()
    one, two, three = (make_trials(plan) for _ in range(3))
    trial = one.take()
    save(trial, RunResult(0, "completed", "runs/x", [(100, 5.0)], 5.0, None, 1.0, ""))
    trial.set_user_attr(
        OWNER, {"process": dataclasses.asdict(gone()), "beat": 1, "released": False}
    )
    two.requeue()
    three.requeue()
    again = two.take()
    assert label(again) == label(trial) == 0
    assert again.params == trial.params
    (found,) = [t for t in two.every() if label(t) == 0]
    assert found.number == again.number
    assert results(found)[0].value == 5.0
    assert label(three.take()) == 1  # a new one, not the same again


def test_a_trial_whose_process_dies_again_and_again_fails():
    trials = make_trials(make_plan(), 1)
    for _ in range(3):
        trial = trials.take()
        process = dataclasses.asdict(gone())
        trial.set_user_attr(OWNER, {"process": process, "beat": 1, "released": False})
        trials.mine.clear()
    assert trials.take() is None
    (found,) = trials.every()
    assert found.state.name == "FAIL"
    assert found.user_attrs["ended"] == "its process was killed 3 times"


def test_a_process_of_another_machine_counts_as_killed_without_signs_of_life(monkeypatch):
    plan = make_plan()
    here, there = make_trials(plan), make_trials(plan)
    trial = there.take()
    process = dataclasses.asdict(Owner.this_process()) | {"host": "elsewhere"}

    def sign(beat):
        trial.set_user_attr(OWNER, {"process": process, "beat": beat, "released": False})

    clock = [100.0]
    monkeypatch.setattr("rl_cli.search.trials.time.monotonic", lambda: clock[0])
    for beat in range(4):
        sign(beat)
        here.requeue()
        clock[0] += 1.9
    assert label(here.every()[0]) == here.every()[0].number == 0
    here.requeue()
    clock[0] += 2.1
    here.requeue()
    assert here.every()[0].number == 1
    assert label(here.every()[0]) == 0


def test_released_trials_are_taken_at_once():
    plan = make_plan()
    one, two = make_trials(plan), make_trials(plan)
    one.take()
    one.release()
    again = two.take()
    assert label(again) == 0
    assert again.user_attrs["kills"] == 0


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"seed": 1}, "seed"), ({"seeds": 9}, "seeds"), ({"objective": "auc"}, "objective"),
     ({"objective": "steps", "threshold": 1.0}, "objective"), ({"threshold": 2.0}, "threshold")],
)  # fmt: skip
def test_a_study_of_another_configuration_is_refused(changes, key):
    make_trials(make_plan())
    with pytest.raises(BadInput) as error:
        make_trials(make_plan(**changes))
    assert "the study s was made with another configuration" in error.value.what
    assert error.value.where.startswith(f"{key}=")


def test_another_number_of_trials_or_pruning_continues():
    make_trials(make_plan())
    make_trials(make_plan(trials=3, prune="none", verify=3))


def test_an_incomplete_line_of_the_journal_is_removed():
    plan = make_plan()
    run_all(make_trials(plan, 2))
    with (plan.folder / "study.log").open("a") as file:
        file.write('{"op_code": 4, "worker')
    assert len(run_all(make_trials(plan, 4))) == 2


@pytest.mark.parametrize(
    "url",
    ["mysql://a/b", "postgresql://", "x", "sqlite:////nowhere/at/all.db", "sqlite://:memory:/x"],
)
def test_a_database_that_cannot_be_used_is_refused(url):
    with pytest.raises(BadInput) as error:
        open_storage(make_plan(storage=url))
    assert len(str(error.value).splitlines()) == 3


def test_passwords_are_not_printed():
    assert masked("x postgresql://me:secret@host:5/db y") == "x postgresql://me:***@host:5/db y"


def test_new_study_does_not_take_the_runs_of_another_one():
    plan = make_plan(name="mine")
    study = open_study(open_storage(plan), plan)
    require_own_folder(plan, study)
    (plan.folder / "runs" / "t0_s0").mkdir(parents=True)
    (plan.folder / "runs" / "t0_s0" / "config.yaml").write_text("")
    with pytest.raises(BadInput, match="holds runs of another one"):
        require_own_folder(plan, study)
    make_trials(plan).take()
    require_own_folder(plan, study)


def test_setting_written_as_another_number_is_the_same():
    plan = make_plan(name="same")
    open_study(open_storage(plan), plan)
    config = {**plan.config, "total_timesteps": 3e2}
    open_study(open_storage(plan), dataclasses.replace(plan, config=config))
    config["values"] = {**config["values"], "algo.hidden_sizes": [8.0, 8]}
    open_study(open_storage(plan), dataclasses.replace(plan, config=config))
    config["total_timesteps"] = 301
    with pytest.raises(BadInput, match="total_timesteps was 300"):
        open_study(open_storage(plan), dataclasses.replace(plan, config=config))

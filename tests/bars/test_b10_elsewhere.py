"""B10 beyond the jobs of a local sweep: machines of a cluster, searches, and the report.

Short form: the report. Long form: also runs with each fault on what Slurm and Ray start, and in a search. The clusters
themselves: tests/services.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from rl_cli.cli import report as rl_report
from rl_cli.cli import search as rl_search
from rl_cli.report import search_record
from rl_cli.sweep.attempt import Attempt
from tests.bars.kill_points import run_forked, train_in_child
from tests.bars.results import report
from tests.bars.test_b10_sweeps import FAULTS, MODULE, SWEEP, job_records
from tests.conftest import FULL
from tests.report.folders import write_run

long_form = pytest.mark.skipif(not FULL, reason="long form only")


@long_form
def test_an_attempt_on_a_machine_of_a_cluster_ends_in_a_record_and_the_next_one_completes(
    here, tiny
):
    (here / "faulty.py").write_text(MODULE)
    Path("logs").mkdir()
    assert (
        train_in_child([f"env.kwargs.how={','.join(FAULTS)}", *SWEEP, *tiny, "total_timesteps=100"])
        == 0
    )
    shutil.rmtree("runs")
    for how, (code, reason) in FAULTS.items():
        config = {"quiet": True, "run_dir": f"run_{how}", "resume": "auto", "total_timesteps": 400}
        task = task_of(here, how, config)
        assert Attempt(task, "a node").run() == code, how
        first = json.loads(Path(task["path"]).read_text())
        assert (first["state"], first["exit_code"], first["where"]) == ("failed", code, "a node")
        assert reason in first["reason"]
        Path("fixed").touch()
        assert Attempt(task, "another node").run() == 0, how
        Path("fixed").unlink()
        record = json.loads(Path(task["path"]).read_text())
        assert (record["state"], [e["exit_code"] for e in record["earlier"]]) == (
            "completed",
            [code],
        )
    report(10, len(FAULTS), len(FAULTS), "faults contained, attempts of a cluster")


def task_of(here, how, config):
    """A task as the driver of a sweep hands it to a cluster, made of a job that ran here."""
    record = job_records()[how]
    return {
        "config": plain_config(how) | config,
        "labels": ["dqn", "faulty", "", []],
        "concurrent": 1,
        "record": {"overrides": record["overrides"], "labels": record["labels"], "seed": 0, "run_dir": f"run_{how}"},
        "path": str(here / f"job_{how}.json"),
        "folder": f"run_{how}",
        "start": str(here),
        "output": str(here / "logs" / f"{how}.log"),
        "environment": {},
    }  # fmt: skip


def plain_config(how):
    from rl_cli.cli.config_groups import CONF
    from rl_cli.cli.search_plan import Composer

    words = ["algo=dqn", "hparams=none", "env.id=faulty:SweepFaulty-v0", f"env.kwargs.how={how}"]
    words += [
        "eval.every=200",
        "eval.episodes=2",
        "checkpoint.every=100",
        "log.every=100",
        "compile=false",
    ]
    return Composer(words, [CONF]).config


@long_form
def test_a_failed_run_does_not_affect_other_trials_of_a_search(here, tiny):
    """Each fault is an env of its own, whose id is the key of the space."""
    ids = "".join(
        f'gym.register("{how.title()}-v0", entry_point=lambda **kw: Faulty("{how}"), max_episode_steps=10)\n'
        for how in ("well", *FAULTS)
    )
    (here / "faulty.py").write_text(MODULE + ids)
    names = ", ".join(f"'faulty:{how.title()}-v0'" for how in ("well", *FAULTS))
    Path("conf/space").mkdir(parents=True)
    Path("conf/space/faults.yaml").write_text(f"env.id: {{categorical: [{names}]}}\n")
    words = [
        "algo=dqn",
        "env.id=faulty:Well-v0",
        "hparams=none",
        "space=faults",
        "sampler=random",
        "study=faults",
    ]
    words += [word for word in tiny if word != "quiet=true"]
    words += ["trials=16", "seeds=1", "verify=0", "prune=none", "prune_seeds=false"]
    assert run_forked(lambda: rl_search.run(words)) == 0
    record = search_record.load(Path("runs/searches/faults"))
    seen = set()
    for trial in record.trials:
        how = trial.keys["env.id"].removeprefix("faulty:").removesuffix("-v0").lower()
        seen.add(how)
        goes_on = how in ("well", "kill")  # what was killed goes on from its checkpoint
        assert trial.state == ("complete" if goes_on else "failed"), (how, trial.reason)
        assert goes_on or FAULTS[how][1] in trial.reason
        if how == "kill":
            status = json.loads(Path(trial.runs[0].folder, "status.json").read_text())
            assert [r["step"] for r in status["resumed"]] == [200]
    assert "well" in seen
    assert len(seen) > len(FAULTS) / 2
    report(10, len(seen) - 1, len(seen) - 1, "faults contained, runs of a search")


DAMAGES = {
    "no config": lambda folder: (folder / "config.yaml").unlink(),
    "config cut": lambda folder: cut(folder / "config.yaml"),
    "config of zeros": lambda folder: (folder / "config.yaml").write_bytes(bytes(4096)),
    "config nested": lambda folder: (folder / "config.yaml").write_text("[" * 5000),
    "evaluations of another program": lambda folder: (folder / "eval.csv").write_text("a,b\n1,2\n"),
    "evaluations of zeros": lambda folder: (folder / "eval.csv").write_bytes(bytes(4096)),
    "evaluations a link": lambda folder: link(folder / "eval.csv"),
    "evaluations a folder": lambda folder: ((folder / "eval.csv").unlink(), (folder / "eval.csv").mkdir()),
    "evaluations a pipe": lambda folder: ((folder / "eval.csv").unlink(), os.mkfifo(folder / "eval.csv")),
    "evaluations not finite": lambda folder: (folder / "eval.csv").write_text(
        "step,episode,seed,episode_return,episode_length\n100,0,0,nan,1\n200,0,0,inf,1\n300,0,0,-inf,1\n"
    ),
    "evaluations cut in a row": lambda folder: cut(folder / "eval.csv"),
    "metrics binary": lambda folder: (folder / "metrics.csv").write_bytes(os.urandom(4096)),
    "no metrics": lambda folder: (folder / "metrics.csv").unlink(),
    "status cut": lambda folder: cut(folder / "status.json"),
    "status of other kinds": lambda folder: (folder / "status.json").write_text(
        '{"state": [], "step": "x", "seconds": 1e999, "reason": {}, "training": 3}'
    ),
    "no status": lambda folder: (folder / "status.json").unlink(),
    "provenance of another kind": lambda folder: (folder / "provenance.json").write_text("[[]]"),
}  # fmt: skip


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def link(path):
    path.rename(path.with_name("elsewhere.csv"))
    path.symlink_to("elsewhere.csv")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_does_not_affect_other_runs_of_a_report(here, capsys, damage):
    for seed in range(6):
        write_run(here / f"runs/a{seed}", {100: 1.0, 200: 2.0 + seed}, seed=seed)
    DAMAGES[damage](write_run(here / "runs/damaged", {100: 900.0, 200: 900.0}, seed=6))
    assert rl_report.run(["runs"]) == 0
    said = capsys.readouterr().out
    is_counted = "IQM of 7 runs" in said  # what it needs for a final return can be read
    assert is_counted or "4.500 [" in said  # IQM of 2 to 7
    assert (here / "runs/report.html").stat().st_size > 50_000
    report(10, 1, 1, "damaged run contained, report")

"""rl-train: train an agent, or a sweep of them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli import algos
from rl_cli.cli import compose, config_groups, hydra_errors
from rl_cli.cli.arguments import value_of
from rl_cli.cli.deferred import defer
from rl_cli.config.env import EnvConfig
from rl_cli.config.run import RunConfig
from rl_cli.config.schema import build, keys, suggest
from rl_cli.core.errors import BadInput, plain
from rl_cli.envs import trust
from rl_cli.storage.folder_lock import FolderLock
from rl_cli.sweep.sweep import Job, Sweep
from rl_cli.training import resume

if TYPE_CHECKING:
    from rl_cli.training.experiment import Outcome

defer("torch")

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's products are small; threads cost more


def main() -> None:
    """Console entry point; the process ends with the run's exit code."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Carry out a command line. -> exit code."""
    if any(arg in ("-h", "--help") for arg in argv):
        from rl_cli.cli.help import show, train_help

        show(train_help(argv))
        return 0
    if "--version" in argv:
        from rl_cli import __version__

        print(f"rl-cli {__version__}")
        return 0
    with hydra_errors.reported(argv, lambda: hydra_errors.training_keys(argv)) as code:
        words = compose.plain(argv)
        if value_of(words, "resume") not in (None, "auto", "null"):
            code[0] = _resume(words)
        else:
            code[0] = _launch(words)
    return code[0]


def _launch(argv: list[str]) -> int:
    prepared = compose.prepare(argv)
    folder = Path(str(value_of(prepared, "hydra.sweep.dir")))
    task = _Task(folder)
    try:
        compose.run_hydra("config", prepared, task)
        task.finish()
    except KeyboardInterrupt:
        task.exit_code = task.exit_code or 130
    except BadInput:
        if value_of(argv, "hydra.sweep.dir") is None and not any(folder.glob("job_*.json")):
            shutil.rmtree(folder, ignore_errors=True)  # a sweep that was refused leaves nothing
        raise
    if any(folder.glob("job_*.json")):  # whichever processes the jobs ran in
        from rl_cli.sweep.report import report

        return task.exit_code or report(folder)
    return task.exit_code


class _Task:
    """Hydra's task function: carries out a run, and gathers the jobs of a sweep.

    All jobs are composed and checked before the first begins, unless a sweeper wants to know how one
    ended before it names the next, or a launcher has processes of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.exit_code = folder, 0
        self.jobs: list[Job] = []
        self.told: set[str] = set()  # notes

    def __call__(self, cfg: Any) -> float | None:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra_cfg = HydraConfig.get()
        config = compose.values(cfg)
        choices = hydra_cfg.runtime.choices
        config_groups.refuse_foreign_values(
            str(choices["algo"]), str(choices["env"]), str(choices["hparams"]), config["env"]["id"]
        )
        words = compose.as_typed(hydra_cfg.overrides.task)
        _refuse_idle(config, words)
        labels = (str(choices["algo"]), config_groups.env_label(str(choices["env"]), config))
        if hydra_cfg.mode != RunMode.MULTIRUN:
            self._tell_idle(config, words)
            outcome = _train(config, labels)
            self.exit_code = outcome.exit_code
            return outcome.eval_return
        name = str(hydra_cfg.job.override_dirname)
        job = Job(int(hydra_cfg.job.num), config, labels, words, name)
        job.check()
        self._tell_idle(config, words)
        if choices["hydra/launcher"] == choices["hydra/sweeper"] == "basic":
            self.jobs.append(job)
            return None
        return self._at_once(job)

    def _tell_idle(self, config: dict[str, Any], words: list[str]) -> None:
        """Say once which keys were typed for nothing; a sweep may well have reason to."""
        algo_cls = algos.load(str(config["algo"].get("name")))
        without_effect = build(algo_cls.Config, config["algo"], "algo").without_effect()
        typed = {word.lstrip("+").split("=", 1)[0] for word in words}
        for key, others in without_effect.items():
            note = f"note: {key} has no effect with {others}"
            if key in typed and note not in self.told:
                self.told.add(note)
                print(plain(note), file=sys.stderr)

    def _at_once(self, job: Job) -> float | None:
        sweep = Sweep(self.folder, 1)
        sweep.run([job])
        if sweep.exit_code:
            self.exit_code = sweep.exit_code
            raise KeyboardInterrupt  # the person wants the sweep to stop, not this job alone
        return sweep.result(job)

    def finish(self) -> None:
        """Carry out the jobs that were gathered. Raises BadInput: another process is at it."""
        if self.jobs:
            with FolderLock.take(self.folder):
                sweep = Sweep(self.folder, self.jobs[0].config["jobs"])
                sweep.run(self.jobs)
            self.exit_code = sweep.exit_code


def _train(config: dict[str, Any], labels: tuple[str, str]) -> Outcome:
    from rl_cli.training.experiment import train

    return train(config, labels)


def _refuse_idle(config: dict[str, Any], overrides: list[str]) -> None:
    """Raise BadInput for a warm-up that was asked for and outlasts the budget.

    Only one that was asked for: a short budget alone is how one tries things out.
    """
    asked = value_of(overrides, "algo.learning_starts")
    starts, budget = config["algo"].get("learning_starts"), config["total_timesteps"]
    numbers = isinstance(starts, int | float) and isinstance(budget, int | float)
    if asked and numbers and starts >= budget:
        raise BadInput(
            "nothing would be learned: the budget ends before learning starts",
            f"algo.learning_starts={asked} total_timesteps={budget}",
            "a smaller algo.learning_starts, or a larger total_timesteps",
        )


def _resume(argv: list[str]) -> int:
    """Go on with an interrupted run, with its own configuration.

    Raises:
        BadInput: an argument would change what the run is.

    """
    folder = Path(value_of(argv, "resume") or "")
    if folder == Path():
        raise BadInput("no folder is named", "resume=", "rl-train resume=<run folder>")
    config, labels = resume.recorded(folder)
    known, said = keys(RunConfig), dict[str, Any]()
    for arg in argv:
        key, equals, value = arg.partition("=")
        if key in ("resume", "run_dir") or (key, value) in zip(
            ("algo", "env"), labels, strict=True
        ):
            continue
        if not equals or key in config_groups.GROUPS:
            raise BadInput(
                "a resumed run keeps its configuration", arg, f"rl-train resume={folder}"
            )
        if key not in known and not key.startswith(("algo.", "env.kwargs.")):
            raise BadInput(f"unknown key {key}", arg, suggest(key, known))
        name, typed = hydra_errors.parsed(arg)
        for node in (config, said):
            _set(node, name, typed)
    trust.require_confirmed(build(EnvConfig, config["env"], "env"), said.get("env", {}))
    config |= {"resume": str(folder), "run_dir": None, "jobs": 1}
    code: int = _train(config, labels).exit_code
    return code


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    *path, leaf = key.split(".")
    node = config
    for part in path:
        node = node.setdefault(part, {})
    node[leaf] = value

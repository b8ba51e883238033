"""rl-train: train an agent, or a sweep of them.

Functions import gymnasium and what needs it when they use it, so that `--help` and refusals are quick.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli import algos
from rl_cli.cli import (
    completion,
    compose,
    config_groups,
    entry,
    group_names,
    hydra_errors,
    option_forms,
    presets,
    recorded_runs,
    user_files,
)
from rl_cli.cli.arguments import is_asked, value_of
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig
from rl_cli.core import stop_signals, terminal
from rl_cli.core.errors import BadInput, plain

if TYPE_CHECKING:
    from rl_cli.sweep.sweep import Job

DOCTOR = "--doctor"

# Matrix products of numpy are small here; BLAS threads make them slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

main = entry.train


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    if argv[:1] == [completion.ASK] and len(argv) == 3:
        return completion.answer(*argv[1:])
    if is_asked(argv):
        from rl_cli.cli.help import answer_train

        return answer_train(argv)
    if "--version" in argv:
        from rl_cli import __version__

        terminal.say(f"rl-cli {__version__}")
        return 0
    with hydra_errors.reported(argv, lambda: hydra_errors.training_keys(argv)) as code:
        if argv[:1] == ["--completion"]:
            return completion.script(argv[1] if len(argv) > 1 else "")
        folders = [config_groups.CONF, *config_groups.user_folders(argv)]
        typed = [word for word in argv if word != DOCTOR]
        option_forms.check_forms(
            "rl-train",
            typed,
            lambda: hydra_errors.training_keys(argv),
            lambda: {n: g for g in ("env", "algo") for n in config_groups.members(g, folders)},
        )
        words = group_names.resolve(compose.plain(typed), folders)
        if DOCTOR in argv:
            code[0] = _examine(words)
        elif value_of(words, "resume") not in (None, "auto", "null"):
            code[0] = recorded_runs.resume(words)
        elif value_of(words, "reproduce") is not None:
            code[0] = recorded_runs.reproduce(words)
        else:
            code[0] = _launch(words)
    return code[0]


def _examine(argv: list[str]) -> int:
    """Examine what a command line would start, and start nothing. 1: something is wrong."""
    from rl_cli.cli.help_values import composed

    if (run := value_of(argv, "resume")) is not None:
        raise BadInput("--doctor examines new runs", f"resume={run}", "leave one of them out")
    found = composed(argv)
    cfg = algos.build_run_config(found.values)
    from rl_cli.training.doctor import Doctor

    return 1 if Doctor(cfg).examine(found.title) else 0


def _launch(argv: list[str]) -> int:
    from rl_cli.storage import run_folder
    from rl_cli.sweep import records

    user_files.check(argv)
    prepared = compose.prepare(argv)
    group_names.note_left_behind(argv, [config_groups.CONF, *config_groups.user_folders(argv)])
    folder = Path(str(value_of(prepared, "hydra.sweep.dir")))
    run_folder.require_plain_files(folder, records.FILES)
    task = _Task(folder)
    try:
        compose.run_hydra("config", prepared, task)
        task.finish()
    except KeyboardInterrupt as stop:
        task.exit_code = task.exit_code or 128 + stop_signals.signal_of(stop)
    except BadInput:
        if value_of(argv, "hydra.sweep.dir") is None and not records.paths(folder):
            compose.remove_sweep(folder)
        raise
    if records.paths(folder):  # written here or by a launcher's processes
        from rl_cli.sweep.report import report

        return task.exit_code or report(folder)
    return task.exit_code


class _Task:
    """Hydra's task function: runs a single run, and collects the jobs of a sweep.

    All jobs are composed and checked before the first one starts, except with a sweeper that needs
    the result of one job to choose the next, or a launcher with its own processes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.exit_code = folder, 0
        self.jobs: list[Job] = []
        self.notes: set[str] = set()  # printed so far

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
        labels = _labels(hydra_cfg.runtime, config, words)
        if hydra_cfg.mode != RunMode.MULTIRUN:
            run_cfg = algos.build_run_config(config)
            self._check_overrides(run_cfg, words)
            if run_cfg.jobs > 1:
                terminal.warn(
                    f"note: jobs={run_cfg.jobs} has no effect without a sweep: -m or sweep="
                )
            from rl_cli.training.experiment import train

            outcome = train(run_cfg, config, labels)
            self.exit_code = outcome.exit_code
            return outcome.eval_return
        from rl_cli.sweep.sweep import Job

        name = str(hydra_cfg.job.override_dirname)
        job = Job.of(int(hydra_cfg.job.num), config, labels, words, name)
        self._check_overrides(job.cfg, words)
        if choices["hydra/launcher"] == choices["hydra/sweeper"] == "basic":
            self.jobs.append(job)
            return None
        return self._run_now(job)

    def _check_overrides(self, cfg: RunConfig, words: list[str]) -> None:
        _refuse_no_learning(cfg, words)
        self._note_without_effect(cfg.algo, words)

    def _note_without_effect(self, algo: AlgoConfig, words: list[str]) -> None:
        """Print once which typed keys have no effect; in a sweep this may be intended."""
        typed = {word.lstrip("+").split("=", 1)[0] for word in words}
        for key, others in algo.without_effect().items():
            note = f"note: {key} has no effect with {others}"
            if key in typed and note not in self.notes:
                self.notes.add(note)
                terminal.warn(plain(note))

    def _run_now(self, job: Job) -> float | None:
        from rl_cli.sweep.sweep import Sweep

        sweep = Sweep(self.folder, 1)
        sweep.run([job])
        if sweep.exit_code:
            self.exit_code = sweep.exit_code
            raise KeyboardInterrupt  # an interrupt stops the whole sweep, not only this job
        return sweep.result(job)

    def finish(self) -> None:
        """Run the collected jobs. Raises BadInput if another process uses the folder."""
        if self.jobs:
            from rl_cli.storage.folder_lock import FolderLock
            from rl_cli.sweep.sweep import Sweep

            with FolderLock.take(self.folder):
                sweep = Sweep(self.folder, self.jobs[0].cfg.jobs)
                sweep.run(self.jobs)
            self.exit_code = sweep.exit_code


def _labels(runtime: Any, config: Any, words: list[str]) -> Labels:
    """The names of a run, from Hydra's choices of groups and the words typed."""
    choices = runtime.choices
    folders = [Path(source.path) for source in runtime.config_sources if source.schema == "file"]
    preset = presets.preset_label(str(choices["hparams"]), folders)
    if (experiment := choices.get("experiment")) is not None:
        values = "" if preset == presets.DEFAULTS else f"{preset}, "
        preset = f"{values}experiment={experiment}"
    env = config_groups.env_label(str(choices["env"]), config)
    return Labels(str(choices["algo"]), env, preset, tuple(words))


def _refuse_no_learning(cfg: RunConfig, words: list[str]) -> None:
    """Raise BadInput if a typed algo.learning_starts is beyond the budget.

    With a short budget alone, as in a quick trial, the run goes ahead without learning.
    """
    typed = value_of(words, "algo.learning_starts")
    starts = getattr(cfg.algo, "learning_starts", 0)
    if typed and starts >= cfg.total_timesteps:
        raise BadInput(
            "no update would happen: the budget ends before learning starts",
            f"algo.learning_starts={typed} total_timesteps={cfg.total_timesteps}",
            "a smaller algo.learning_starts, or a larger total_timesteps",
        )

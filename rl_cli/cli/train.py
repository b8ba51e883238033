"""rl-train: train an agent, or a sweep of them."""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli.cli.deferred import defer

defer("torch")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's products are small; threads cost more

from rl_cli.cli import launch  # noqa: E402
from rl_cli.cli.arguments import value_of  # noqa: E402
from rl_cli.cli.jobs import Pool  # noqa: E402
from rl_cli.config import EnvConfig, Jobs, RunConfig, build, keys, suggest  # noqa: E402
from rl_cli.errors import BadInput, RunError  # noqa: E402
from rl_cli.files import write_json  # noqa: E402

if TYPE_CHECKING:
    from rl_cli.run import Outcome


def main() -> None:
    """Console entry point; the process ends with the run's exit code."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Carry out a command line. -> exit code."""
    if any(arg in ("-h", "--help") for arg in argv):
        from rl_cli.cli.help import train_help

        print(train_help(argv))
        return 0
    if "--version" in argv:
        from rl_cli import __version__

        print(f"rl-cli {__version__}")
        return 0
    with launch.reported(argv, lambda: launch.training_keys(argv)) as code:
        words = launch.plain(argv)
        if value_of(words, "resume") not in (None, "auto", "null"):
            code[0] = _resume(words)
        else:
            code[0] = _launch(words)
    return code[0]


def _launch(argv: list[str]) -> int:
    jobs = _Jobs()
    prepared = launch.prepare(argv)
    sweep = Path(str(value_of(prepared, "hydra.sweep.dir")))
    try:
        launch.run_hydra("config", prepared, jobs)
    except KeyboardInterrupt:
        jobs.exit_code = jobs.exit_code or 130
    jobs.finish()
    if any(sweep.glob("job_*.json")):  # whichever processes the jobs ran in
        from rl_cli.cli.sweep_report import report

        return jobs.exit_code or report(sweep)
    return jobs.exit_code


class _Jobs:
    """Hydra's task function. It never raises for a run that fails, so that a sweep goes on."""

    def __init__(self) -> None:
        self.exit_code = 0
        self.pool: Pool | None = None
        self.records: dict[int, tuple[Path, dict[str, Any]]] = {}  # of jobs in children

    def __call__(self, cfg: Any) -> float | None:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra_cfg = HydraConfig.get()
        config = launch.values(cfg)
        choices = hydra_cfg.runtime.choices
        launch.refuse_foreign_values(
            str(choices["algo"]), str(choices["env"]), str(choices["hparams"]), config["env"]["id"]
        )
        _refuse_idle(config, hydra_cfg.overrides.task)
        labels = (str(choices["algo"]), _env_label(str(choices["env"]), config))
        if hydra_cfg.mode != RunMode.MULTIRUN:
            outcome = _train(config, labels)
            self.exit_code = outcome.exit_code
            return outcome.eval_return
        number = int(hydra_cfg.job.num)
        if not config["quiet"]:
            print(f"[{number}] {hydra_cfg.job.override_dirname}", flush=True)
        record = {
            "overrides": list(hydra_cfg.overrides.task),
            "labels": list(labels),
            "seed": config["seed"],
        }
        path = Path(hydra_cfg.sweep.dir) / f"job_{number:04d}.json"
        if config["jobs"] != 1:
            self._start(number, config, labels, path, record)
            return None
        outcome = _train_guarded(config, labels)
        write_json(path, record | dataclasses.asdict(outcome))
        if outcome.exit_code in launch.INTERRUPTED:
            self.exit_code = outcome.exit_code
            raise KeyboardInterrupt  # the person wants the sweep to stop, not this job alone
        return outcome.eval_return

    def _start(
        self,
        number: int,
        config: dict[str, Any],
        labels: tuple[str, str],
        path: Path,
        record: dict[str, Any],
    ) -> None:
        """Leave the job to a child; it prints nothing but warnings."""
        if self.pool is None:
            import torch

            torch.get_num_threads()  # brings in what was deferred
            if config["log"]["tensorboard"]:
                import torch.utils.tensorboard

            self.pool = Pool(build(Jobs, {"jobs": config["jobs"]}).jobs, self._ended)
        if self.exit_code in launch.INTERRUPTED:
            raise KeyboardInterrupt
        self.records[number] = path, record

        def job() -> int:
            outcome = _train_guarded({**config, "quiet": True}, labels)
            write_json(path, record | dataclasses.asdict(outcome))
            return outcome.exit_code

        self.pool.start(number, job)

    def _ended(self, number: int, code: int) -> None:
        path, record = self.records.pop(number)
        if not path.exists():  # killed: nobody else will say so
            from rl_cli.run import Outcome

            lost = Outcome(code, "failed", f"the process ended with code {code}")
            write_json(path, record | dataclasses.asdict(lost))
        print(f"[{number}] {'done' if code == 0 else f'ended with code {code}'}", flush=True)
        if code in launch.INTERRUPTED:
            self.exit_code = code

    def finish(self) -> None:
        if self.pool is not None:
            self.pool.drain()
            if self.pool.signum is not None:
                self.exit_code = 128 + self.pool.signum


def _train(config: dict[str, Any], labels: tuple[str, str]) -> Outcome:
    from rl_cli.run import train

    return train(config, labels)


def _train_guarded(config: dict[str, Any], labels: tuple[str, str]) -> Outcome:
    from rl_cli.run import Outcome

    try:
        return _train(config, labels)
    except RunError as error:
        print(error, file=sys.stderr)
        return Outcome(error.exit_code, "failed", error.what)
    except Exception as error:
        traceback.print_exc()
        return Outcome(1, "failed", f"{type(error).__name__}: {error}")


def _refuse_idle(config: dict[str, Any], overrides: list[str]) -> None:
    """Raise BadInput for a warm-up that was asked for and outlasts the budget.

    Only one that was asked for: a short budget alone is how one tries things out.
    """
    asked = value_of(list(overrides), "algo.learning_starts")
    starts, budget = config["algo"].get("learning_starts"), config["total_timesteps"]
    numbers = isinstance(starts, int | float) and isinstance(budget, int | float)
    if asked and numbers and starts >= budget:
        raise BadInput(
            "nothing would be learned: the budget ends before learning starts",
            f"algo.learning_starts={asked} total_timesteps={budget}",
            "a smaller algo.learning_starts, or a larger total_timesteps",
        )


def _env_label(choice: str, config: Any) -> str:
    """Name of the env in paths and titles: the group, or the id of an env without one."""
    env_id = config["env"]["id"]
    if choice != "custom" and env_id == launch.env_id_of(choice, [launch.CONF]):
        return choice
    if choice not in launch.members("env", [launch.CONF]):  # a file of the person's own
        return choice
    return str(config["env"]["id"]).replace(":", "-").replace("/", "-").lower()


def _resume(argv: list[str]) -> int:
    """Go on with an interrupted run, with its own configuration.

    Raises:
        BadInput: an argument would change what the run is.

    """
    from rl_cli import resume, trust

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
        if not equals or key in launch.GROUPS:
            raise BadInput(
                "a resumed run keeps its configuration", arg, f"rl-train resume={folder}"
            )
        if key not in known and not key.startswith(("algo.", "env.kwargs.")):
            raise BadInput(f"unknown key {key}", arg, suggest(key, known))
        name, typed = launch.parsed(arg)
        for node in (config, said):
            _set(node, name, typed)
    trust.require_said(build(EnvConfig, config["env"], "env"), said.get("env", {}))
    config |= {"resume": str(folder), "run_dir": None, "jobs": 1}
    code: int = _train(config, labels).exit_code
    return code


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    *path, leaf = key.split(".")
    node = config
    for part in path:
        node = node.setdefault(part, {})
    node[leaf] = value

"""One run from its configuration to its result: makes the parts and hands them to the trainer."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rl_cli import algos, checkpoint, checkpoint_store, resume, run_folder, trust, video
from rl_cli.algos.base import Algorithm
from rl_cli.assembly import make_algorithm, make_envs, worth_compiling
from rl_cli.checkpoint_store import CheckpointStore, Identity
from rl_cli.compiled import StepCompiler, source_digest
from rl_cli.config import AlgoConfig, RunConfig, build
from rl_cli.errors import BadInput, RunError, plain
from rl_cli.evaluation import Evaluator
from rl_cli.folder_lock import FolderLock
from rl_cli.interruption import Interruption
from rl_cli.logger import Logger
from rl_cli.policy import load_policy_arrays
from rl_cli.statistics import Summary
from rl_cli.terminal import Monitor, describe, duration, make_monitor, relative
from rl_cli.trainer import Periods, Recorder, Trainer
from rl_cli.types import State
from rl_cli.vector import VectorEnv
from rl_cli.watchdog import Watchdog


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended. `exit_code`: 0 done, 2 bad input, 3 not finite, 4 storage, 130/143 signal."""

    exit_code: int
    state: str
    reason: str
    step: int = 0
    run_dir: str = ""
    eval_return: float | None = None
    seconds: float = 0.0


def train(config: Mapping[str, Any], labels: tuple[str, str]) -> Outcome:
    """Run a composed configuration, or go on with the run that `resume` names.

    Args:
        config: as composed, plain values.
        labels: names of algorithm and env for the run's folder and title.

    Raises:
        BadInput: before anything is made on disk.

    """
    algo_cls = algos.load(str(config["algo"].get("name")))
    algo_cfg = build(algo_cls.Config, config["algo"], "algo")  # first: env keys may refer to it
    cfg = build(RunConfig, config)
    begun = _begun(cfg)
    changed: dict[str, Any] = {}
    if begun is not None:
        changed = resume.changes(resume.recorded(begun)[0], config)
        if not changed and run_folder.read_status(begun).get("state") == "completed":
            return _nothing_to_do(begun, cfg.quiet)
    envs = make_envs(cfg)  # before torch is touched: an env that is refused is refused in no time
    torch.set_num_threads(cfg.threads)
    algo = make_algorithm(algo_cls, algo_cfg, envs.spec, cfg.total_timesteps, cfg.seed, cfg.device)
    recorded = {k: v for k, v in config.items() if k not in resume.HOW}
    with _locked(begun) or run_folder.create(*labels, cfg.seed, cfg.run_dir) as folder:
        saved = None if begun is None else _go_on_from(begun, cfg, algo_cfg)
        run_folder.write_config(folder, {"labels": list(labels), **recorded})
        resumed = None if begun is None else changed
        return _Run(cfg, algo_cfg, algo, envs, folder, saved, labels, resumed).go()


def _locked(begun: Path | None) -> FolderLock | None:
    return None if begun is None else FolderLock.take(begun)


def _begun(cfg: RunConfig) -> Path | None:
    """The folder of the run to go on with; None: a new one begins."""
    if cfg.resume != resume.AUTO:
        return None if cfg.resume is None else Path(cfg.resume)
    if cfg.run_dir is None:
        raise BadInput(
            "no folder is named to look for a run in", "resume=auto", "add run_dir=<folder>"
        )
    folder = Path(cfg.run_dir)
    return folder if (folder / "config.yaml").exists() else None


def _go_on_from(folder: Path, cfg: RunConfig, algo_cfg: AlgoConfig) -> resume.Saved | None:
    checkpoint_store.recover(folder / "checkpoints")
    saved, broken = resume.read(folder)
    if saved is not None:
        resume.require_same_run(saved, cfg.seed, algo_cfg, cfg.env)
        if saved.manifest.step > cfg.total_timesteps:
            raise BadInput(
                f"the run is already at step {saved.manifest.step}",
                f"total_timesteps={cfg.total_timesteps}",
                "give a larger budget",
            )
    for path, why in broken:
        kept = checkpoint_store.set_aside(path)
        print(f"broken checkpoint set aside as {relative(kept)}: {plain(why)}", file=sys.stderr)
    return saved


def _nothing_to_do(folder: Path, quiet: bool) -> Outcome:
    status = run_folder.read_status(folder)
    if not quiet:
        print(f"this run is complete: {relative(folder)}")
        print(f"longer:  rl-train resume={relative(folder)} total_timesteps=<more>")
    step, value = status.get("step"), status.get("eval_return")
    return Outcome(
        0,
        "completed",
        "was complete",
        step if isinstance(step, int) else 0,
        str(folder),
        float(value) if isinstance(value, int | float) else None,
    )


class _Run:
    """A run under way: the parts that need closing, and what to say at each kind of end."""

    def __init__(
        self,
        cfg: RunConfig,
        algo_cfg: AlgoConfig,
        algo: Algorithm[Any],
        envs: VectorEnv,
        folder: Path,
        saved: resume.Saved | None,
        labels: tuple[str, str],
        resumed: dict[str, Any] | None,
    ) -> None:
        self.cfg, self.folder, self.labels, self.algo, self.envs = cfg, folder, labels, algo, envs
        self.monitor: Monitor = make_monitor(cfg.quiet)
        self.interruption = Interruption(self.monitor)
        if worth_compiling(cfg.compile, algo):
            source = source_digest(sys.modules[type(algo).__module__])
            arithmetic = repr((algo_cfg, envs.spec, source))
            algo.learner.compiler = StepCompiler(arithmetic, self.monitor.note)
        self.evaluator = Evaluator(cfg.env, envs.obs_normalizer)
        if saved is not None:
            try:
                load_policy_arrays(saved.policy, algo, envs.obs_normalizer)
            except ValueError as error:
                raise BadInput(
                    f"the checkpoint does not fit the run's configuration: {error}",
                    str(folder / "config.yaml"),
                    "restore the configuration the run was started with",
                ) from None
        step = 0 if saved is None else saved.manifest.step
        self.logger = Logger(
            folder, cfg.log.tensorboard, _hparams(cfg), None if resumed is None else step
        )
        identity = Identity(cfg.seed, algo_cfg, cfg.env)
        self.trainer = Trainer(
            algo,
            envs,
            cfg.total_timesteps,
            Periods(cfg.log.every, cfg.eval.every, cfg.video.every, cfg.checkpoint.every),
            self.evaluator,
            cfg.eval,
            cfg.stop,
            self.logger,
            self.monitor,
            CheckpointStore(folder / "checkpoints", identity, cfg.checkpoint.keep),
            self._recorder() if cfg.video.episodes else None,
            self.interruption,
        )
        self.lost = [] if saved is None else self._take_up(saved.state)
        self.history: list[Any] = []
        if resumed is not None:
            self._remember(step, resumed)

    def _take_up(self, state: State) -> list[int]:
        """Go back to where a checkpoint was made. -> envs that did not come back."""
        try:
            return self.trainer.load_state_dict(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise BadInput(
                f"the checkpoint does not fit the run: {type(error).__name__}: {error}",
                str(self.folder / "checkpoints"),
                "restore the checkpoint, or take it out of the folder to go on from the one before",
            ) from error

    def _remember(self, step: int, changed: Mapping[str, Any]) -> None:
        """Of each time the run went on: from where, with what changed, and whether exactly."""
        before = run_folder.read_status(self.folder).get("resumed")
        now = {"step": step, "changed": {k: list(v) for k, v in changed.items()}}
        self.history = [
            *(before if isinstance(before, list) else []),
            now | {"exact": not self.lost},
        ]

    def _recorder(self) -> Recorder:
        cfg, envs, algo = self.cfg, self.envs, self.algo

        def film(step: int) -> str | None:
            names = [f"step_{step:09d}_episode_{i}.mp4" for i in range(cfg.video.episodes)]
            paths = [self.folder / "videos" / name for name in names]
            try:
                video.record(
                    cfg.env,
                    envs.obs_normalizer,
                    algo.predict,
                    paths,
                    cfg.eval.seed,
                    cfg.eval.greedy,
                    self.interruption,
                )
            except video.VideoUnavailable as problem:
                return f"no videos: {problem}; training goes on without"
            return None

        return film

    def go(self) -> Outcome:
        """Train; whatever happens, leave a status and close what is open."""
        begun = time.perf_counter()
        self._status("running", "")
        try:
            with self.interruption.listening(), Watchdog(self.cfg.step_timeout).watching():
                self.monitor.start(
                    " · ".join(self.labels),
                    {"folder": relative(self.folder)},
                    self.trainer.step,
                    self.cfg.total_timesteps,
                )
                if self.history:
                    self.monitor.note(f"going on from step {self.trainer.step:,}")
                if self.lost:
                    self.monitor.note(
                        f"approximate resume: {self.cfg.env.id} did not come back to where it was "
                        f"(env {', '.join(map(str, self.lost))}); the episode begins anew"
                    )
                gc.freeze()  # what is here now stays: the collector need not look at it again
                reason = self.trainer.train()
                self._compare_steps()
                summary = None if reason == "interrupted" else self.trainer.finish()
                if summary is None:
                    return self._interrupted()
        except BaseException as error:
            code = 1
            if isinstance(error, RunError):
                code = error.exit_code
                self._place(error)
            with contextlib.suppress(RunError):  # the first error is the one to be told
                self._status("failed", f"{type(error).__name__}: {error}", exit_code=code)
            raise
        finally:
            gc.unfreeze()
            self._close()
        return self._completed(reason, summary, time.perf_counter() - begun)

    def _place(self, error: RunError) -> None:
        """Say when it happened, and what there is to go on from."""
        error.where = f"step={self.trainer.step}, {error.where}"
        if steps := checkpoint.steps_in(self.folder / "checkpoints"):
            error.kept = f"checkpoint {steps[-1]} in {relative(self.folder)}"

    def _compare_steps(self) -> None:
        now, before = self.algo.learner.is_compiled, self.algo.learner.was_compiled
        if None not in (now, before) and now != before:
            kinds = ("plain", "compiled")
            self.monitor.note(
                f"approximate resume: the learning step was {kinds[bool(before)]} before the "
                f"interruption and is {kinds[bool(now)]} now"
            )
            self.history[-1]["exact"] = False

    def _status(self, state: str, reason: str, **more: Any) -> None:
        run_folder.write_status(
            self.folder,
            state=state,
            reason=reason,
            step=self.trainer.step,
            seed=self.cfg.seed,
            **({"resumed": self.history} if self.history else {}),
            **more,
        )

    def _close(self) -> None:
        self.monitor.close()
        with contextlib.suppress(RunError):  # a full disk has been reported where it mattered
            self.logger.close()
        self.envs.close()
        self.evaluator.close()

    def _interrupted(self) -> Outcome:
        signum = self.interruption.signum
        assert signum is not None
        self.trainer.save()
        self.monitor.close()
        name, code = signal.Signals(signum).name, 128 + signum
        self._status("interrupted", name, exit_code=code)
        here = relative(self.folder)
        if not self.cfg.quiet:
            print(f"stopped by {name} at step {self.trainer.step:,}; the checkpoint is saved")
            print("go on:  rl-train", f"resume={here}", *trust.words(self.cfg.env))
        return Outcome(code, "interrupted", name, self.trainer.step, str(self.folder))

    def _completed(self, reason: str, summary: Summary, seconds: float) -> Outcome:
        step, best = self.trainer.step, self.trainer.best_return
        self._status(
            "completed",
            reason,
            exit_code=0,
            eval_return=summary.mean,
            best_eval_return=best,
            seconds=round(seconds, 2),
            compiled=self.algo.learner.is_compiled is True,
        )
        if self.algo.learner.updates == 0:
            self.monitor.note("nothing was learned: the budget ended before the first update")
        if not self.cfg.quiet:
            here = relative(self.folder)
            why = "" if reason == "budget" else f" ({reason})"
            print(
                f"done: {step:,} steps in {duration(seconds)}{why}; {describe(summary)}, best {best:.1f}"
            )
            print("replay:  rl-eval", here, *trust.words(self.cfg.env))
            if self.cfg.log.tensorboard:
                among = "runs" if here.startswith("runs/") else here
                print(f"curves:  tensorboard --logdir {among}")
            if films := sorted((self.folder / "videos").glob("*.mp4")):
                print(f"video:   {relative(films[-1])}")
        return Outcome(0, "completed", reason, step, str(self.folder), summary.mean, seconds)


def _hparams(cfg: RunConfig) -> dict[str, Any]:
    """The keys that tell runs apart, flat."""
    values = {"seed": cfg.seed, "total_timesteps": cfg.total_timesteps}
    values |= {f"algo.{key}": value for key, value in cfg.algo.items()}
    values |= {f"env.{key}": value for key, value in dataclasses.asdict(cfg.env).items()}
    return {
        k: json.dumps(v) if isinstance(v, dict | list | tuple) else v for k, v in values.items()
    }

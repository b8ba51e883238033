"""One run from its configuration to its result: makes the parts and hands them to the trainer."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rl_cli import algos
from rl_cli.algos.base import Algorithm
from rl_cli.algos.factory import make_algorithm, use_machine_code, worth_compiling
from rl_cli.collectors import native_envs
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.run import RunConfig
from rl_cli.config.schema import build
from rl_cli.core.errors import BadInput, RunError
from rl_cli.core.types import State
from rl_cli.engine.compiler import source_digest
from rl_cli.envs import trust
from rl_cli.envs.vector import VectorEnv
from rl_cli.envs.vector_factory import make_envs
from rl_cli.evaluation.background import Background
from rl_cli.evaluation.evaluator import Evaluator
from rl_cli.storage import manifest, run_folder
from rl_cli.storage.checkpoint_writer import CheckpointStore, Identity
from rl_cli.storage.folder_lock import FolderLock
from rl_cli.storage.policy_file import load_policy_arrays, refuse_other_sizes
from rl_cli.tracking.console import (
    Monitor,
    describe,
    describe_training,
    duration,
    make_monitor,
    relative,
)
from rl_cli.tracking.logger import Logger
from rl_cli.tracking.statistics import Summary
from rl_cli.tracking.tensorboard import hparams
from rl_cli.training import resume
from rl_cli.training.build import read_prefill
from rl_cli.training.callbacks.early_stopping import Budget
from rl_cli.training.callbacks.triggers import periods_of
from rl_cli.training.callbacks.video import Studio
from rl_cli.training.signals import Interruption
from rl_cli.training.trainer import Trainer
from rl_cli.training.watchdog import Watchdog


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
    begun = resume.begun(cfg)
    changed: dict[str, Any] = {}
    if begun is not None:
        changed = resume.changes(resume.recorded(begun)[0], config)
        if not changed and run_folder.read_status(begun).get("state") == "completed":
            return _nothing_to_do(begun, cfg)
    # before torch is touched: an env that is refused is refused in no time
    with contextlib.closing(make_envs(cfg)) as envs:
        prefill = read_prefill(cfg, algo_cfg, envs.spec, begun)
        torch.set_num_threads(cfg.threads)
        spec, device = envs.spec, cfg.device
        if begun is not None and (kept := manifest.folders_in(begun / "checkpoints")):
            refuse_other_sizes(algo_cls, algo_cfg, spec, kept)
        algo = make_algorithm(algo_cls, algo_cfg, spec, cfg.total_timesteps, cfg.seed, device)
        recorded = {k: v for k, v in config.items() if k not in resume.HOW}
        with _locked(begun) or run_folder.create(*labels, cfg.seed, cfg.run_dir) as folder:
            saved = None if begun is None else resume.go_on_from(begun, cfg, algo_cfg)
            run_folder.write_config(folder, {"labels": list(labels), **recorded})
            if saved is None and prefill is not None:
                algo.prefill(prefill)
            resumed = None if begun is None else changed
            return _Run(cfg, algo_cfg, algo, envs, folder, saved, labels, resumed).go()


def _locked(begun: Path | None) -> FolderLock | None:
    return None if begun is None else FolderLock.take(begun)


def _nothing_to_do(folder: Path, cfg: RunConfig) -> Outcome:
    status = run_folder.read_status(folder)
    if not cfg.quiet:
        by_episodes = str(status.get("reason")).startswith("total_episodes")
        longer = "total_episodes" if by_episodes else "total_timesteps"
        print(f"this run is complete: {relative(folder)}")
        print(f"longer:  rl-train resume={relative(folder)} {longer}=<more>")
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
            use_machine_code(
                algo.learner, algo_cfg, arithmetic, self.monitor.note, self.interruption
            )
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
            folder,
            cfg.log.tensorboard,
            hparams(cfg),
            None if resumed is None else step,
            self.evaluator.success_at,
            cfg.log.window,
        )
        identity = Identity(cfg.seed, algo_cfg, cfg.env)
        self.trainer = Trainer(
            algo,
            envs,
            Budget(cfg.total_timesteps, cfg.total_episodes),
            periods_of(cfg),
            self.evaluator,
            cfg.eval,
            cfg.stop,
            self.logger,
            self.monitor,
            CheckpointStore(folder / "checkpoints", identity, cfg.checkpoint.keep),
            self._studio(),
            self.interruption,
            native_envs.prepared(algo, envs),
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

    def _studio(self) -> Studio:
        cfg, algo = self.cfg, self.algo
        beside = (
            cfg.video.beside and algo.learner.arrays is not None
        )  # a GPU's memory does not fork
        background = Background(beside, self.interruption, cfg.step_timeout)
        folder, normalizer = self.folder / "videos", self.envs.obs_normalizer
        return Studio(cfg, normalizer, algo.predict, folder, background, self.monitor.note)

    def go(self) -> Outcome:
        """Train; whatever happens, leave a status and close what is open."""
        begun = time.perf_counter()
        self._status("running", "")
        try:
            with self.interruption.listening(), Watchdog(self.cfg.step_timeout).watching():
                most = self.cfg.total_episodes
                self.monitor.start(
                    " · ".join(self.labels),
                    {"folder": relative(self.folder)},
                    self.trainer.step,
                    self.cfg.total_timesteps,
                    None if most is None else (self.trainer.episodes, most),
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
        if steps := manifest.steps_in(self.folder / "checkpoints"):
            error.kept = f"checkpoint {steps[-1]} in {relative(self.folder)}"

    def _compare_steps(self) -> None:
        learner, kinds = self.algo.learner, ("plain", "compiled")
        now, before = learner.is_compiled, learner.was_compiled
        if None not in (now, before) and now != before:
            changed = f"the learning step was {kinds[bool(before)]} before the interruption"
            self._approximate(f"{changed} and is {kinds[bool(now)]} now")
        elif learner.was_native and learner.native is None:
            self._approximate("acting was compiled before the interruption and is plain now")

    def _approximate(self, why: str) -> None:
        self.monitor.note(f"approximate resume: {why}")
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
        self.trainer.studio.drop()
        self.monitor.close()
        with contextlib.suppress(RunError):  # a full disk has been reported where it mattered
            self.logger.close()
        self.evaluator.close()

    def _interrupted(self) -> Outcome:
        signum = self.interruption.signum
        assert signum is not None
        self.trainer.save()
        name, code = signal.Signals(signum).name, 128 + signum
        self._status("interrupted", name, exit_code=code)
        with contextlib.suppress(KeyboardInterrupt):  # a second signal: without the film
            self.trainer.studio.wait()
        self.monitor.close()
        here = relative(self.folder)
        if not self.cfg.quiet:
            print(f"stopped by {name} at step {self.trainer.step:,}; the checkpoint is saved")
            print("go on:  rl-train", f"resume={here}", *trust.words(self.cfg.env))
        return Outcome(code, "interrupted", name, self.trainer.step, str(self.folder))

    def _tell_films(self, folder: Path) -> None:
        if films := sorted(folder.glob("step_*.mp4")):
            print(f"video:   {relative(films[-1])}")
        if films := list(folder.glob("episode_*.mp4")):
            count = f"{len(films)} training episode{'s' if len(films) > 1 else ''}"
            print(f"films:   {count} in {relative(folder)}")

    def _completed(self, reason: str, summary: Summary, seconds: float) -> Outcome:
        step, best = self.trainer.step, self.trainer.best_return
        trained = self.logger.tally.summary()
        self._status(
            "completed",
            reason,
            exit_code=0,
            eval_return=summary.mean,
            best_eval_return=best,
            training=trained,
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
            if trained:
                print(f"trained: {describe_training(trained)}")
            print("replay:  rl-eval", here, *trust.words(self.cfg.env))
            if self.cfg.log.tensorboard:
                among = "runs" if here.startswith("runs/") else here
                print(f"curves:  tensorboard --logdir {among}")
            self._tell_films(self.folder / "videos")
        return Outcome(0, "completed", reason, step, str(self.folder), summary.mean, seconds)

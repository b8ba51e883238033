"""A run in progress: trains, records how it ended, and releases its resources."""

from __future__ import annotations

import contextlib
import gc
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rl_cli import algos
from rl_cli.algos.base import Algorithm
from rl_cli.algos.factory import make_algorithm
from rl_cli.config.run import RunConfig
from rl_cli.core.errors import EnvFault, RunError, first_line, plain
from rl_cli.core.interpreter import now, streams
from rl_cli.core.process_settings import signal_settings
from rl_cli.core.start_folder import relative
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.watchdog import Watchdog
from rl_cli.storage import manifest, run_folder
from rl_cli.storage.policy_file import refuse_other_sizes
from rl_cli.storage.policy_only import drop_buffers
from rl_cli.training.build import Parts, Run
from rl_cli.training.exactness import cut_step, moved_schedules
from rl_cli.training.outcome import Outcome, print_completed, print_differences, print_interrupted
from rl_cli.training.provenance import Provenance
from rl_cli.training.reproduction import doubts
from rl_cli.training.signals import Interruption
from rl_cli.training.trainer import INTERRUPTED


def make_run_algorithm(cfg: RunConfig, envs: VectorEnv, earlier: Path | None) -> Algorithm[Any]:
    """Build the algorithm of a run. If it resumes, sizes are checked against the checkpoints first.

    Raises:
        BadInput: the algorithm does not fit the envs, the memory or the checkpoints.

    """
    algo_cls = algos.load(cfg.algo.name)
    if earlier is not None and (kept := manifest.folders_in(earlier / "checkpoints")):
        refuse_other_sizes(algo_cls, cfg.algo, envs.spec, kept)
    return make_algorithm(algo_cls, cfg.algo, envs.spec, cfg.total_timesteps, cfg.seed, cfg.device)


class Resumption(NamedTuple):
    """What a resumed run changes: keys -> (before, now), and its config.yaml with them."""

    changed: Mapping[str, Any]
    config: dict[str, Any]


class Experiment:
    """A run in progress.

    Args:
        parts, run: of the run.
        folder: of the run.
        interruption: the stop signals.
        provenance: what the run records about itself.
        repeats: the folder of a run that this one is to reproduce.

    """

    def __init__(
        self,
        parts: Parts,
        run: Run,
        folder: Path,
        interruption: Interruption,
        provenance: Provenance,
        repeats: Path | None,
    ) -> None:
        self.cfg, self.algo, self.monitor = parts.cfg, parts.algo, parts.monitor
        self.run, self.trainer, self.state = run, run.trainer, run.trainer.state
        self.folder, self.interruption, self.labels = folder, interruption, parts.labels
        self.provenance, self.settings, self.repeats = provenance, parts.settings, repeats
        self.draws_images = parts.evaluator.draws_images
        self.resumptions: list[dict[str, Any]] = []

    def go(self, resumption: Resumption | None) -> Outcome:
        """Train; record a status and release resources, also after an error.

        Args:
            resumption: None: a new run.

        """
        started, not_frozen = time.perf_counter(), gc.get_freeze_count() == 0
        if resumption is not None:
            self._record_resumption(resumption.changed)
        self._write_status("running", "")
        try:
            # not before: "completed" would then hold for the longer budget
            if resumption is not None:
                run_folder.write_config(self.folder, resumption.config)
            changes = self.provenance.start(self.state.step)
            self.algo.learner.when_decided(self._step_decided)
            with self.interruption.listening(), self._watching():
                self._announce(changes)
                if not_frozen:
                    gc.freeze()  # objects created so far are not garbage until the run ends
                with self.settings.keeping(now(streams())):  # the live view has its own by now
                    reason = self.trainer.train()
                    if reason != INTERRUPTED:
                        self.trainer.finish()
                if reason == INTERRUPTED or self.run.history.interrupted:
                    return self._interrupted()
            outcome = self._record_completion(reason, time.perf_counter() - started)
        except BaseException as error:
            self._failed(explained := self._explained(error))
            if explained is error:
                raise
            raise explained from error
        finally:
            if not_frozen:
                gc.unfreeze()
            self._close()
        self._report_completion(outcome)
        return outcome

    def _record_compiled(self) -> None:
        self.provenance.decide(self.algo.learner.is_compiled)

    def _announce(self, changes: list[str]) -> None:
        most, step = self.cfg.total_episodes, self.state.step
        progress = None if most is None else (self.state.episodes, most)
        facts = {
            "folder": relative(self.folder),
            "preset": plain(self.labels.preset),
            "seed": str(self.cfg.seed),
            "network": self._network(),
        }
        facts = {name: value for name, value in facts.items() if value}
        title = " · ".join(self.labels[:2])
        self.monitor.start(title, facts, step, self.cfg.total_timesteps, progress)
        if self.resumptions and self.cfg.shown != "none":
            self.monitor.note(f"resuming at step {step:,}")
        exactness = self.run.exactness
        if exactness.earlier:
            self.monitor.note(f"the run is not bit-exact: {'; '.join(exactness.earlier)}")
        if exactness.now:
            self._note_inexact()
        said = "; ".join(exactness.now.values())  # the conditions, which hold some versions
        if others := [words for words in changes if words not in said]:
            self.monitor.note(f"since the start before: {'; '.join(others)}")
        if self.repeats and (words := doubts(self.repeats, self.provenance.starts)):
            self.monitor.note(
                f"may not have the bits of {relative(self.repeats)}: {'; '.join(words)}"
            )

    def _network(self) -> str:
        described, size = self.algo.encoder_description, self.algo.learner.flat.numel()
        return plain("; ".join(filter(None, [described, f"{size:,} parameters"])))

    def _note_inexact(self) -> None:
        reasons = "; ".join(self.run.exactness.now.values())
        self.monitor.note(f"resume is not bit-exact: {reasons}")

    def _record_resumption(self, changed: Mapping[str, Any]) -> None:
        """For status.json: each resumption's step, changed keys, and whether the run is exact with it."""
        exactness = self.run.exactness
        if moved := moved_schedules(self.algo.cfg, changed):
            exactness.add("schedules", moved)
        if cut := cut_step(self.cfg.env.num_envs, self.state.step, changed):
            exactness.add("last step", cut)
        before = run_folder.read_status(self.folder).get("resumed")
        changes = {key: list(values) for key, values in changed.items()}
        now = {"step": self.state.step, "changed": changes, **self._exact()}
        self.resumptions = [*(before if isinstance(before, list) else []), now]

    def _exact(self) -> dict[str, Any]:
        differs = self.run.exactness.differs
        return {"exact": False, "differs": differs} if differs else {"exact": True}

    def _step_decided(self) -> None:
        """A step was compiled, or could not be: record it, and correct what a resumed run reported at its start."""
        self._record_compiled()
        exactness = self.run.exactness
        if not self.resumptions or not exactness.compare_steps(self.algo.learner):
            return
        if exactness.now:
            self._note_inexact()
        else:
            self.monitor.note("the resume does not change bits: the update step runs as before")
        said = {k: v for k, v in self.resumptions[-1].items() if k not in ("exact", "differs")}
        self.resumptions[-1] = said | self._exact()
        with contextlib.suppress(RunError):  # it is written again at the end
            self._write_status("running", "")

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """In the body an env that hangs raises EnvFault, and settings of the process keep their values."""
        watchdog = Watchdog(self.cfg.step_timeout)
        with (
            watchdog.watching() as has_timer,
            self.settings.keeping(now(signal_settings(has_timer))),
        ):
            yield

    def _explained(self, error: BaseException) -> BaseException:
        """The error to report: an unexpected one may come from what an env did to settings of the process."""
        changed = self.settings.restore(at_once=True)
        if not changed or isinstance(error, (RunError, KeyboardInterrupt)):
            return error
        what = f"{type(error).__name__}: {first_line(error)}, after the env changed {', '.join(changed)}"
        return EnvFault(what, "", "let the env set back what it changes, or run it with workers=1")

    def _failed(self, error: BaseException) -> None:
        code = 1
        if isinstance(error, RunError):
            code = error.exit_code
            steps = manifest.steps_in(self.folder / "checkpoints")
            kept = f"checkpoint {steps[-1]} in {relative(self.folder)}" if steps else ""
            error.locate(f"step={self.state.step}", kept)
        text = str(error) if isinstance(error, RunError) else plain(first_line(error))
        state, reason = "failed", f"{type(error).__name__}: {text}"
        if isinstance(error, KeyboardInterrupt):  # a second SIGINT, which does not wait for a save
            state, reason, code = "interrupted", "SIGINT", 128 + signal.SIGINT
        with contextlib.suppress(RunError):  # the first error is the one to report
            self._write_status(state, reason, exit_code=code)

    def _interrupted(self) -> Outcome:
        signum = self.interruption.signum
        assert signum is not None
        self.trainer.save()
        name, code = signal.Signals(signum).name, 128 + signum
        self._write_status("interrupted", name, exit_code=code)
        with contextlib.suppress(KeyboardInterrupt):  # a second signal: do not wait for the video
            self.run.callbacks.join()
        self.monitor.close()
        if self.cfg.shown != "none":
            print_interrupted(self.cfg, self.folder, name, self.state.step)
        return Outcome(code, "interrupted", name, self.state.step, str(self.folder))

    def _record_completion(self, reason: str, seconds: float) -> Outcome:
        """Write the status. Before anything is closed, because nothing that fails then matters."""
        summary, best = self.run.history.latest, self.run.history.best_return
        assert summary is not None  # `finish` evaluates
        self._write_status(
            "completed",
            reason,
            exit_code=0,
            eval_return=summary.mean,
            best_eval_return=best,
            training=self.run.logger.tally.summary(),
            seconds=round(seconds, 2),
            compiled=self.algo.learner.is_compiled is True,
        )
        self._record_compiled()
        step, folder = self.state.step, str(self.folder)
        return Outcome(0, "completed", reason, step, folder, summary.mean, seconds)

    def _report_completion(self, outcome: Outcome) -> None:
        summary, best = self.run.history.latest, self.run.history.best_return
        assert summary is not None
        if not self.cfg.checkpoint.keep_buffer:
            self._drop_buffers()
        if self.algo.learner.updates == 0:
            self.monitor.note("no update was made: the run ended before the first one was due")
        if self.cfg.shown != "none":
            training = self.run.logger.tally.summary()
            print_completed(
                self.cfg, self.folder, outcome, summary, best, training, self.draws_images
            )
            print_differences(self.run.exactness.differs)

    def _drop_buffers(self) -> None:
        try:
            drop_buffers(self.folder / "checkpoints")
        except RunError as error:  # the run is complete in any case
            self.monitor.note(f"the replay buffer was not dropped: {error.what}")

    def _write_status(self, state: str, reason: str, **more: Any) -> None:
        resumed = {"resumed": self.resumptions} if self.resumptions else {}
        run_folder.write_status(
            self.folder,
            state=state,
            reason=reason,
            step=self.state.step,
            seed=self.cfg.seed,
            exact=not self.run.exactness.differs,
            **resumed,
            **more,
        )

    def _close(self) -> None:
        self.run.callbacks.close()
        self.monitor.close()

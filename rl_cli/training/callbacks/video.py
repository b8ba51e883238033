"""Videos of the policy and of training episodes, rendered in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rl_cli.config.env import EnvConfig
from rl_cli.config.run import EvalConfig, VideoConfig
from rl_cli.core.types import Episode, Recording
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.evaluation import video
from rl_cli.evaluation.background import Background, KeepGoing
from rl_cli.evaluation.evaluator import Policy
from rl_cli.evaluation.frames import VideoUnavailable
from rl_cli.training.callbacks.base import Callback, RunState
from rl_cli.training.callbacks.triggers import Trigger

POLICY, TRAINING = "videos", "videos of training episodes"


class VideoCallback(Callback):
    """Records evaluation episodes at intervals, and every n-th training episode as it was played.

    Args:
        recorder: renders one video after the other while training continues.
        cfg: the intervals.
        record_episodes: sets whether the envs keep the actions of finished episodes.
        interrupted: whether a stop signal arrived.

    """

    name = "video"

    def __init__(
        self,
        recorder: VideoRecorder,
        cfg: VideoConfig,
        record_episodes: Callable[[bool], None],
        interrupted: Callable[[], bool],
    ) -> None:
        self.recorder, self.every_episodes = recorder, cfg.every_episodes
        self.trigger = Trigger(cfg.every)
        self.record_episodes, self.interrupted = record_episodes, interrupted
        self.recorded_step = -1
        self.pending: dict[int, Recording] = {}  # training episodes to render, by number

    def start(self, state: RunState) -> None:
        self.trigger.restart(*state.served)
        self.record_episodes(self.recorder.wants_training)

    def next_due(self, step: int) -> int:
        return self.trigger.next_due(step)

    def add_episodes(
        self, episodes: Sequence[Episode], recordings: Sequence[Recording], state: RunState
    ) -> None:
        first = state.episodes - len(episodes) + 1
        for number, recording in enumerate(recordings, first):
            if number % self.every_episodes == 0:
                self.pending[number] = recording

    def is_due(self, state: RunState) -> bool:
        return bool(self.pending)

    def run(self, state: RunState) -> None:
        if self.pending:
            self.recorder.record_training(self.pending)
            self.pending = {}
            self.record_episodes(self.recorder.wants_training)
        if self.trigger.fire(state.step, state.episodes) and not self.interrupted():
            self._record_policy(state)

    def finish(self, state: RunState) -> None:
        if self.recorded_step < state.step and not self.interrupted():
            self._record_policy(state)

    def join(self) -> None:
        self.recorder.wait()

    def close(self) -> None:
        self.recorder.drop()

    def _record_policy(self, state: RunState) -> None:
        self.recorded_step = state.step
        self.recorder.record_policy(state.step)


class VideoRecorder:
    """Renders one video after the other, of the policy or the episodes that a method receives.

    A failure is reported once for each kind of video, and that kind is not tried again.

    Args:
        env: how to make the env that is rendered.
        normalizer: of the run's observations; None: they are not normalized.
        policy: of the run.
        cfg: number of evaluation episodes and interval of training episodes; 0: none.
        eval_cfg: seed, and greedy or sampled actions.
        folder: for the mp4 files.
        background: runs the rendering.
        notify: prints a line.

    """

    def __init__(
        self,
        env: EnvConfig,
        normalizer: ObservationNormalizer | None,
        policy: Policy,
        cfg: VideoConfig,
        eval_cfg: EvalConfig,
        folder: Path,
        background: Background,
        notify: Callable[[str], None],
    ) -> None:
        self.env, self.normalizer, self.policy = env, normalizer, policy
        self.episodes, self.eval_cfg = cfg.episodes, eval_cfg
        self.folder, self.background, self.notify = folder, background, notify
        requested = {POLICY: cfg.episodes, TRAINING: cfg.every_episodes}
        self.wanted = {kind for kind, number in requested.items() if number}
        self.kind = POLICY  # of the video that is being rendered, or was last

    @property
    def wants_training(self) -> bool:
        """Whether training episodes are to be recorded."""
        return TRAINING in self.wanted

    def record_policy(self, step: int) -> None:
        """Render the first `video.episodes` evaluation episodes with the current policy."""
        names = [f"step_{step:09d}_episode_{i}.mp4" for i in range(self.episodes)]
        paths, how = [self.folder / name for name in names], self.eval_cfg

        def render(keep_going: KeepGoing) -> None:
            agent = (self.env, self.normalizer, self.policy, paths)
            video.record(*agent, how.seed, how.greedy, keep_going)

        self._start(POLICY, render)

    def record_training(self, recordings: Mapping[int, Recording]) -> None:
        """Render training episodes (by number) by replaying their actions."""

        def render(keep_going: KeepGoing) -> None:
            for number, recording in recordings.items():
                path = self.folder / f"episode_{number:06d}.mp4"
                video.replay_episode(self.env, recording, path, keep_going)

        self._start(TRAINING, render)

    def _start(self, kind: str, render: Callable[[KeepGoing], None]) -> None:
        def task(keep_going: KeepGoing) -> str | None:
            try:
                render(keep_going)
            except VideoUnavailable as problem:
                return str(problem)
            return None

        self.wait()
        if kind in self.wanted:
            self.kind = kind
            self.background.start(task)
            if not self.background.in_child:
                self.wait()

    def wait(self) -> None:
        """Wait until the video that is being rendered is complete."""
        if problem := self.background.wait():
            self._remove_partial()
            self.notify(f"no {self.kind}: {problem}; training continues without them")
            self.wanted.discard(self.kind)

    def drop(self) -> None:
        """Stop rendering and delete the incomplete video."""
        self.background.drop()
        self._remove_partial()

    def _remove_partial(self) -> None:
        for part in self.folder.glob(video.PARTS):
            part.unlink(missing_ok=True)

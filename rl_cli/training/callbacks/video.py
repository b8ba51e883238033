"""The films that a run makes as it goes: which, of whom, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rl_cli.config.run import RunConfig
from rl_cli.core.types import Recording
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.evaluation import video
from rl_cli.evaluation.background import Alive, Background
from rl_cli.evaluation.evaluator import Policy

OF_POLICY, OF_TRAINING = "videos", "films of training episodes"


class Studio:
    """Films what there is when it is asked to, one film after the other, while training goes on.

    Args:
        normalizer, policy: of the run; looked at when a film is asked for.
        folder: for the films.
        background: in which they are made.
        notify: told once of each kind why there are none.

    """

    def __init__(
        self,
        cfg: RunConfig,
        normalizer: ObservationNormalizer | None,
        policy: Policy,
        folder: Path,
        background: Background,
        notify: Callable[[str], None],
    ) -> None:
        self.cfg, self.normalizer, self.policy, self.folder = cfg, normalizer, policy, folder
        self.background, self.notify = background, notify
        asked = {OF_POLICY: cfg.video.episodes, OF_TRAINING: cfg.video.every_episodes}
        self.wanted = {kind for kind, often in asked.items() if often}
        self.kind = OF_POLICY  # what is being made, or was last

    @property
    def wants_training(self) -> bool:
        return OF_TRAINING in self.wanted

    def film_policy(self, step: int) -> None:
        """The first `video.episodes` evaluation episodes, at a step."""
        names = [f"step_{step:09d}_episode_{i}.mp4" for i in range(self.cfg.video.episodes)]
        paths, how = [self.folder / name for name in names], self.cfg.eval

        def film(alive: Alive) -> None:
            given = (self.cfg.env, self.normalizer, self.policy, paths)
            video.record(*given, how.seed, how.greedy, alive)

        self._begin(OF_POLICY, film)

    def film_training(self, recordings: Mapping[int, Recording]) -> None:
        """Training episodes as they were, exploration and all, by number."""

        def film(alive: Alive) -> None:
            for number, recording in recordings.items():
                path = self.folder / f"episode_{number:06d}.mp4"
                video.play_again(self.cfg.env, recording, path, alive)

        if recordings:
            self._begin(OF_TRAINING, film)

    def _begin(self, kind: str, film: Callable[[Alive], None]) -> None:
        def task(alive: Alive) -> str | None:
            try:
                film(alive)
            except video.VideoUnavailable as problem:
                return str(problem)
            return None

        self.wait()
        if kind in self.wanted:
            self.kind = kind
            self.background.begin(task)
            if not self.background.beside:
                self.wait()

    def wait(self) -> None:
        """Until the film that is being made is there."""
        if problem := self.background.wait():
            self._sweep_up()
            self.notify(f"no {self.kind}: {problem}; training goes on without")
            self.wanted.discard(self.kind)  # said once

    def drop(self) -> None:
        """Without the film that is being made."""
        self.background.drop()
        self._sweep_up()

    def _sweep_up(self) -> None:
        """Take away what a process has left that could not itself."""
        for part in self.folder.glob(video.PARTS):
            part.unlink(missing_ok=True)

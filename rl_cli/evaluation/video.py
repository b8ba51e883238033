"""Episodes as mp4, frame by frame into the encoder: memory stays that of one frame."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rl_cli.config.env import EnvConfig
from rl_cli.core.types import Episode, Recording
from rl_cli.envs.episode_replay import reset_to
from rl_cli.envs.make import make_env
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.envs.spaces import action_decoder, fps_of
from rl_cli.evaluation.evaluator import Evaluator, Policy


class VideoUnavailable(Exception):
    """This env cannot be filmed here; the message says why in one line."""


PARTS = ".*.part.mp4"
"""Names of films that are not whole."""


class Mp4:
    """An mp4 file (H.264). Written under a temporary name that becomes `path` when whole.

    `alive` is called at each frame.
    """

    def __init__(self, path: Path, fps: float, alive: Callable[[], object] = lambda: None) -> None:
        self.path, self.fps, self.alive = path, fps, alive
        self.part = path.with_name(f".{path.name}.part.mp4")
        self.encoder: Generator[None, Any, None] | None = None
        self.frames = 0

    def write(self, frame: Any) -> None:
        """Append one frame, (H, W, 3) bytes.

        Raises:
            VideoUnavailable: the env returned something else.

        """
        if not (isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[2] == 3):
            raise VideoUnavailable(f"the env renders {type(frame).__name__}, not pictures")
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2  # H.264 wants even sides
        frame = np.ascontiguousarray(frame[:height, :width], dtype=np.uint8)
        if self.encoder is None:
            self.encoder = _open_encoder(self.part, (width, height), self.fps)
        self.encoder.send(frame)
        self.frames += 1
        self.alive()

    def close(self) -> None:
        """Finish the file."""
        if self.encoder is not None:
            self.encoder.close()
            self.part.replace(self.path)

    def discard(self) -> None:
        """Leave nothing behind."""
        if self.encoder is not None:
            self.encoder.close()
        self.part.unlink(missing_ok=True)


def _open_encoder(path: Path, size: tuple[int, int], fps: float) -> Generator[None, Any, None]:
    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    encoder: Generator[None, Any, None] = imageio_ffmpeg.write_frames(
        str(path), size, fps=fps, macro_block_size=1, ffmpeg_log_level="error", quality=8
    )
    encoder.send(None)
    return encoder


def record(
    cfg: EnvConfig,
    normalizer: ObservationNormalizer | None,
    policy: Policy,
    paths: list[Path],
    seed: int,
    greedy: bool,
    alive: Callable[[], bool] = lambda: True,
) -> list[Episode]:
    """Film one episode per path, number i from reset(seed + i), on an env made for it.

    `alive` is called at each frame; between episodes it says whether to go on.

    Raises:
        VideoUnavailable: the env cannot be rendered here; says why.

    """
    _without_screen()
    try:
        evaluator = Evaluator(cfg, normalizer, render_mode="rgb_array")
    except Exception as error:  # whatever a renderer fails with, a video is not worth a run
        raise VideoUnavailable(_one_line(error)) from error
    try:
        return [
            _film(evaluator, policy, path, seed + i, greedy, alive)
            for i, path in enumerate(paths)
            if alive()
        ]
    finally:
        evaluator.close()


def play_again(
    cfg: EnvConfig,
    recording: Recording,
    path: Path,
    alive: Callable[[], object] = lambda: True,
) -> None:
    """Film an episode that is over: its reset and its actions again, in an env with a renderer.

    `alive` is called at each frame.

    Raises:
        VideoUnavailable: the env cannot be rendered here, or is not what it was; says why.

    """
    _without_screen()
    with _whole(path, alive) as video:
        env = make_env(cfg, "rgb_array")
        try:
            video.fps = fps_of(env, cfg)
            played = _play_again(env, recording, video)
        finally:
            env.close()
        if played != recording.episode:
            was, now = recording.episode, played
            raise VideoUnavailable(
                f"{cfg.id} does not replay: {was.length} steps with return {was.episode_return:g} "
                f"came out as {now.length} with {now.episode_return:g}"
            )


def _play_again(env: Any, recording: Recording, video: Mp4) -> Episode:
    reset_to(env, recording.start_state)
    video.write(env.render())
    total, length = 0.0, 0
    for choice in action_decoder(env.action_space)(np.array(recording.actions)):
        _, reward, terminated, truncated, _ = env.step(choice)
        total, length = total + float(reward), length + 1
        video.write(env.render())
        if terminated or truncated:
            break
    return Episode(total, length)


def _without_screen() -> None:
    if not os.environ.get("DISPLAY") and sys.platform.startswith("linux"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("MUJOCO_GL", "egl")  # asked for when a renderer is made


def _film(
    evaluator: Evaluator,
    policy: Policy,
    path: Path,
    seed: int,
    greedy: bool,
    alive: Callable[[], object],
) -> Episode:
    with _whole(path, alive) as video:
        video.fps = evaluator.fps
        return evaluator.episode(policy, seed, greedy, video)


@contextlib.contextmanager
def _whole(path: Path, alive: Callable[[], object]) -> Iterator[Mp4]:
    """A film that is there when the body has come to its end, and otherwise not at all."""
    video = Mp4(path, 30, alive)
    try:
        yield video
        video.close()
    except Exception as error:
        video.discard()
        if isinstance(error, VideoUnavailable):
            raise
        raise VideoUnavailable(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    if isinstance(error, NotImplementedError) and not text:
        return "the env cannot render pictures"
    return text[0].removeprefix("error: ") if text else type(error).__name__

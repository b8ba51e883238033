"""Records episodes as mp4. Each frame is encoded at once, so only one frame is in memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import first_line, plain
from rl_cli.core.seeding import globals_kept
from rl_cli.core.types import Episode, Recording
from rl_cli.envs.episode_replay import reset_to
from rl_cli.envs.episode_seeds import EpisodeSeeds
from rl_cli.envs.faults import Closable, is_signal, raised
from rl_cli.envs.make import make_env, without_screen
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.envs.spaces import action_decoder, fps_of
from rl_cli.evaluation.evaluator import Evaluator, Policy
from rl_cli.evaluation.frames import FrameConverter, VideoUnavailable
from rl_cli.evaluation.watchdog import close_in_time
from rl_cli.storage.atomic_files import free_bytes, megabytes

PARTS = ".*.part.mp4"
"""Names of incomplete videos."""

FULL = 1 << 18
"""Free bytes below which a disk counts as full: what the encoder could not write was larger than what is free."""


class Mp4:
    """An mp4 file (H.264). Written under a temporary name, and renamed to `path` when complete.

    Args:
        path: of the complete file.
        fps: frames per second.
        on_frame: called after each frame.

    """

    def __init__(
        self, path: Path, fps: float, on_frame: Callable[[], object] = lambda: None
    ) -> None:
        self.path, self.fps, self.on_frame = path, fps, on_frame
        self.part = path.with_name(f".{path.name}.part.mp4")
        self.encoder: Generator[None, Any, None] | None = None
        self.convert = FrameConverter()
        self.frames = 0

    def write(self, frame: Any) -> None:
        """Append one frame, as `FrameConverter` accepts it.

        Raises:
            VideoUnavailable: the env returned something else.

        """
        pixels = self.convert(frame)
        if self.encoder is None:
            height, width = pixels.shape[:2]
            self.encoder = _open_encoder(self.part, (width, height), self.fps)
        try:
            self.encoder.send(pixels)
        except OSError:  # the pipe to the encoder is broken
            raise VideoUnavailable(self._why()) from None
        self.frames += 1
        self.on_frame()

    def close(self) -> None:
        """Finish the file.

        Raises:
            VideoUnavailable: it is incomplete: the encoder could not write it, and does not say so.

        """
        if self.encoder is not None:
            self.encoder.close()
            if not is_complete(self.part):
                raise VideoUnavailable(self._why())
            self.part.replace(self.path)

    def _why(self) -> str:
        """Why the encoder has ended."""
        free = free_bytes(self.part)
        if free < FULL:
            return f"disk full: {megabytes(free)} free"
        return "the encoder (ffmpeg) could not write the file"

    def discard(self) -> None:
        """Delete the incomplete file. It raises nothing."""
        with contextlib.suppress(Exception):
            if self.encoder is not None:
                self.encoder.close()
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)


def is_complete(path: Path) -> bool:
    """Whether an mp4 file has all of its boxes (ISO 14496-12, 4.2), the index `moov` among them."""
    names, at = set[bytes](), 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while at < end:
            file.seek(at)
            head = file.read(16)
            size = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
            names.add(head[4:8])
            if size < 8:
                return False
            at += size
    return at == end and b"moov" in names


def _open_encoder(path: Path, size: tuple[int, int], fps: float) -> Generator[None, Any, None]:
    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    encoder: Generator[None, Any, None] = imageio_ffmpeg.write_frames(
        str(path), size, fps=fps, macro_block_size=1, ffmpeg_log_level="quiet", quality=8
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
    keep_going: Callable[[], bool] = lambda: True,
) -> list[Episode]:
    """Record one episode per path, episode i from reset(seed + i), on an env made for it.

    Args:
        cfg: of the env.
        normalizer: of observations; None: they are not normalized.
        policy: predict(obs, rng).
        paths: of the mp4 files.
        seed: of the first episode.
        greedy: the most likely action; False: sampled.
        keep_going: called after each frame; False between two episodes: record no more.

    Returns:
        The recorded episodes.

    Raises:
        VideoUnavailable: the env cannot be rendered on this machine; the message is the reason.

    """
    without_screen()
    with _as_unavailable():
        evaluator = Evaluator(cfg, normalizer, render_mode="rgb_array")
    episodes = []
    with _closed(evaluator.env), globals_kept():
        for i, path in enumerate(paths):
            if not keep_going():
                break
            with _complete(path, evaluator.fps, keep_going) as video:
                episodes.append(evaluator.episode(policy, seed + i, greedy, video))
    return episodes


def probe_renderer(cfg: EnvConfig) -> tuple[int, int, float]:
    """Height and width of an env's frames, and frames per second.

    Raises:
        VideoUnavailable: as of `record`.

    """
    without_screen()
    with _as_unavailable():
        env = make_env(cfg, "rgb_array")
        with _closed(env):
            env.reset(seed=0)
            height, width, _ = FrameConverter()(env.render()).shape
        return height, width, fps_of(env, cfg)


def replay_episode(
    cfg: EnvConfig,
    recording: Recording,
    path: Path,
    on_frame: Callable[[], object] = lambda: True,
) -> None:
    """Record a finished episode: repeat its reset and its actions in an env with a renderer.

    Raises:
        VideoUnavailable: the env cannot be rendered on this machine, or does not reproduce the
            episode; the message is the reason.

    """
    without_screen()
    steps, kept = recording.episode.length, len(recording.actions)
    if kept < steps:
        raise VideoUnavailable(f"the episode has {steps:,} steps, more than are kept for a replay")
    with globals_kept(), _as_unavailable():
        env = make_env(cfg, "rgb_array")
    with _closed(env), globals_kept(), _complete(path, fps_of(env, cfg), on_frame) as video:
        played = _replay(env, recording, video)
        was, now = recording.episode, played
        if (was.episode_return, was.length) != (now.episode_return, now.length):
            raise VideoUnavailable(
                f"{cfg.id} is not deterministic: the episode had {was.length} steps and return "
                f"{was.episode_return:g}, its replay {now.length} and {now.episode_return:g}"
            )


@contextlib.contextmanager
def _closed(env: Closable) -> Iterator[None]:
    """Close an env after the body, which has completed its video or removed it.

    A problem is reported for the run's own envs.
    """
    try:
        yield
    finally:
        close_in_time(env)


def _replay(env: Any, recording: Recording, video: Mp4) -> Episode:
    reset_to(env, recording.start_state, EpisodeSeeds(env))
    video.write(env.render())
    total, length = 0.0, 0
    for choice in action_decoder(env.action_space)(recording.actions):
        _, reward, terminated, truncated, _ = env.step(choice)
        total, length = total + float(reward), length + 1
        video.write(env.render())
        if terminated or truncated:
            break
    return Episode(total, length)


@contextlib.contextmanager
def _complete(path: Path, fps: float, on_frame: Callable[[], object]) -> Iterator[Mp4]:
    """A video that exists if the body succeeds, and leaves no file if it does not."""
    video = Mp4(path, fps, on_frame)
    try:
        with _as_unavailable():
            yield video
            if not video.convert.visible:
                raise VideoUnavailable("every frame that the env renders is black")
            video.close()
    except VideoUnavailable:
        video.discard()
        raise


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    """Turn any error in the body into VideoUnavailable, which does not end the run."""
    try:
        yield
    except VideoUnavailable:
        raise
    except BaseException as error:
        if is_signal(error):
            raise
        raise VideoUnavailable(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    if not isinstance(error, Exception):  # SystemExit, whose text is a number
        return raised(error)
    text = plain(first_line(error)).removeprefix("error: ")
    if isinstance(error, NotImplementedError) and text == type(error).__name__:
        return "the env cannot render images"
    return text

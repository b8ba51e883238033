"""rl-play: step an env with the keyboard, in a window that shows frames and the return."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rl_cli.config.commands import PlayConfig
from rl_cli.core import terminal
from rl_cli.core.command_line import override, pasted
from rl_cli.core.errors import BadInput, first_line, plain
from rl_cli.core.interpreter import now
from rl_cli.core.process_settings import guarded, signal_settings, without_torch
from rl_cli.core.seeding import seed_globals
from rl_cli.core.start_folder import absolute, path_here, relative
from rl_cli.core.types import EnvSpec, Episode, Transition
from rl_cli.envs.episode_seeds import EpisodeSeeds
from rl_cli.envs.faults import env_fault, note_of
from rl_cli.envs.finite_checks import check_reward
from rl_cli.envs.make import make_env
from rl_cli.envs.spaces import action_decoder, fps_of, spec_of
from rl_cli.envs.wrappers import Env
from rl_cli.evaluation.frames import VideoUnavailable
from rl_cli.evaluation.keyboard import Keyboard, keyboard_of
from rl_cli.evaluation.video import Mp4
from rl_cli.evaluation.watchdog import close_in_time
from rl_cli.storage import run_folder, transition_file
from rl_cli.tracking.formatting import number

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

MIN_HEIGHT = 400
"""Minimum height of the window in pixels; smaller frames are enlarged by an integer factor."""


def play(cfg: PlayConfig, label: str) -> list[Episode]:
    """Run rl-play. -> the finished episodes.

    Args:
        cfg: the typed configuration.
        label: name of the env, for the folder of the recording.

    Raises:
        BadInput: no display, the env renders no images, or its actions have no key assignment.

    """
    with guarded():
        return _play(cfg, label)


def _play(cfg: PlayConfig, label: str) -> list[Episode]:
    _require_screen()
    seed_globals(cfg.seed)  # the constructor of an env may draw
    env = make_env(cfg.env, "rgb_array")
    spec = spec_of(env, cfg.env)
    keyboard = keyboard_of(cfg.env.id, spec.action)
    folder = absolute(_folder(cfg, label))
    recorder = Recorder(folder, spec, fps_of(env, cfg.env)) if cfg.record else None
    terminal.say(*keyboard.help_lines(), f"{'escape':<12}quit")
    window = Window(plain(f"rl-play {cfg.env.id}"), cfg.fps or fps_of(env, cfg.env))
    try:
        settings = without_torch()
        restore_settings = functools.partial(settings.restore_and_notify, terminal.warn)
        with _ctrl_c_quits(window), settings.keeping(now(signal_settings(has_timer=False))):
            played = Game(cfg, env, spec, keyboard, window, recorder, restore_settings).run()
    finally:
        if recorder is not None:
            recorder.close()
        window.close()
        if problem := close_in_time(env):
            terminal.warn(note_of(problem))
    if recorder is not None and recorder.path.exists():
        terminal.say(f"recorded: {relative(folder)}")
        slug = cfg.env.id.replace(":", "-").replace("/", "-").lower()
        which = override("env.id", cfg.env.id) if label == slug else f"env={label}"
        prefill = override("algo.prefill", path_here(recorder.path))
        terminal.say(f"train on it:  {pasted('rl-train', 'algo=dqn', which, prefill)}")
    return played


@contextlib.contextmanager
def _ctrl_c_quits(window: Window) -> Iterator[None]:
    """Ctrl-C closes the window, as escape does; finished episodes are kept."""
    before = signal.signal(signal.SIGINT, lambda *_: window.request_close())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _require_screen() -> None:
    named = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in named):
        raise BadInput("no display is available", "rl-play", "run it on a machine with a display")


def _folder(cfg: PlayConfig, label: str) -> Path:
    if cfg.output is None:
        return run_folder.new_name("play", label, cfg.seed)
    folder = Path(cfg.output)
    if cfg.record and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput("this folder is not empty", f"output={folder}", "name a new folder")
    return folder


class Window:
    """Shows frames with text, and reads the keyboard.

    `pressed`: pygame's names of the keys that are down, or were since the last frame, in the order in
    which they were pressed.
    """

    def __init__(self, title: str, fps: float) -> None:
        import pygame

        self.pygame, self.fps = pygame, fps
        pygame.display.init()  # not pygame.init(), which opens the sound device too
        pygame.font.init()
        pygame.display.set_caption(title)
        self.clock, self.font = pygame.time.Clock(), pygame.font.Font(None, 26)
        self.screen: Any = None
        self.pressed: list[str] = []
        self.released: list[str] = []  # since the last frame
        self.closed = False

    def show(self, frame: np.ndarray, lines: Sequence[str]) -> None:
        """Draw a frame (H, W, 3) uint8 and lines of text, wait for the next tick, read the keyboard."""
        pygame, (height, width) = self.pygame, frame.shape[:2]
        factor = max(1, MIN_HEIGHT // height)
        if self.screen is None:
            self.screen = pygame.display.set_mode((width * factor, height * factor))
        picture = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
        self.screen.blit(pygame.transform.scale(picture, self.screen.get_size()), (0, 0))
        for i, line in enumerate(lines):
            text = self.font.render(line, True, "white", "black")
            self.screen.blit(text, (8, 8 + i * self.font.get_linesize()))
        pygame.display.flip()
        self.clock.tick(self.fps)
        self._read_keys()

    def _read_keys(self) -> None:
        pygame = self.pygame
        self.pressed = [name for name in self.pressed if name not in self.released]
        self.released = []
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.closed = True
            elif event.type == pygame.KEYDOWN:
                self.closed = self.closed or event.key == pygame.K_ESCAPE
                name = pygame.key.name(event.key)
                self.pressed = [*(n for n in self.pressed if n != name), name]
            elif event.type == pygame.KEYUP:  # a tap between two frames counts once
                self.released.append(pygame.key.name(event.key))

    def request_close(self) -> None:
        """End the game after this frame."""
        self.closed = True

    def forget_keys(self) -> None:
        """Ignore the keys that are down."""
        self.pressed = []

    def close(self) -> None:
        self.pygame.quit()


class Recorder:
    """Writes each episode as mp4, and the transitions of all episodes so far to one file.

    An episode whose video cannot be written is played on, and its transitions are kept.
    """

    def __init__(self, folder: Path, spec: EnvSpec, fps: float) -> None:
        self.folder, self.spec, self.fps = folder, spec, fps
        self.path = folder / "transitions.safetensors"
        self.rows: list[Transition] = []
        self.video: Mp4 | None = None

    def start(self, episode: int) -> None:
        self.video = Mp4(self.folder / f"episode_{episode:03d}.mp4", self.fps)

    def add_frame(self, frame: np.ndarray) -> None:
        if self.video is not None:
            with self._reporting(self.video):
                self.video.write(frame)

    @contextlib.contextmanager
    def _reporting(self, video: Mp4) -> Iterator[None]:
        """Report a video that cannot be written in the body, and write it no more."""
        try:
            yield
        except (VideoUnavailable, OSError, RuntimeError) as error:  # the last: there is no ffmpeg
            terminal.warn(f"no video of this episode: {plain(first_line(error))}")
            video.discard()
            self.video = None

    def add(self, row: Transition) -> None:
        self.rows.append(row)

    def end(self, length: int) -> None:
        """Write the video and the transitions; an incomplete episode is truncated at its last step."""
        if length == 0:
            return self.close()
        if self.video is not None:
            with self._reporting(self.video):
                self.video.close()
        self.video = None
        last = self.rows[-1]
        if not last.terminated:
            self.rows[-1] = last._replace(truncated=np.array(True))
        spec, columns = self.spec, zip(*self.rows, strict=True)
        kinds = (spec.obs_dtype, spec.action.dtype, np.float32, spec.obs_dtype, bool, bool)
        pairs = zip(columns, kinds, strict=True)
        return transition_file.write(
            self.path, Transition(*(np.array(c, kind) for c, kind in pairs))
        )

    def close(self) -> None:
        """Delete an incomplete video."""
        if self.video is not None:
            self.video.discard()
            self.video = None


class Game:
    """Plays episodes until the window is closed."""

    def __init__(
        self,
        cfg: PlayConfig,
        env: Env,
        spec: EnvSpec,
        keyboard: Keyboard,
        window: Window,
        recorder: Recorder | None,
        restore_settings: Callable[[], None],
    ) -> None:
        self.cfg, self.env, self.spec, self.keyboard = cfg, env, spec, keyboard
        self.window, self.recorder, self.restore_settings = window, recorder, restore_settings
        self.decode, self.seeds = action_decoder(env.action_space), EpisodeSeeds(env)
        self.total, self.length = 0.0, 0
        self.played: list[Episode] = []

    def run(self) -> list[Episode]:
        """Wait for a key, then play. -> the finished episodes."""
        self._reset(self.cfg.seed)
        while not self.window.closed and not self.window.pressed:
            self._show(["press any key to start, escape to quit", *self.keyboard.help_lines()])
        self.window.forget_keys()  # the key that started the game is not an action
        while not self.window.closed and not 0 < self.cfg.episodes <= len(self.played):
            self._episode(self.cfg.seed + len(self.played))
        return self.played

    def _episode(self, seed: int) -> None:
        obs = self._reset(seed)
        self.total, self.length = 0.0, 0
        if self.recorder is not None:
            self.recorder.start(len(self.played))
        self._show(self._score())
        while (action := self._next_action()) is not None:
            next_obs, reward, terminated, truncated = self._step(action)
            if self.recorder is not None:
                fields = (obs, action, reward, next_obs, terminated, truncated)
                self.recorder.add(Transition(*(np.array(field) for field in fields)))
            obs = np.array(next_obs)
            self._show(self._score())
            if terminated or truncated:
                self._print_result()
                break
        if self.recorder is not None:
            self.recorder.end(self.length)

    def _reset(self, seed: int) -> np.ndarray:
        self.seeds.start(seed)
        try:
            return np.array(self.env.reset(seed=seed)[0])  # a copy: the env may reuse its array
        except BaseException as error:
            raise env_fault(error, f"reset, seed={seed}") from error

    def _step(self, action: np.ndarray) -> tuple[Any, float, bool, bool]:
        where = f"step {self.length + 1} of the episode"
        try:
            obs, reward, *ends, _ = self.env.step(self.decode(action[None])[0])
        except BaseException as error:
            raise env_fault(error, where) from error
        check_reward(float(reward), lambda: where)
        self.total, self.length = self.total + float(reward), self.length + 1
        return obs, float(reward), bool(ends[0]), bool(ends[1])

    def _next_action(self) -> np.ndarray | None:
        """The action of the pressed keys; waits for one if needed. None: the window was closed."""
        while not self.window.closed:
            action = self.keyboard.action(self.window.pressed, self.spec.action)
            if action is not None:
                return action
            self._show(self._score(), record=False)
        return None

    def _print_result(self) -> None:
        self.played.append(Episode(self.total, self.length))
        score = f"return {number(self.total)}, {self.length:,} steps"
        terminal.say(f"episode {len(self.played)}: {score}")

    def _score(self) -> list[str]:
        lines = [f"return {number(self.total)}   step {self.length:,}"]
        if self.played:
            best = max(episode.episode_return for episode in self.played)
            lines.append(f"last {number(self.played[-1].episode_return)}   best {number(best)}")
        return lines

    def _show(self, lines: Sequence[str], record: bool = True) -> None:
        try:
            frame: Any = self.env.render()
        except BaseException as error:
            raise env_fault(error, "render") from error
        self.restore_settings()
        if not (isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[2] == 3):
            raise BadInput(
                f"the env renders {type(frame).__name__}, not (H, W, 3) images",
                f"env.id={self.cfg.env.id}",
                "choose an env that renders rgb_array",
            )
        if self.recorder is not None and record:
            self.recorder.add_frame(frame)
        self.window.show(frame, lines)

"""Films: decoded again, frame by frame; and what is left when there is nothing to film."""

from __future__ import annotations

import re
import subprocess
import weakref

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.evaluation import video
from rl_cli.evaluation.evaluator import Evaluator, evaluate
from rl_cli.evaluation.video import Mp4, VideoUnavailable, record
from tests import probe_envs  # noqa: F401
from tests.algos.test_algorithms import env_config


class Slides(gym.Env):
    """Pictures of 65 x 47: red at the left and blue at the right, green once a step is taken."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    breaks_at = None

    def __init__(self, render_mode=None):
        self.render_mode, self.t = render_mode, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), 1.0, self.t == 4, False, {}

    def render(self):
        if self.t == self.breaks_at:
            raise RuntimeError("the display is lost\nand more that nobody reads")
        frame = np.zeros((47, 65, 3), np.uint8)
        frame[:, :32, 0], frame[:, 32:, 2] = 255, 255
        if self.t > 0:
            frame[:] = (0, 255, 0)
        return frame


class Breaks(Slides):
    breaks_at = 2


class Blind(Slides):
    def render(self):
        return None


gym.register("TestSlides-v0", Slides)
gym.register("TestBreaks-v0", Breaks)
gym.register("TestBlind-v0", Blind)


def to_and_fro(obs, rng):
    """Keeps the pole up for a while."""
    return np.array([int(obs[0, 2] > 0)])


def film(env_id, *paths, policy=to_and_fro, seed=0, **changes):
    return record(env_config(env_id, **changes), None, policy, list(paths), seed, greedy=True)


def left(obs, rng):
    return np.array([0])


def decoded(path):
    """-> (size, frames per second, frames (F, H, W, 3)), as ffmpeg itself reads the file."""
    # not imageio_ffmpeg.read_frames: it leaves its pipes open, which is an error here
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    stream = next(line for line in done.stderr.decode().splitlines() if "Video: h264" in line)
    width, height = map(int, re.search(r", (\d+)x(\d+)", stream).groups())
    fps = float(re.search(r"([\d.]+) fps", stream)[1])
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    return (width, height), fps, frames


def test_a_cartpole_episode_is_on_film_from_its_first_to_its_last_frame(tmp_path):
    path = tmp_path / "videos" / "episode.mp4"
    (episode,) = film("CartPole-v1", path)
    size, fps, frames = decoded(path)
    assert size == (600, 400)
    assert fps == 50
    assert len(frames) == episode.length + 1
    assert frames[0].min() < 50  # the cart is dark
    assert frames[0].max() > 200  # on a light ground
    assert (frames[0] != frames[-1]).any()
    assert [p.name for p in path.parent.iterdir()] == ["episode.mp4"]


def test_what_is_filmed_is_what_would_have_been_played(tmp_path):
    paths = [tmp_path / f"{i}.mp4" for i in range(2)]
    episodes = film("CartPole-v1", *paths, seed=5)
    assert episodes == evaluate(Evaluator(env_config("CartPole-v1"), None), to_and_fro, 2, 5, True)
    lengths = [len(decoded(path)[2]) - 1 for path in paths]
    assert lengths == [e.length for e in episodes]


def test_odd_sides_are_cropped_to_even_ones_and_colours_keep_their_place(tmp_path):
    film("TestSlides-v0", tmp_path / "a.mp4", policy=left)
    size, fps, frames = decoded(tmp_path / "a.mp4")
    assert size == (64, 46)
    assert fps == 10
    assert len(frames) == 5
    # away from the seam, where the encoder blurs; a few shades are lost to its colour space
    np.testing.assert_allclose(frames[0][4:-4, 4:24].mean((0, 1)), [255, 0, 0], atol=20)
    np.testing.assert_allclose(frames[0][4:-4, 40:60].mean((0, 1)), [0, 0, 255], atol=20)
    np.testing.assert_allclose(frames[-1][4:-4, 4:60].mean((0, 1)), [0, 255, 0], atol=20)


@pytest.mark.parametrize(
    ("env_id", "why"),
    [
        ("ProbeConstant-v0", ""),  # has no way to be rendered, for reasons that gymnasium gives
        ("TestBreaks-v0", "the display is lost"),
        ("TestBlind-v0", "the env renders NoneType, not (H, W, 3) images"),
    ],
)
def test_an_env_that_cannot_be_filmed_says_so_in_one_line_and_leaves_no_file(tmp_path, env_id, why):
    with pytest.raises(VideoUnavailable) as caught:
        film(env_id, tmp_path / "a.mp4", policy=left)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(why)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_env_is_one_line_too(tmp_path):
    with pytest.raises(VideoUnavailable) as caught:
        film("CartPol-v1", tmp_path / "a.mp4")
    assert len(str(caught.value).splitlines()) == 1
    assert not str(caught.value).startswith("error")


def test_an_encoder_that_cannot_be_started_costs_the_film_only(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "write_frames", missing)
    with pytest.raises(VideoUnavailable, match=r"No ffmpeg exe could be found\."):
        film("TestSlides-v0", tmp_path / "a.mp4", policy=left)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_film_leaves_an_older_one_of_that_name_alone(tmp_path):
    path = tmp_path / "a.mp4"
    film("TestSlides-v0", path, policy=left)
    before = path.read_bytes()
    with pytest.raises(VideoUnavailable):
        film("TestBreaks-v0", path, policy=left)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path):
    film = Mp4(tmp_path / "a.mp4", fps=10)
    film.write(np.zeros((64, 64, 3), np.uint8))
    assert not (tmp_path / "a.mp4").exists()
    film.close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("side", [64, 65])
def test_each_frame_goes_to_the_encoder_at_once_and_none_is_kept(tmp_path, monkeypatch, side):
    sent = []

    def encoder(path, size, fps):
        def consume():
            while True:
                frame = yield
                sent.append((frame.shape, int(frame[0, 0, 0])))
                del frame

        generator = consume()
        next(generator)
        return generator

    monkeypatch.setattr(video, "_open_encoder", encoder)
    film, alive = Mp4(tmp_path / "a.mp4", fps=10), []
    for i in range(20):
        frame = np.full((side, side, 3), i, np.uint8)
        alive.append(weakref.ref(frame))
        film.write(frame)
        del frame
        assert sent[-1] == ((64, 64, 3), i)
        assert len(sent) == film.frames == i + 1
        assert [ref for ref in alive if ref() is not None] == []

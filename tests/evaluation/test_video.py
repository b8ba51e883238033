"""Videos, decoded frame by frame; and failures, which leave no file."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import weakref

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.types import Transition
from rl_cli.envs.spaces import spec_of
from rl_cli.evaluation import video
from rl_cli.evaluation.evaluator import Evaluator, evaluate
from rl_cli.evaluation.frames import VideoUnavailable
from rl_cli.evaluation.play import Recorder
from rl_cli.evaluation.video import Mp4, is_complete, record
from tests import probe_envs  # noqa: F401
from tests.algos.test_algorithms import env_config


class Slides(gym.Env):
    """Frames of 65 x 47 pixels: left half red, right half blue; green after the first step."""

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
            raise RuntimeError("the display is lost\nmore lines")
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


class Dark(Slides):
    def render(self):
        return np.zeros((64, 64, 3), np.uint8)


gym.register("TestBlind-v0", Blind)
gym.register("TestDark-v0", Dark)


def lean_policy(obs, rng):
    """Pushes the cart in the direction in which the pole leans."""
    return np.array([int(obs[0, 2] > 0)])


def record_videos(env_id, *paths, policy=lean_policy, seed=0, **changes):
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


def test_video_contains_every_frame_of_an_episode(tmp_path, monkeypatch):
    monkeypatch.delenv(
        "PYGAME_HIDE_SUPPORT_PROMPT", raising=False
    )  # as a call from Python leaves it
    path = tmp_path / "videos" / "episode.mp4"
    (episode,) = record_videos("CartPole-v1", path)
    size, fps, frames = decoded(path)
    assert size == (600, 400)
    assert fps == 50
    assert len(frames) == episode.length + 1
    assert frames[0].min() < 50  # the cart is dark
    assert frames[0].max() > 200  # the background is light
    assert (frames[0] != frames[-1]).any()
    assert [p.name for p in path.parent.iterdir()] == ["episode.mp4"]
    assert os.environ["PYGAME_HIDE_SUPPORT_PROMPT"]


def test_recorded_episodes_equal_evaluated_ones(tmp_path):
    paths = [tmp_path / f"{i}.mp4" for i in range(2)]
    episodes = record_videos("CartPole-v1", *paths, seed=5)
    assert episodes == evaluate(Evaluator(env_config("CartPole-v1"), None), lean_policy, 2, 5, True)
    lengths = [len(decoded(path)[2]) - 1 for path in paths]
    assert lengths == [e.length for e in episodes]


def test_odd_sides_are_padded_to_even_and_colors_keep_their_position(tmp_path):
    record_videos("TestSlides-v0", tmp_path / "a.mp4", policy=left)
    size, fps, frames = decoded(tmp_path / "a.mp4")
    assert size == (66, 48)
    assert fps == 10
    assert len(frames) == 5
    # away from the edge, which the encoder blurs; its color space is less exact than RGB
    np.testing.assert_allclose(frames[0][4:-4, 4:24].mean((0, 1)), [255, 0, 0], atol=20)
    np.testing.assert_allclose(frames[0][4:-4, 40:60].mean((0, 1)), [0, 0, 255], atol=20)
    np.testing.assert_allclose(frames[-1][4:-4, 4:60].mean((0, 1)), [0, 255, 0], atol=20)


@pytest.mark.parametrize(
    ("env_id", "reason"),
    [
        ("ProbeConstant-v0", ""),  # it has no render modes; gymnasium words the reason
        ("TestBreaks-v0", "the display is lost"),
        ("TestBlind-v0", "render() of the env returned None instead of an image"),
        ("TestDark-v0", "every frame that the env renders is black"),
    ],
)
def test_env_that_cannot_be_rendered_is_refused_in_one_line_without_a_file(
    tmp_path, env_id, reason
):
    with pytest.raises(VideoUnavailable) as caught:
        record_videos(env_id, tmp_path / "a.mp4", policy=left)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(reason)
    assert list(tmp_path.iterdir()) == []


def test_unknown_env_is_refused_in_one_line(tmp_path):
    with pytest.raises(VideoUnavailable) as caught:
        record_videos("CartPol-v1", tmp_path / "a.mp4")
    assert len(str(caught.value).splitlines()) == 1
    assert not str(caught.value).startswith("error")


def test_encoder_that_cannot_be_started_raises_video_unavailable(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "write_frames", missing)
    with pytest.raises(VideoUnavailable, match=r"No ffmpeg exe could be found\."):
        record_videos("TestSlides-v0", tmp_path / "a.mp4", policy=left)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most", [0, 500, 1_500])
def test_encoder_that_cannot_write_leaves_no_file(tmp_path, most):
    """`most`: bytes that the system lets a process write to a file; the encoder is one."""
    record_videos("TestSlides-v0", tmp_path / "whole.mp4", policy=left)
    assert (tmp_path / "whole.mp4").stat().st_size > 1_500
    (tmp_path / "whole.mp4").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises(VideoUnavailable, match="the encoder"):
            record_videos("TestSlides-v0", tmp_path / "a.mp4", policy=left)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_file_that_ends_early_is_not_complete(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    record_videos("TestSlides-v0", path, policy=left)
    data = path.read_bytes()
    assert is_complete(path)
    for length in (0, 7, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        assert not is_complete(path)
    path.write_bytes(data[: data.rindex(b"moov") - 4])  # every box but the index
    assert not is_complete(path)
    path.write_bytes(b"\0\0\0\1mdat" + (16).to_bytes(8, "big") + b"\0\0\0\x08moov")  # long form
    assert is_complete(path)


def test_full_disk_is_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "free_bytes", lambda path: 12_288)
    monkeypatch.setattr(video, "is_complete", lambda path: False)
    with pytest.raises(VideoUnavailable, match=r"^disk full: 12,288 bytes free$"):
        record_videos("TestSlides-v0", tmp_path / "a.mp4", policy=left)
    assert list(tmp_path.iterdir()) == []


def test_episode_of_rl_play_whose_video_cannot_be_written_keeps_its_transitions(tmp_path, capsys):
    env = gym.make("CartPole-v1")
    recorder = Recorder(tmp_path, spec_of(env, env_config("CartPole-v1")), 50)
    recorder.start(0)
    for frame in (np.ones((64, 64, 3), np.uint8), "no picture"):
        recorder.add_frame(frame)
    obs = np.zeros(4, np.float32)
    recorder.add(Transition(*(np.array(x) for x in (obs, 1, 1.0, obs, False, False))))
    recorder.end(1)
    assert capsys.readouterr().err.startswith("no video of this episode: ")
    assert [p.name for p in tmp_path.iterdir()] == ["transitions.safetensors"]


def test_failed_recording_keeps_an_older_video_of_the_same_name(tmp_path):
    path = tmp_path / "a.mp4"
    record_videos("TestSlides-v0", path, policy=left)
    before = path.read_bytes()
    with pytest.raises(VideoUnavailable):
        record_videos("TestBreaks-v0", path, policy=left)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_file_has_its_final_name_only_when_complete(tmp_path):
    video_file = Mp4(tmp_path / "a.mp4", fps=10)
    video_file.write(np.zeros((64, 64, 3), np.uint8))
    assert not (tmp_path / "a.mp4").exists()
    video_file.close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("side", [64, 65])
def test_each_frame_is_encoded_at_once_and_none_is_kept(tmp_path, monkeypatch, side):
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
    video_file, alive = Mp4(tmp_path / "a.mp4", fps=10), []
    for i in range(20):
        frame = np.full((side, side, 3), i, np.uint8)
        alive.append(weakref.ref(frame))
        video_file.write(frame)
        del frame
        assert sent[-1] == ((side + side % 2, side + side % 2, 3), i)
        assert len(sent) == video_file.frames == i + 1
        assert [ref for ref in alive if ref() is not None] == []

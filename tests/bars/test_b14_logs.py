"""B14: after a kill and a resume the curves contain every step once, and no video is lost or overwritten."""

from __future__ import annotations

import hashlib
import time

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.bars.kill_points import KILLED, call_at, kill_self, read_csv, short_run, train_in_child
from tests.bars.results import report
from tests.conftest import FULL

KILLS = 10 if FULL else 1


def _events(folder):
    """Steps per tag, as TensorBoard shows them."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _video_digests(folder):
    return {
        p.name: hashlib.sha256(p.read_bytes()).digest() for p in folder.glob("videos/[!.]*.mp4")
    }


def _kill_after_a_video(folder):
    """The video is rendered in the background, so the run may be some steps further."""
    while not _video_digests(folder):
        time.sleep(0.05)
    kill_self()


def test_curves_are_complete_and_videos_kept_after_kills(here):
    extra = ["log.tensorboard=true", "video.episodes=1", "video.every=400", "log.every=50"]
    drop = ("log.tensorboard=", "video.episodes=")
    command = [a for a in short_run("dqn", "cartpole", here / "r") if not a.startswith(drop)]
    command += extra
    rng = np.random.default_rng(0)
    first, videos = command, {}
    for i in range(KILLS):
        # the first kill after a video and some rows, later ones soon after the start
        steps = 230 if i == 0 else int(rng.integers(5, 40))
        end = kill_self if i else lambda: _kill_after_a_video(here / "r")
        assert train_in_child(command, lambda n=steps, end=end: call_at("step", n, end)) == KILLED
        found = _video_digests(here / "r")
        assert {k: found[k] for k in videos} == videos, "a video was overwritten"
        videos, command = found, ["resume=r", "quiet=true"]
    assert train_in_child(command) == 0
    steps = [int(r["step"]) for r in read_csv(here / "r/metrics.csv")]
    assert steps == list(range(50, 901, 50))
    shown = _events(here / "r/tb")
    assert shown["rollout/episodes"] == steps
    assert shown["eval/episode_return"] == [300, 600, 900]
    assert all(s == sorted(set(s)) for s in shown.values())
    assert {k: _video_digests(here / "r")[k] for k in videos} == videos
    assert len(videos) >= 1
    report(14, KILLS, KILLS, f"kills, no step twice, none missing; {first[0]}")


def test_truncated_event_file_reads_as_a_prefix(here):
    command = [a for a in short_run("ppo", "cartpole", here / "r") if "tensorboard" not in a]
    assert train_in_child([*command, "log.every=30"]) == 0
    whole = _events(here / "r/tb")["rollout/episodes"]
    (path,) = (here / "r/tb").glob("events*")
    data, lengths = path.read_bytes(), []
    for cut in range(40):
        path.write_bytes(data[: len(data) * cut // 40])
        left = _events(here / "r/tb").get("rollout/episodes", [])
        assert left == whole[: len(left)]
        lengths.append(len(left))
    assert lengths == sorted(lengths)
    assert lengths[0] == 0
    assert 0 < lengths[20] < len(whole) == 30
    report(14, 40, 40, "truncated event files read as a prefix")

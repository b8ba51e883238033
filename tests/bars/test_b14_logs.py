"""B14: after a kill and a resume the curves have every step once, and no film that was there is lost."""

from __future__ import annotations

import hashlib
import time

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.bars.kill_points import call_at, kill_self, read_csv, short_run, train_in_child
from tests.bars.results import report
from tests.conftest import FULL

KILLS = 10 if FULL else 1


def _events(folder):
    """Tag -> steps, as TensorBoard shows them."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _films(folder):
    return {
        p.name: hashlib.sha256(p.read_bytes()).digest() for p in folder.glob("videos/[!.]*.mp4")
    }


def _die_after_a_film(folder):
    """It is made beside the run, which may be some steps further by then."""
    while not _films(folder):
        time.sleep(0.05)
    kill_self()


def test_curves_are_whole_after_kills(here):
    extra = ["log.tensorboard=true", "video.episodes=1", "video.every=400", "log.every=50"]
    drop = ("log.tensorboard=", "video.episodes=")
    command = [a for a in short_run("dqn", "cartpole", here / "r") if not a.startswith(drop)]
    command += extra
    chance = np.random.default_rng(0)
    first, films = command, {}
    for i in range(KILLS):
        # after a film and some rows; later ones soon after they began
        steps = 230 if i == 0 else int(chance.integers(5, 40))
        end = kill_self if i else lambda: _die_after_a_film(here / "r")
        assert train_in_child(command, lambda n=steps, end=end: call_at("step", n, end)) == -9
        seen = _films(here / "r")
        assert {k: seen[k] for k in films} == films, "a film was overwritten"
        films, command = seen, ["resume=r", "quiet=true"]
    assert train_in_child(command) == 0
    steps = [int(r["step"]) for r in read_csv(here / "r/metrics.csv")]
    assert steps == list(range(50, 901, 50))
    shown = _events(here / "r/tb")
    assert shown["rollout/episodes"] == steps
    assert shown["eval/episode_return"] == [300, 600, 900]
    assert all(s == sorted(set(s)) for s in shown.values())
    assert {k: _films(here / "r")[k] for k in films} == films
    assert len(films) >= 1
    report(14, KILLS, KILLS, f"kills, no step twice, none missing; {first[0]}")


def test_a_cut_event_file_is_a_clean_beginning(here):
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
    report(14, 40, 40, "cuts of an event file read as its beginning")

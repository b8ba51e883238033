"""Measures the time of a checkpoint: python benchmarks/saving.py.

Fills a replay buffer, saves it, and saves again after every `every` rows. Prints the time of the first save
and the median of the others: milliseconds of wall-clock and, in brackets, of processor time. The table in
docs/performance.md has these numbers.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf

from rl_cli import algos
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core.types import ActionSpec, EnvSpec, Transition
from rl_cli.storage.checkpoint_writer import CheckpointStore, Identity

CONF = Path(__file__).resolve().parents[1] / "conf"


class Case(NamedTuple):
    name: str
    obs_shape: tuple[int, ...]
    capacity: int
    filled: int
    every: int
    saves: int


CASES = (
    Case("MountainCar, 50,000 rows", (2,), 50_000, 30_000, 10_000, 6),
    Case("LunarLander, 100,000 rows", (8,), 100_000, 50_000, 10_000, 6),
    Case("LunarLander, 1,000,000 rows", (8,), 1_000_000, 900_000, 10_000, 8),
    Case("pixels 84x84x4, 20,000 rows, 2,000 later", (4, 84, 84), 20_000, 20_000, 2_000, 5),
    Case("pixels 84x84x4, 40,000 rows", (4, 84, 84), 40_000, 30_000, 10_000, 3),
)


def values(path: str) -> dict[str, object]:
    return OmegaConf.to_container(OmegaConf.load(CONF / path), resolve=False)  # type: ignore[return-value]


def store(folder: Path) -> CheckpointStore:
    algo = build(algos.load("dqn").Config, values("algo/dqn.yaml"), "algo")
    env = values("env/_base.yaml") | {"id": "CartPole-v1", "reward_gamma": 0.99}
    return CheckpointStore(folder / "checkpoints", Identity(0, algo, build(EnvConfig, env)), keep=2)


def random_frames(shape: tuple[int, ...], frames: int) -> np.ndarray:
    """Random frames (frames, ...); a vector observation is one frame, a pixel observation a stack of them."""
    rng = np.random.default_rng(0)
    if len(shape) == 1:
        return rng.standard_normal((frames, *shape)).astype(np.float32)
    return rng.integers(0, 256, (frames, *shape[1:]), dtype=np.uint8)


def fill(buffer: ReplayBuffer, frames: np.ndarray, depth: int, count: int) -> None:
    """Add `count` steps of an endless episode."""
    one, no, action = np.ones(1, np.float32), np.zeros(1, bool), np.zeros(1, np.int64)
    for t in range(buffer.added, buffer.added + count):
        obs, next_obs = (frames[s : s + depth] for s in (t, t + 1))
        if frames.ndim == 3:
            obs, next_obs = obs[None], next_obs[None]
        buffer.add(Transition(obs, action, one, next_obs, no, no))


def measure(case: Case) -> str:
    pixels = len(case.obs_shape) == 3
    depth = case.obs_shape[0] if pixels else 1
    spec = EnvSpec(
        case.obs_shape,
        "uint8" if pixels else "float32",
        ActionSpec("discrete", (), (4,)),
        num_envs=1,
        frame_channels=1 if pixels else 0,
    )
    buffer = ReplayBuffer(case.capacity, spec, torch.device("cpu"))
    frames = random_frames(case.obs_shape, case.filled + case.saves * case.every + depth + 1)
    fill(buffer, frames, depth, case.filled)
    weights, taken = {"q.weight": np.zeros(10_000, np.float32)}, []
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        kept = store(Path(scratch))
        for step in range(case.saves + 1):
            if step:
                fill(buffer, frames, depth, case.every)
            start = time.perf_counter(), time.process_time()
            path = kept.save(step, weights, {"buffer": buffer.state_dict()}, None, best=False)
            ends = time.perf_counter(), time.process_time()
            taken.append([1000 * (end - begin) for begin, end in zip(start, ends, strict=True)])
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    wall, processor = (statistics.median(column) for column in zip(*taken[1:], strict=True))
    first = f"{taken[0][0]:.0f} ({taken[0][1]:.0f}) ms"
    return f"{case.name}: {size:.0f} MB, first {first}, then {wall:.0f} ({processor:.0f}) ms"


if __name__ == "__main__":
    for case in CASES:
        print(measure(case), flush=True)

"""Checkpoints for the tests of their writer and reader."""

from __future__ import annotations

import numpy as np

from rl_cli.storage import checkpoint_reader
from rl_cli.storage.checkpoint_writer import CheckpointStore, Identity
from tests.algos.test_algorithms import env_config
from tests.algos.test_algorithms import settings as algo_settings

WEIGHTS = {
    "actor.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "actor.0.bias": np.array([-0.0, 1e-45], np.float32),  # signed zero and a denormal: bits count
    "obs_normalizer.count": np.array(17.0),
}
STATE = {
    "step": 100,
    "rng": {"state": 2**127 + 1, "has_uint32": 0},
    "started": [{"seed": 3}, {"rng": {"inc": 2**100}}],
    "best_return": None,
    "obs": np.linspace(0, 1, 4),
    "pixels": np.arange(8, dtype=np.uint8).reshape(2, 2, 2),
}


def store(folder, keep=2):
    identity = Identity(7, algo_settings("dqn"), env_config("CartPole-v1", num_envs=3))
    return CheckpointStore(folder / "checkpoints", identity, keep)


def measured(value):
    return {"episodes": 5, "seed": 10_000, "greedy": True, "mean_return": value}


def saved(folder, *steps, best=()):
    """A run folder with these checkpoints; those in `best` had the best evaluation when they were saved."""
    folder.mkdir(exist_ok=True)
    kept = store(folder, keep=10)
    for step in steps:
        kept.save(step, WEIGHTS, STATE, measured(float(step)), step in best)
    return folder


def read(path):
    """Policy and state, as a resumed run reads them."""
    manifest = checkpoint_reader.read_manifest(path)
    return checkpoint_reader.read_policy(path, manifest), checkpoint_reader.read_state(
        path, manifest
    )


def bytes_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def same(a, b):
    """Equal in type, shape and every bit."""
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b

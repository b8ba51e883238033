"""Each algorithm learns something from each kind of observation, and each kind of action."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rl_cli import algos
from tests.algos.test_algorithms import settings
from tests.conftest import FULL
from tests.space_envs import Signaled, Wanted, envs_of

SETTINGS = {
    "dqn": {"learning_rate": 3e-3, "learning_starts": 64, "train_every": 8, "batch_size": 32,
            "target_update_every": 0, "epsilon_steps": 200},
    "ppo": {"learning_rate": 3e-3, "rollout_length": 32, "num_epochs": 4, "minibatch_size": 64},
    "reinforce": {"learning_rate": 1e-2, "episodes_per_update": 16},
}  # fmt: skip
SWITCHES = {"bootstrap": "double", "n_step": 3, "dueling": True, "noisy": True, "replay": "proportional",
            "distributional": "c51", "v_min": -2.0, "v_max": 2.0, "target_update_every": 64}  # fmt: skip
STEPS = {"dqn": 800, "ppo": 1_024, "reinforce": 2_048}


def learned(envs, name, steps=None, **changes):
    """The agent after `steps` env steps."""
    cpu, limit = torch.device("cpu"), steps or STEPS[name]
    cfg = settings(name, **{**SETTINGS[name], **changes})
    algo = algos.load(name)(cfg, envs.spec, limit, 0, cpu)
    obs, step = envs.reset(), 0
    while step < limit:
        transition, obs = envs.step(algo.act(obs, step))
        algo.observe(transition)
        step += envs.num_envs
        algo.update(step)
    return algo


def right(envs, algo, steps=25):
    """Share of greedy actions that are right."""
    obs, rewards = envs.obs, []
    for _ in range(steps):
        transition, obs = envs.step(algo.predict(obs, None))
        rewards.append(transition.reward.copy())
    return float((np.concatenate(rewards) > 0).mean())


def box(shape, dtype, low=0, high=255):
    return spaces.Box(low, high, shape, dtype)


VEL = box((2,), np.float32, -1, 1)
NAMED = spaces.Dict({"image": box((9, 8, 3), np.uint8), "vel": VEL})
OBSERVATIONS = {
    "uint8 channels last": (box((7, 7, 3), np.uint8), {}),
    "uint8 channels first": (box((3, 9, 8), np.uint8), {}),
    "uint8 one channel": (box((8, 9, 1), np.uint8), {}),
    "uint8 table": (box((10, 8), np.uint8), {}),
    "uint8 of small numbers": (box((7, 7, 3), np.uint8, 0, 10), {}),
    "uint8 for the Nature CNN": (box((36, 40, 3), np.uint8), {}),
    "float32 of 0 to 1": (box((8, 8, 3), np.float32, 0, 1), {}),
    "float32 of 0 to 255": (box((3, 8, 8), np.float32), {}),
    "float64 of -1 to 1": (box((8, 8, 2), np.float64, -1, 1), {}),
    "float16 without bounds": (box((8, 8, 2), np.float16, -np.inf, np.inf), {}),
    "float32 table": (box((12, 8), np.float32, 0, 1), {}),
    "bool channels": (spaces.Box(0, 1, (10, 10, 4), np.bool_), {}),
    "binary channels": (spaces.MultiBinary((8, 8, 2)), {}),
    "int32 channels": (box((8, 8, 2), np.int32, -5, 5), {}),
    "uint16 channels": (box((8, 8, 2), np.uint16, 0, 4_000), {}),
    "frames that the env stacks": (box((4, 8, 8, 3), np.uint8), {}),
    "stacked and gray": (box((8, 8, 3), np.uint8), {"frame_stack": 3, "grayscale": True}),
    "resized": (box((3, 20, 24), np.float32, 0, 1), {"resize": 10}),
    "vector of float64": (box((3,), np.float64, -np.inf, np.inf), {}),
    "vector of int8": (box((3,), np.int8, -8, 7), {}),
    "vector of bool": (spaces.Box(0, 1, (3,), np.bool_), {}),
    "one-sided vector": (spaces.Box(np.array([0, -np.inf]), np.array([np.inf, 3.0])), {}),
    "matrix": (box((2, 3), np.float32, -1, 1), {}),
    "one number": (box((), np.float32, -1, 1), {}),
    "Discrete with start": (spaces.Discrete(4, start=-2), {}),
    "MultiBinary": (spaces.MultiBinary(3), {}),
    "MultiDiscrete with start": (spaces.MultiDiscrete([2, 3], start=[1, 10]), {}),
    "OneOf": (spaces.Dict({"a": spaces.OneOf((spaces.Discrete(2), VEL)), "b": VEL}), {}),
    "Dict, bit in the image": (NAMED, {"silent": ["vel"]}),
    "Dict, bit in the vector": (NAMED, {"silent": ["image"]}),
    "Dict, normalized": (NAMED, {"silent": ["image"], "normalize_obs": True}),
    "Dict, stacked": (NAMED, {"silent": ["vel"], "frame_stack": 2}),
    "Dict of float image": (
        spaces.Dict({"a": box((8, 8, 3), np.float32, 0, 1), "b": VEL}), {"silent": ["b"]},
    ),
    "Dict in Dict in Tuple": (
        spaces.Tuple((spaces.Discrete(3), spaces.Dict({"eye": box((8, 8), np.uint8), "x": VEL}))),
        {"silent": ["0", "1.x"]},
    ),
    "two images": (
        spaces.Dict({"a": box((8, 8, 3), np.uint8), "b": box((2, 9, 9), np.float32, 0, 1)}),
        {"silent": ["a"]},
    ),
    "a chosen part": (NAMED, {"obs_keys": ["vel"], "silent": ["image"]}),
    "a text that is left out": (
        spaces.Dict({"image": box((7, 7, 3), np.uint8), "mission": spaces.Text(9)}), {},
    ),
    "others that are left out": (
        spaces.Dict(
            {"v": VEL, "s": spaces.Sequence(VEL), "g": spaces.Graph(VEL, None)}
        ),
        {},
    ),
}  # fmt: skip
QUICK = [
    ("dqn", "uint8 channels last"),
    ("dqn", "Dict, normalized"),
    ("ppo", "Dict, bit in the image"),
    ("reinforce", "Discrete with start"),
    ("rainbow", "Dict, bit in the vector"),
]
NAMES = ("dqn", "rainbow", "ppo", "reinforce")


@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n in NAMES for k in OBSERVATIONS] if FULL else QUICK
)
def test_information_of_every_observation_space_is_learned(name, kind):
    space, keys = OBSERVATIONS[kind]
    changes = {k: v for k, v in keys.items() if k != "silent"}
    envs = envs_of(lambda: Signaled(space, keys.get("silent", ())), **changes)
    extra, name = (SWITCHES, "dqn") if name == "rainbow" else ({}, name)
    assert right(envs, learned(envs, name, **extra)) > 0.95


def bounded(low, high, shape=(2,), dtype=np.float32):
    return spaces.Box(np.full(shape, low), np.full(shape, high), dtype=dtype)


# space, the best action, the scale of distances, and how near the policy comes to it
ACTIONS = {
    "MultiBinary": (spaces.MultiBinary(3), [1, 0, 1], 1.0, 0.0),
    "MultiBinary of two axes": (spaces.MultiBinary((2, 2)), [[1, 0], [0, 1]], 1.0, 0.0),
    "MultiDiscrete of two axes": (
        spaces.MultiDiscrete([[2, 3], [2, 2]], start=[[5, 0], [0, 0]]), [[6, 2], [0, 1]], 1.0, 0.0,
    ),
    "Discrete with start": (spaces.Discrete(3, start=-5), -3, 1.0, 0.0),
    "Box of one number": (bounded(-1, 1, ()), 0.8, 1.0, 0.3),
    "one-sided Box": (spaces.Box(np.array([0, -np.inf]), np.array([np.inf, 0])), [0.6, -0.6], 1, 0.3),
    "Box without bounds": (bounded(-np.inf, np.inf), [0.6, -0.6], 1.0, 0.3),
    "float64 Box": (bounded(-1, 1, dtype=np.float64), [0.6, -0.6], 1.0, 0.3),
    "Box of whole numbers": (bounded(-2, 2, dtype=np.int32), [1, -1], 1.0, 0.0),
    "Box of bytes": (bounded(0, 2, dtype=np.uint8), [2, 0], 1.0, 0.0),
}  # fmt: skip
DISCRETE = (
    "MultiBinary",
    "MultiBinary of two axes",
    "MultiDiscrete of two axes",
    "Discrete with start",
)
ACTION_CASES = [(n, k) for n in ("ppo", "reinforce") for k in ACTIONS] + [
    ("dqn", "Discrete with start")
]


@pytest.mark.parametrize(
    ("name", "kind"),
    ACTION_CASES
    if FULL
    else [
        ("ppo", "Box of whole numbers"),
        ("reinforce", "MultiBinary"),
    ],
)
def test_the_wanted_action_is_learned(name, kind):
    space, best, scale, near = ACTIONS[kind]
    std = {} if kind in DISCRETE or name == "dqn" else {"log_std_init": -0.7}
    envs = envs_of(lambda: Wanted(space, best, scale))
    steps = 4_096 if name == "reinforce" else 3_000
    algo = learned(envs, name, steps, **std)
    transition, _ = envs.step(algo.predict(envs.obs, None))
    assert (transition.reward >= -near - 1e-6).all(), transition.reward


@pytest.mark.parametrize("encoder", ["mlp", "nature_cnn", "impala", "minatar_cnn"])
@pytest.mark.skipif(not FULL, reason="long form")
def test_each_encoder_learns(encoder):
    space = spaces.Dict({"image": box((36, 36, 2), np.uint8), "vel": VEL})
    envs = envs_of(lambda: Signaled(space, ("vel",)))
    sizes = (
        {} if encoder in ("mlp", "nature_cnn") else {"encoder_channels": [8], "encoder_width": 32}
    )
    assert right(envs, learned(envs, "ppo", encoder=encoder, **sizes)) > 0.95

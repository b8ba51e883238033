"""Trains with stable-baselines3 and prints the seconds of `learn`. Run by benchmarks/speed.py.

python sb3.py '{"algo": "PPO", "env": "CartPole-v1", "num_envs": 8, "steps": 10000, "kwargs": {}}'
"""

import json
import sys
import time

import gymnasium as gym
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

torch.set_num_threads(1)
case = json.loads(sys.argv[1])


def make():
    """An environment without a renderer, as in rl-cli, or with one, as from SB3's make_vec_env."""
    return Monitor(gym.make(case["env"], render_mode="rgb_array" if case.get("renderer") else None))


seconds, steps = 0.0, 0
for seed in case.get("seeds", [case.get("seed")]):
    envs = DummyVecEnv([make for _ in range(case["num_envs"])])
    model = {"DQN": DQN, "PPO": PPO}[case["algo"]](
        "MlpPolicy", envs, device="cpu", seed=seed, **case["kwargs"]
    )
    start = time.perf_counter()
    model.learn(case["steps"])
    seconds, steps = seconds + time.perf_counter() - start, steps + model.num_timesteps
print(json.dumps({"seconds": seconds, "steps": steps}))

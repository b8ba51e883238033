"""Trains with stable-baselines3 and evaluates the last policy. Run by benchmarks/learning_sb3.py.

python sb3_learning.py '{"algo": "PPO", "env": "CartPole-v1", "num_envs": 8, "steps": 10000, "seed": 0,
                         "linear": ["learning_rate"], "eval_seed": 90000, "episodes": 100, "kwargs": {}}'

`linear`: keyword arguments that fall linearly to 0. Prints steps, seconds of `learn` and the mean return.
"""

import json
import sys
import time
from importlib.metadata import version

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env

torch.set_num_threads(1)
case = json.loads(sys.argv[1])


def linear(start):
    return lambda left: left * start


def episode(env, model, seed):
    """Return of one greedy episode."""
    obs, _ = env.reset(seed=seed)
    total, done = 0.0, False
    while not done:
        action, _ = model.predict(obs, deterministic=True)
        obs, reward, terminated, truncated, _ = env.step(action)
        total, done = total + float(reward), terminated or truncated
    return total


kwargs = dict(case["kwargs"])
for key in case["linear"]:
    kwargs[key] = linear(kwargs[key])
# a renderer would only cost time
envs = make_vec_env(
    case["env"],
    case["num_envs"],
    seed=case["seed"],
    env_kwargs={"render_mode": None, **case["env_kwargs"]},
)
model = {"DQN": DQN, "PPO": PPO}[case["algo"]](
    "MlpPolicy", envs, device="cpu", seed=case["seed"], **kwargs
)
start = time.perf_counter()
model.learn(case["steps"])
seconds = time.perf_counter() - start
check = gym.make(case["env"], **case["env_kwargs"])
first = case["eval_seed"]
returns = [episode(check, model, seed) for seed in range(first, first + case["episodes"])]
names = ("stable-baselines3", "gymnasium", "torch", "numpy")
print(
    json.dumps(
        {
            "seed": case["seed"],
            "steps": model.num_timesteps,
            "seconds": round(seconds, 1),
            "latest": float(np.mean(returns)),
            "packages": {name: version(name) for name in names},
        }
    )
)

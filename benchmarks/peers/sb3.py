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
# envs without a renderer, as ours; make_vec_env would ask for one
envs = DummyVecEnv([lambda: Monitor(gym.make(case["env"])) for _ in range(case["num_envs"])])
kwargs = case["kwargs"]
if "linear" in kwargs:
    for key in kwargs.pop("linear"):
        kwargs[key] = (lambda start: lambda left: left * start)(kwargs[key])
model = {"DQN": DQN, "PPO": PPO}[case["algo"]](
    "MlpPolicy", envs, device="cpu", seed=case["seed"], **kwargs
)
begun = time.perf_counter()
model.learn(case["steps"])
print(json.dumps({"seconds": time.perf_counter() - begun, "steps": model.num_timesteps}))

"""Trains with stable-baselines3 until an evaluation reaches a return. Run by time_to_solve.py.

python sb3_solve.py '{"algo": "PPO", "env": "CartPole-v1", "goal": 475, "every": 5000, ...}'

The stop rule is that of rl-cli: EvalCallback with StopTrainingOnRewardThreshold and the same number of greedy
episodes at the same env steps. Afterwards, not timed, 100 more greedy episodes.
"""

import json
import sys
import time

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

torch.set_num_threads(1)
case = json.loads(sys.argv[1])


def make(count, seed, training):
    envs = DummyVecEnv([lambda: Monitor(gym.make(case["env"])) for _ in range(count)])
    envs.seed(seed)
    if case.get("normalize"):
        return VecNormalize(envs, training=training, norm_reward=training)
    return envs


def linear(start):
    return lambda left: left * start


kwargs = dict(case["kwargs"])
for key in case.get("linear", []):
    kwargs[key] = linear(kwargs[key])
envs, eval_env = make(case["num_envs"], case["seed"], True), make(1, 10_000, False)
model = {"DQN": DQN, "PPO": PPO}[case["algo"]](
    "MlpPolicy", envs, device="cpu", seed=case["seed"], **kwargs
)
callback = EvalCallback(
    eval_env,
    callback_on_new_best=StopTrainingOnRewardThreshold(case["goal"], verbose=0),
    n_eval_episodes=case["episodes"],
    eval_freq=max(case["every"] // case["num_envs"], 1),
    best_model_save_path="best",
    verbose=0,
)
model.learn(case["steps"], callback=callback)
ended, worked = time.time(), time.process_time()  # the rest is not timed
solved = bool(callback.best_mean_reward >= case["goal"])
check = make(1, 20_000, False)
if case.get("normalize"):
    check.obs_rms = envs.obs_rms
best = type(model).load("best/best_model", device="cpu") if solved else model
returns = evaluate_policy(best, check, n_eval_episodes=100)[0]
print(
    json.dumps(
        {
            "ended": ended,
            "worked": worked,
            "solved": solved,
            "steps": model.num_timesteps,
            "check": float(np.float64(returns)),
        }
    )
)

"""Trains with SheepRL and prints the seconds from the first reset to the closing of the environments.

python sheeprl_ppo.py <clone of SheepRL> '{"steps": 25600, "seed": 0}'

Hyper-parameters are those of SheepRL's benchmark (exp=ppo_benchmarks): CartPole, one environment, 128 steps,
10 epochs of minibatches of 64, one 64-64 network shared by actor and critic; no logs, no test, no checkpoint.
"""

import json
import sys
import time

sys.path.insert(0, sys.argv[1])

import gymnasium as gym
import torch

torch.set_num_threads(1)
case = json.loads(sys.argv[2])
times = []


class Timed(gym.vector.SyncVectorEnv):
    def reset(self, **kwargs):
        times.append(time.perf_counter())
        return super().reset(**kwargs)

    def close(self, **kwargs):
        times.append(time.perf_counter())
        super().close(**kwargs)


gym.vector.SyncVectorEnv = Timed
from sheeprl import ROOT_DIR  # noqa: E402
from sheeprl.cli import run  # noqa: E402

sys.argv = [
    f"{ROOT_DIR}/__main__.py", "exp=ppo_benchmarks", f"algo.total_steps={case['steps']}",
    f"seed={case['seed']}", "fabric.accelerator=cpu",
]  # fmt: skip
run()
print(json.dumps({"seconds": times[1] - times[0], "steps": case["steps"]}))

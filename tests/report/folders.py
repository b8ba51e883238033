"""Run folders written without training, for tests of reports."""

from __future__ import annotations

import json

from rl_cli.config.labels import Labels
from rl_cli.storage.run_folder import write_config

CONFIG = {
    "algo": {"name": "dqn", "gamma": 0.99, "hidden_sizes": [64, 64]},
    "env": {"id": "CartPole-v1", "kwargs": {}, "success_at": None},
    "total_timesteps": 300,
    "eval": {"every": 100, "episodes": 2, "greedy": True},
    "log": {"every": 100},
}


def write_run(folder, returns, seed=0, state="completed", labels=("dqn", "cartpole"), **values):
    """A run whose evaluations at the given steps have the given mean returns.

    Args:
        folder: of the run.
        returns: step -> mean return of two episodes.
        seed: of the run.
        state: in status.json.
        labels: names of algorithm and env.
        values: dotted keys with "__" in place of the dots -> value.

    """
    first = Labels(*labels, "tuned: x", (f"seed={seed}", *values)).recorded()
    config = first | json.loads(json.dumps(CONFIG)) | {"seed": seed}
    for key, value in values.items():
        *path, leaf = key.split("__")
        node = config
        for name in path:
            node = node[name]
        node[leaf] = value
    folder.mkdir(parents=True)
    write_config(folder, config)
    status = {"state": state, "reason": "budget", "step": 300, "seconds": 3.0}
    (folder / "status.json").write_text(json.dumps(status))
    rows = [
        f"{step},{i},{i},{value + offset},10\n"
        for step, value in returns.items()
        for i, offset in enumerate((-1, 1))
    ]
    header = "step,episode,seed,episode_return,episode_length\n"
    (folder / "eval.csv").write_text(header + "".join(rows))
    (folder / "metrics.csv").write_text("step,time/elapsed\n100,1.0\n300,3.0\n")
    return folder

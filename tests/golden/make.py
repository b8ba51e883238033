"""Makes the golden runs of the program's present checkpoint format: python tests/golden/make.py.

One run of each algorithm, stopped half-way by its budget, and `expected.json` with the returns that
rl-eval gave at the time. To be run once for each new format, and committed; a golden run is never
made again, because what it shows is that yesterday's files can be read.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent
ALGOS = {
    "dqn": [
        *("algo.buffer_size=500", "algo.learning_starts=200", "algo.epsilon_steps=2000"),
        *(
            "algo.gamma=0.9",
            "algo.activation=tanh",
            "algo.learning_rate=5e-3",
            "algo.double_q=true",
        ),
        *("algo.train_every=2", "algo.target_update_every=20"),
    ],
    "ppo": ["algo.rollout_length=64", "algo.learning_rate=1e-3", "env.normalize_obs=true"],
    "reinforce": ["algo.learning_rate=1e-2"],
}
SETTINGS = [
    *("env=cartpole", "hparams=none", "algo.hidden_sizes=[16,16]", "seed=5", "env.num_envs=2"),
    *("total_timesteps=4000", "eval.every=2000", "eval.episodes=5", "checkpoint.every=2000"),
    *("log.every=500", "log.tensorboard=false", "video.episodes=0", "compile=false", "quiet=true"),
]


def make(algo: str, folder: Path) -> None:
    """Train, replay, and keep what is needed of both."""
    from rl_cli.cli import evaluate, train

    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        settings = [*SETTINGS, *ALGOS[algo], f"algo={algo}", "run_dir=run"]
        assert train.run(settings) == 0
        assert evaluate.run(["run", "checkpoint=latest", "episodes=5", "output=out"]) == 0
        episodes = json.loads(Path("out/evaluation.json").read_text())["episodes"]
        returns = [episode["return"] for episode in episodes]
        Path("run/expected.json").write_text(json.dumps({"seed": 20_000, "returns": returns}))
        Path("run/status.json").unlink()  # a time and a process, of interest to nobody
        shutil.copytree("run", folder)


def main() -> None:
    from rl_cli.checkpoint import FORMAT

    for algo in sys.argv[1:] or ALGOS:
        make(algo, GOLDEN / f"format_{FORMAT}" / algo)


if __name__ == "__main__":
    main()

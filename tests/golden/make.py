"""Creates the golden runs of the current checkpoint format: python tests/golden/make.py.

One run of each algorithm, with the returns of rl-eval in `expected.json`, and a block of a pixel replay with
the SHA-256 of its columns. Run it once per format and commit the files. Golden runs are never recreated:
they test that files written by earlier versions can be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent
ALGOS = {
    "dqn": [
        *("algo.buffer_size=500", "algo.learning_starts=200", "algo.epsilon_steps=2000"),
        *("algo.gamma=0.9", "algo.activation=tanh", "algo.learning_rate=5e-3"),
        "algo.bootstrap=double",
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
    """Train and evaluate; copy the run and the returns to `folder`."""
    from rl_cli.cli import evaluate, train

    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        settings = [*SETTINGS, *ALGOS[algo], f"algo={algo}", "run_dir=run"]
        assert train.run(settings) == 0
        assert evaluate.run(["run", "checkpoint=latest", "episodes=5", "output=out"]) == 0
        episodes = json.loads(Path("out/evaluation.json").read_text())["episodes"]
        returns = [episode["return"] for episode in episodes]
        Path("run/expected.json").write_text(json.dumps({"seed": 20_000, "returns": returns}))
        Path("run/status.json").unlink()  # contains times and process ids
        shutil.copytree("run", folder)


def make_pixels(folder: Path) -> None:
    """A stored block of a pixel replay, and the SHA-256 of each column after unpacking.

    Two environments, observations of two stacked 36x36 frames, episodes of seven steps.
    """
    from rl_cli.buffers import frame_stack
    from rl_cli.storage.serialization import as_safetensors

    frames = np.random.default_rng(0).integers(0, 256, (2, 22, 36, 36), dtype=np.uint8)
    obs, next_obs = [], []
    for t in range(20):
        for env in frames:
            obs.append(np.stack([env[t if t % 7 == 0 else t - 1], env[t]]))
            next_obs.append(np.stack([env[t], env[t + 1]]))
    reward = np.arange(40, dtype=np.float32)
    rows = {"obs": np.stack(obs), "next_obs": np.stack(next_obs), "reward": reward}
    folder.mkdir(parents=True)
    packed = b"".join(as_safetensors(frame_stack.pack(rows, 2)))
    (folder / "piece.safetensors").write_bytes(packed)
    sums = {name: hashlib.sha256(rows[name].tobytes()).hexdigest() for name in rows}
    (folder / "expected.json").write_text(json.dumps(sums))


def main() -> None:
    from rl_cli.storage.manifest import FORMAT

    for name in sys.argv[1:] or [*ALGOS, "pixels"]:
        folder = GOLDEN / f"format_{FORMAT}" / name
        make_pixels(folder) if name == "pixels" else make(name, folder)


if __name__ == "__main__":
    main()

"""Short runs in forked child processes, killed at named points, and digests to compare runs bit by bit.

The position of a kill is a count of calls inside the run, not a time: start-up is most of the duration of a
short run.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rl_cli.cli import train as rl_train
from rl_cli.engine.learner import Learner
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.evaluator import Evaluator
from rl_cli.storage import checkpoint_reader
from rl_cli.storage import manifest as manifest_module
from rl_cli.tracking.logger import Logger

KILLED = -signal.SIGKILL
"""What `train_in_child` returns for a killed run."""

POINTS: dict[str, tuple[Any, str]] = {
    "step": (VectorEnv, "step"),
    "reset": (VectorEnv, "_finish_episodes"),
    "update": (Learner, "update"),
    "evaluation": (Evaluator, "_batch"),
    "row": (Logger, "write"),
    "summary": (Logger, "write_evaluation"),
    "save": (os, "fsync"),
}
"""Name of a kill point -> owner and name of the function that is called there."""


def call_at(point: str, count: int, action: Callable[[], None], before: bool = True) -> None:
    """Make this process call `action` before (or after) call number `count` at `point`."""
    owner, name = POINTS[point]
    original, calls = getattr(owner, name), [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if before and calls[0] == count:
            action()
        result = original(*args, **kwargs)
        if not before and calls[0] == count:
            action()
        return result

    setattr(owner, name, counted)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_forked(run: Callable[[], int | None]) -> int:
    """Call `run` in a child process. Returns its exit code, or -n if signal n ended it."""
    sys.stdout.flush(), sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = run() or 0
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def train_in_child(argv: list[str], prepare: Callable[[], None] = lambda: None) -> int:
    """Call `prepare`, then rl-train with these arguments, in a child process. Returns the exit code."""

    def child() -> int:
        prepare()
        return rl_train.run(argv)

    return run_forked(child)


def train_until_killed(argv: list[str], point: str, count: int, before: bool = True) -> None:
    """rl-train in a child process, killed before (or after) call number `count` at `point`."""
    code = train_in_child(argv, lambda: call_at(point, count, kill_self, before))
    assert code == KILLED, f"exit code {code} instead of a kill at {point} {count}"


def run_digests(folder: Path) -> dict[str, str]:
    """SHA-256, by name, of the policy, the training state and the CSV rows of a run, without clock times."""
    path = checkpoint_reader.find(folder)
    manifest = checkpoint_reader.read_manifest(path)
    state: dict[str, Any] = dict(checkpoint_reader.read_state(path, manifest))
    state.pop("elapsed")
    found = {
        f"policy/{k}": _digest(v) for k, v in checkpoint_reader.read_policy(path, manifest).items()
    }
    found |= {f"state/{k}": _digest(v) for k, v in state.items()}
    found["step"] = str(manifest.step)
    found["best"] = str(manifest_module.best_step(folder / "checkpoints"))
    for name in ("metrics.csv", "eval.csv"):
        rows = [{k: v for k, v in r.items() if "time/" not in k} for r in read_csv(folder / name)]
        found[name] = _digest(rows)
    return found


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _digest(value: Any) -> str:
    digest = hashlib.sha256()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            for key in sorted(part):
                digest.update(key.encode())
                walk(part[key])
        elif isinstance(part, list | tuple):
            digest.update(f"[{len(part)}]".encode())
            for item in part:
                walk(item)
        elif isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(part).encode())

    walk(value)
    return digest.hexdigest()


ALGO_ARGS = {
    "dqn": ["algo=dqn", "algo.learning_starts=50", "algo.batch_size=16", "algo.buffer_size=700"],
    "ppo": [
        "algo=ppo",
        "algo.rollout_length=40",
        "algo.minibatch_size=20",
        "env.normalize_obs=true",
        "env.normalize_reward=true",
    ],
    "reinforce": ["algo=reinforce", "algo.episodes_per_update=2", "env.normalize_obs=true"],
}
ALGO_ARGS["dqn_by_episodes"] = [
    *ALGO_ARGS["dqn"],
    *("total_episodes=12", "eval.every_episodes=3", "env.reseed_episodes=true", "log.window=5"),
    "algo.average_decay=0.99",
]
ALGO_ARGS["dqn_rainbow"] = [
    *(word.replace("algo=dqn", "algo=rainbow") for word in ALGO_ARGS["dqn"]),
    *("algo.num_atoms=11", "algo.v_min=-100", "algo.v_max=100", "algo.hidden_sizes=[8,8]"),
]
ALGO_ARGS["dqn_sarsa"] = [
    *ALGO_ARGS["dqn"],
    *("algo.bootstrap=sarsa", "algo.replay=softmax", "algo.sort_every=150"),
    *("algo.target_update_every=0", "algo.epsilon_factor=0.9", "algo.hidden_sizes=[8]"),
]
ALGO_ARGS["ppo_by_episodes"] = [
    *("algo=ppo", "algo.rollout_length=null", "algo.rollout_episodes=2", "algo.minibatch_size=20"),
    *("algo.std=gsde", "algo.sde_sample_every=7", "algo.squash_actions=true"),
    *("algo.recompute_advantage=true", "algo.ent_coef=0.01", "algo.anneal_ent_coef=true"),
]
ALGO_ARGS["ppo_float64"] = [*ALGO_ARGS["ppo"], "env.id=TestDrifts64-v0"]  # as those of MuJoCo
ALGO_ARGS["reinforce_mean"] = [
    *ALGO_ARGS["reinforce"],
    *("algo.baseline=mean", "algo.bootstrap_truncated=false", "algo.discount_weighting=true"),
    "algo.normalize_returns=false",
]


ENV_OF = {"ppo_by_episodes": "pendulum", "dqn_by_episodes": "mountaincar"}
"""Environment of the combinations that need real-valued actions, or episodes of a known length."""


def short_run(algo: str, env: str, folder: Path) -> list[str]:
    """Arguments of a run of about a second with several updates, evaluations, rows and checkpoints."""
    return [
        *ALGO_ARGS[algo],
        f"env={env}",
        "hparams=none",
        "env.num_envs=2",
        "env.max_episode_steps=70",
        "total_timesteps=900",
        "eval.every=300",
        "eval.episodes=2",
        "stop.eval_window=5",
        "checkpoint.every=120",
        "log.every=100",
        "log.tensorboard=false",
        "video.episodes=0",
        "compile=false",
        "quiet=true",
        f"run_dir={folder}",
    ]

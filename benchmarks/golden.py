"""Compare the results of short runs at two commits: python benchmarks/golden.py BASE [--case NAME].

Each case is one `rl-train` call, some with a second call that resumes it. A case is equal if the
weights of its last checkpoint, metrics.csv (without its time/* columns) and eval.csv are. The working
tree is compared with BASE, which is checked out into a temporary folder. Hashes depend on the
processor and the compiler, so both sides run on this machine, one after the other.

`--ignore COLUMN` leaves a column of metrics.csv out, after a change that is meant to change it.
`--save FILE` runs the working tree alone and writes its hashes; `--against FILE` compares with them.
Prints one line a case and exits 1 if any differs.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
COMMON = (
    "log.every=500 eval.every=1000 eval.episodes=3 checkpoint.every=1000 video.episodes=0 "
    "log.tensorboard=false quiet=true seed=7"
)
DQN = "algo=dqn hparams=none env=cartpole algo.learning_starts=200 total_timesteps=3000"
PPO = "algo=ppo hparams=none env=cartpole total_timesteps=3072"
CASES = {  # name: the arguments of one run, or of a run and of what resumes it
    "dqn": [f"{DQN} compile=false"],
    "dqn_compiled": [f"{DQN} compile=true"],
    "dqn_cartpole_shipped": ["algo=dqn env=cartpole total_timesteps=3000 compile=true"],
    "dqn_mountaincar_shipped": ["algo=dqn env=mountaincar total_timesteps=4000 compile=true"],
    "dqn_lunarlander_compiled": [
        "algo=dqn hparams=none env=lunarlander total_timesteps=3000 algo.learning_starts=200 "
        "compile=true"
    ],
    "dqn_n_step_plain": [f"{DQN} compile=false algo.n_step=3 algo.bootstrap=double"],
    "dqn_n_step_4_envs": [f"{DQN} compile=true algo.n_step=5 env.num_envs=4"],
    "dqn_soft_target": [
        f"{DQN} compile=true algo.tau=0.05 algo.target_update_every=8 algo.gradient_steps=2"
    ],
    "dqn_proportional": [f"{DQN} compile=true algo.replay=proportional"],
    "dqn_softmax": [f"{DQN} compile=false algo.replay=softmax algo.sort_every=500"],
    "dqn_noisy_dueling": [f"{DQN} compile=true algo.noisy=true algo.dueling=true"],
    "dqn_sarsa": [f"{DQN} compile=true algo.bootstrap=sarsa algo.n_step=2"],
    "dqn_expected_sarsa": [
        f"{DQN} compile=false algo.bootstrap=expected_sarsa algo.epsilon_factor=0.95"
    ],
    "dqn_qr_normalized": [f"{DQN} compile=true algo.distributional=qr env.normalize_obs=true"],
    "rainbow": ["algo=rainbow hparams=none env=cartpole algo.learning_starts=200 "
                "total_timesteps=2000 compile=true"],
    "dqn_resumed": [
        f"{DQN} compile=true total_timesteps=1700 run_dir=run",
        "resume=run total_timesteps=3000 quiet=true",
    ],
    "dqn_n_step_resumed": [
        f"{DQN} compile=true algo.n_step=3 total_timesteps=1700 run_dir=run",
        "resume=run total_timesteps=3000 quiet=true",
    ],
    "ppo": [f"{PPO} compile=false"],
    "ppo_compiled": [f"{PPO} compile=true"],
    "ppo_4_envs_normalized": [
        f"{PPO} compile=true env.num_envs=4 env.normalize_obs=true env.normalize_reward=true "
        "algo.ent_coef=0.01 algo.clip_value_loss=true algo.target_kl=0.02"
    ],
    "ppo_continuous": ["algo=ppo hparams=none env=pendulum total_timesteps=3072 compile=true "
                       "env.normalize_obs=true env.normalize_reward=true"],
    "ppo_gsde": ["algo=ppo hparams=none env=pendulum total_timesteps=3072 compile=true "
                 "algo.std=gsde algo.squash_actions=true"],
    "ppo_state_dependent": ["algo=ppo hparams=none env=pendulum total_timesteps=2048 "
                            "compile=false algo.std=state_dependent"],
    "ppo_pixels": ["algo=ppo hparams=none env=carracing total_timesteps=256 eval.every=0 "
                   "algo.rollout_length=64 env.max_episode_steps=60 eval.episodes=1 "
                   "env.num_envs=1"],
    "ppo_episodes": [f"{PPO} compile=true algo.rollout_length=null algo.rollout_episodes=8"],
    "ppo_shared_monte_carlo": [f"{PPO} compile=false algo.shared_network=true "
                               "algo.advantage=monte_carlo"],
    "ppo_workers": ["algo=ppo hparams=none env=lunarlander total_timesteps=4096 env.num_envs=4 "
                    "workers=2 compile=true"],
    "ppo_resumed": [
        f"{PPO} compile=true total_timesteps=1700 run_dir=run",
        "resume=run total_timesteps=3072 quiet=true",
    ],
    "reinforce": ["algo=reinforce hparams=none env=cartpole total_timesteps=3000"],
    "reinforce_mean": ["algo=reinforce hparams=none env=cartpole total_timesteps=3000 "
                       "algo.baseline=mean algo.normalize_returns=false env.num_envs=4 "
                       "algo.bootstrap_truncated=false algo.discount_weighting=true"],
    "reinforce_continuous": ["algo=reinforce hparams=none env=pendulum total_timesteps=4000"],
}  # fmt: skip


def hashes(checkout: Path, case: str, ignored: list[str]) -> dict[str, str]:
    """Run a case with the code of a checkout. -> what was hashed: its digest."""
    with tempfile.TemporaryDirectory() as scratch:
        for i, arguments in enumerate(CASES[case]):
            words = arguments.split()
            if i == 0:
                words += [w for w in COMMON.split() if w.split("=")[0] not in arguments]
                words += [] if "run_dir=" in arguments else ["run_dir=run"]
            code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
            done = subprocess.run(
                [sys.executable, "-c", code, *words],
                cwd=scratch,
                env={**os.environ, "PYTHONPATH": str(checkout)},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                return {"error": done.stderr[-2000:]}
        return digests(Path(scratch) / "run", ignored)


def digests(run: Path, ignored: list[str]) -> dict[str, str]:
    """Of a run's last weights and of its tables."""
    last = max((run / "checkpoints").glob("[0-9]*"))
    metrics = list(csv.DictReader(io.StringIO((run / "metrics.csv").read_text())))
    left_out = ("time/", *ignored)
    rows = [{k: v for k, v in sorted(r.items()) if not k.startswith(left_out)} for r in metrics]
    contents = {
        "weights": (last / "policy.safetensors").read_bytes(),
        "metrics": json.dumps(rows).encode(),
        "eval": (run / "eval.csv").read_bytes() if (run / "eval.csv").exists() else b"",
    }
    return {name: hashlib.sha256(content).hexdigest()[:16] for name, content in contents.items()}


def run_all(
    checkout: Path, cases: list[str], jobs: int, ignored: list[str]
) -> dict[str, dict[str, str]]:
    with ThreadPoolExecutor(jobs) as pool:
        results = pool.map(lambda case: hashes(checkout, case, ignored), cases)
        return dict(zip(cases, results, strict=True))


def run_base(
    commit: str, cases: list[str], jobs: int, ignored: list[str]
) -> dict[str, dict[str, str]]:
    """The same cases at another commit."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(Path(scratch) / "base")
        git = ["git", "-C", str(REPO), "worktree"]
        subprocess.run([*git, "add", "--detach", folder, commit], check=True, capture_output=True)
        try:
            return run_all(Path(folder), cases, jobs, ignored)
        finally:
            subprocess.run([*git, "remove", "--force", folder], check=True, capture_output=True)


def compare(base: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> int:
    """Print one line a case. -> how many differ."""
    wrong = 0
    for case, found in now.items():
        before = base.get(case, {})
        names = {*before, *found}
        differs = sorted(name for name in names if before.get(name) != found.get(name))
        differs += ["error"] if "error" in found else []
        wrong += bool(differs)
        print(f"{case:28} {'DIFFERS: ' + ', '.join(differs) if differs else 'equal'}")
        if "error" in found:
            print(found["error"])
    print(f"{len(now) - wrong} of {len(now)} cases equal")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", nargs="?", help="commit to compare the working tree with")
    parser.add_argument("--case", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--ignore", nargs="*", default=[], metavar="COLUMN")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    now = run_all(REPO, args.case, args.jobs, args.ignore)
    if args.save:
        args.save.write_text(json.dumps(now, indent=1) + "\n")
    if args.against:
        return int(compare(json.loads(args.against.read_text()), now) > 0)
    if args.base:
        return int(compare(run_base(args.base, args.case, args.jobs, args.ignore), now) > 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures what stable-baselines3 learns with RL Zoo's values, on ten seeds of seven cases, next to rl-cli.

    python benchmarks/learning_sb3.py --sb3 sb3/bin/python                   every case (peers/README.md: the venv)
    python benchmarks/learning_sb3.py --sb3 sb3/bin/python dqn_cartpole --jobs 1
    python benchmarks/learning_sb3.py --table                               the page again, from the JSON files

Steps and episodes of the evaluation are those of benchmarks/learning.py; evaluated is the last
policy, which is the one that RL Zoo publishes. Each result is written to benchmarks/learning_sb3.json as soon as it
is there; the same command continues. Writes the table in docs/learning.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from learning_cases import EVAL_SEED, FIRST_SEED
from learning_table import number, returns, shown
from pages import REPO, insert
from speed_cases import LANDER, ZOO_DQN, ZOO_PPO

from rl_cli.report.comparison import iqm_of

RECORD = REPO / "benchmarks/learning_sb3.json"
OURS = REPO / "benchmarks/learning.json"
SCRIPT = REPO / "benchmarks/peers/sb3_learning.py"
SEEDS = range(FIRST_SEED, FIRST_SEED + 10)
NET = {"policy_kwargs": {"net_arch": [256, 256]}}
PENDULUM = {"learning_rate": 1e-3, "n_steps": 1024, "batch_size": 64, "n_epochs": 10, "gamma": 0.9,
            "gae_lambda": 0.95, "ent_coef": 0.0, "clip_range": 0.2, "use_sde": True,
            "sde_sample_freq": 4}  # fmt: skip

Results = list[dict[str, Any]]


def case(algo: str, env: str, steps: int, num_envs: int = 1, **kwargs: Any) -> dict[str, Any]:
    return {"algo": algo, "env": env, "steps": steps, "num_envs": num_envs, "linear": [],
            "env_kwargs": {}, "kwargs": kwargs}  # fmt: skip


def dqn(env: str, group: str, steps: int, exploration: float) -> dict[str, Any]:
    kwargs: dict[str, Any] = {"exploration_fraction": exploration, **NET, **ZOO_DQN[group]}
    return case("DQN", env, steps, **kwargs)


CASES: dict[str, dict[str, Any]] = {
    "dqn_cartpole": dqn("CartPole-v1", "cartpole", 50_000, 0.16),
    "dqn_mountaincar": dqn("MountainCar-v0", "mountaincar", 120_000, 0.2),
    "dqn_lunarlander": dqn("LunarLander-v3", "lunarlander", 100_000, 0.12),
    "ppo_cartpole": case("PPO", "CartPole-v1", 100_000, 8, clip_range=0.2, **ZOO_PPO)
    | {"linear": ["learning_rate", "clip_range"]},
    "ppo_lunarlander": case("PPO", "LunarLander-v3", 1_000_000, 16, **LANDER),
    "ppo_lunarlander_continuous": case("PPO", "LunarLander-v3", 1_000_000, 16, **LANDER)
    | {"env_kwargs": {"continuous": True}},
    "ppo_pendulum": case("PPO", "Pendulum-v1", 100_000, 4, **PENDULUM),
}
"""RL Zoo's values; the names are those of benchmarks/learning_cases.py."""

NOTE = "The episodes are those of the table above, the seeds 9000 to 9009; each seed is in `benchmarks/learning_sb3.json`."
HEAD = (
    "| case | steps | SB3, last policy: IQM [95 % interval] | lowest seed | seconds | rl-cli, last policy: IQM "
    "[95 % interval] | lowest seed | rl-cli, best checkpoint: IQM [95 % interval] | lowest seed | seconds |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def measure(python: str, name: str, seed: int) -> dict[str, Any]:
    """One run in the peer's interpreter."""
    words = {**CASES[name], "seed": seed, "eval_seed": EVAL_SEED, "episodes": 100}
    done = subprocess.run(
        [python, str(SCRIPT), json.dumps(words)], check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{name}, seed {seed} failed")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def table(theirs: Mapping[str, Results], ours: Mapping[str, Results]) -> str:
    """A row per case with all its seeds, with the results of rl-cli where there are any."""
    complete = [name for name in CASES if len(theirs.get(name, [])) == len(SEEDS)]
    return "\n".join([HEAD, *(row(name, theirs[name], ours.get(name, [])) for name in complete)])


def row(name: str, theirs: Results, ours: Results) -> str:
    algo, env = name.split("_", 1)
    cells = [f"`algo={algo} env={env}`", f"{theirs[0]['steps']:,}"]
    cells += [*interval(theirs, "latest"), f"{seconds(theirs):.0f}"]
    if ours:
        cells += [*interval(ours, "latest"), *interval(ours, "best"), f"{seconds(ours):.0f}"]
    else:
        cells += ["not measured", "", "", "", ""]
    return f"| {' | '.join(cells)} |"


def interval(results: Results, which: str) -> list[str]:
    values = returns(results, which)
    return [shown(iqm_of(values)), number(float(values.min()))]


def seconds(results: Results) -> float:
    return float(np.median([each["seconds"] for each in results]))


def recorded() -> dict[str, Results]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def record(name: str, result: dict[str, Any]) -> None:
    """Add one seed of a case to the JSON file."""
    known = recorded()
    known[name] = sorted([*known.get(name, []), result], key=lambda each: int(each["seed"]))
    text = json.dumps({each: known[each] for each in CASES if each in known})
    RECORD.write_text(text.replace('{"seed"', '\n  {"seed"').replace('], "', '],\n "') + "\n")


def write_page() -> None:
    ours = {name: entry["results"] for name, entry in json.loads(OURS.read_text()).items()}
    if theirs := recorded():
        insert("learning.md", "sb3", f"{NOTE}\n\n{table(theirs, ours)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}")
    parser.add_argument("--sb3", help="interpreter of a venv with stable-baselines3")
    parser.add_argument("--seeds", type=int, default=10, help="of each case")
    parser.add_argument("--jobs", type=int, default=2, help="concurrent processes")
    parser.add_argument("--table", action="store_true", help="only write the page again")
    args = parser.parse_args()
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if not args.table and not (args.sb3 and Path(args.sb3).exists()):
        parser.error("--sb3 names an interpreter; benchmarks/peers/README.md says how to make one")
    return args


def main() -> None:
    args = arguments()
    if not args.table:
        done = {(name, each["seed"]) for name, results in recorded().items() for each in results}
        wanted = [(n, s) for n in args.cases or CASES for s in SEEDS[: args.seeds]]
        missing = [each for each in wanted if each not in done]
        with ThreadPoolExecutor(args.jobs) as pool:
            runs = pool.map(lambda each: (each[0], measure(args.sb3, *each)), missing)
            for name, result in runs:
                record(name, result)
                print(name, result, flush=True)
    write_page()


if __name__ == "__main__":
    main()

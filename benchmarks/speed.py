"""How fast? Env steps per second of whole training calls, against installed peers, in pairs.

    python benchmarks/speed.py --sb3 <python with stable-baselines3>
    python benchmarks/speed.py --sb3 ... --cleanrl <python with its packages> <clone of CleanRL> \\
                               --sheeprl <python with its packages> <clone of SheepRL>
    python benchmarks/speed.py --quick --case dqn_cartpole_zoo ...

Without --quick each case's row is replaced as soon as it is measured; --case takes some of them.

Both sides get the same hyper-parameters, network, env and budget, one thread, one processor, no
video, no evaluation during training; they run in turn, and the ratio is taken pair by pair. What is
measured is the training call: on our side from the first reset to the closed run folder, with the
final evaluation of one episode, the checkpoint and the loading of the compiled step in it; on SB3's
side `learn`; on CleanRL's what its script prints as SPS; on SheepRL's from its first reset to the
closing of its envs. `as_shipped` is as SB3's make_vec_env and RL Zoo make the envs, with a renderer,
for which LunarLander animates particles. Writes benchmarks/speed.json, docs/img/speed.png and the table
in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from rl_cli.envs.fast_classic_control import make_fast

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
RECORD = REPO / "benchmarks/speed.json"
QUICK_STEPS = 65_536
PROCESSOR = str(min(os.sched_getaffinity(0)))  # `taskset -c 1 python benchmarks/speed.py`: another


@dataclass(frozen=True)
class Case:
    """The same training call in our words and in a peer's."""

    ours: str
    peer: str  # sb3, or a script of CleanRL's
    theirs: dict[str, Any]
    env: str
    steps: int
    at_least: float  # ratio that the project asks of itself
    sizes: tuple[int, ...]  # of the network, for the arithmetic
    batch: int
    updates: float  # per env step
    twin: bool = False  # actor and critic: two networks
    num_envs: int = field(default=1)


def dqn(
    env: str, group: str, sizes: tuple[int, ...], at_least: float, steps: int, **k: Any
) -> Case:
    """DQN against SB3; `k` in SB3's words."""
    width, fraction = sizes[1], 0.1
    every, rounds = k["train_freq"], k["gradient_steps"]
    ours = (
        f"algo=dqn env={group} hparams=none algo.hidden_sizes=[{width},{width}] "
        f"algo.batch_size={k['batch_size']} algo.buffer_size={k['buffer_size']} "
        f"algo.learning_starts={k['learning_starts']} algo.train_every={every} "
        f"algo.gradient_steps={rounds} algo.target_update_every={k['target_update_interval']} "
        f"algo.learning_rate={k['learning_rate']} algo.gamma={k['gamma']} "
        f"algo.epsilon_end={k['exploration_final_eps']} algo.epsilon_steps={int(fraction * steps)}"
    )
    theirs = {"algo": "DQN", "kwargs": {**k, "exploration_fraction": fraction}}
    theirs["kwargs"]["policy_kwargs"] = {"net_arch": [width, width]}
    return Case(ours, "sb3", theirs, env, steps, at_least, sizes, k["batch_size"], rounds / every)


def ppo(
    env: str,
    group: str,
    sizes: tuple[int, ...],
    at_least: float,
    steps: int,
    num_envs: int,
    **k: Any,
) -> Case:
    """PPO against SB3; `k` in SB3's words."""
    ours = (
        f"algo=ppo env={group} hparams=none env.num_envs={num_envs} algo.hidden_sizes=[64,64] "
        f"algo.activation=tanh algo.rollout_length={k['n_steps']} algo.num_epochs={k['n_epochs']} "
        f"algo.minibatch_size={k['batch_size']} algo.gae_lambda={k['gae_lambda']} "
        f"algo.gamma={k['gamma']} algo.ent_coef={k['ent_coef']} algo.learning_rate={k['learning_rate']} "
        "algo.vf_coef=0.5 algo.max_grad_norm=0.5 algo.clip_value_loss=false"
    )
    updates = k["n_epochs"] / k["batch_size"]
    theirs = {"algo": "PPO", "kwargs": k}
    return Case(
        ours, "sb3", theirs, env, steps, at_least, sizes, k["batch_size"], updates, True, num_envs
    )


ZOO_DQN = {
    "cartpole": {
        "learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 1_000,
        "gamma": 0.99, "target_update_interval": 10, "train_freq": 256, "gradient_steps": 128,
        "exploration_final_eps": 0.04,
    },
    "mountaincar": {
        "learning_rate": 4e-3, "batch_size": 128, "buffer_size": 10_000, "learning_starts": 1_000,
        "gamma": 0.98, "target_update_interval": 600, "train_freq": 16, "gradient_steps": 8,
        "exploration_final_eps": 0.07,
    },
    "lunarlander": {
        "learning_rate": 6.3e-4, "batch_size": 128, "buffer_size": 50_000, "learning_starts": 0,
        "gamma": 0.99, "target_update_interval": 250, "train_freq": 4, "gradient_steps": 4,
        "exploration_final_eps": 0.1,
    },
}  # fmt: skip
SMALL = {**ZOO_DQN["lunarlander"], "batch_size": 64, "gradient_steps": 1, "learning_starts": 1_000}
NOTEBOOK = {
    **ZOO_DQN["mountaincar"],
    "train_freq": 1,
    "gradient_steps": 1,
    "target_update_interval": 10,
}
ZOO_PPO = {"learning_rate": 1e-3, "n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98,
           "gae_lambda": 0.8, "ent_coef": 0.0}  # fmt: skip
LANDER = {"learning_rate": 3e-4, "n_steps": 1024, "batch_size": 64, "n_epochs": 4, "gamma": 0.999,
          "gae_lambda": 0.98, "ent_coef": 0.01}  # fmt: skip
ONE = {"learning_rate": 3e-4, "n_steps": 128, "batch_size": 64, "n_epochs": 10, "gamma": 0.99,
       "gae_lambda": 0.95, "ent_coef": 0.0}  # fmt: skip
CLEAN_DQN = (
    "algo=dqn env=cartpole hparams=none algo.hidden_sizes=[120,84] algo.batch_size=128 algo.loss=mse "
    "algo.buffer_size=10000 algo.learning_starts=10000 algo.train_every=10 algo.gradient_steps=1 "
    "algo.target_update_every=500 algo.learning_rate=2.5e-4 algo.max_grad_norm=null"
)
CLEAN_PENDULUM = (
    "algo=ppo env=pendulum hparams=none env.normalize_obs=true env.normalize_reward=true "
    "algo.hidden_sizes=[64,64] algo.activation=tanh algo.rollout_length=2048 algo.num_epochs=10 "
    "algo.minibatch_size=64 algo.learning_rate=3e-4 algo.anneal_learning_rate=true "
    "algo.clip_value_loss=true algo.max_grad_norm=0.5 algo.vf_coef=0.5 algo.ent_coef=0.0"
)
CASES = {
    "dqn_cartpole_zoo": dqn("CartPole-v1", "cartpole", (4, 256, 256, 2), 3.0, 16_000, **ZOO_DQN["cartpole"]),
    "dqn_mountaincar_zoo": dqn("MountainCar-v0", "mountaincar", (2, 256, 256, 3), 2.3, 12_000, **ZOO_DQN["mountaincar"]),
    "dqn_lunarlander_zoo": dqn("LunarLander-v3", "lunarlander", (8, 256, 256, 4), 2.5, 5_000, **ZOO_DQN["lunarlander"]),
    "dqn_lunarlander_64": dqn("LunarLander-v3", "lunarlander", (8, 64, 64, 4), 8.0, 50_000, **SMALL),
    "dqn_mountaincar_notebook": dqn("MountainCar-v0", "mountaincar", (2, 128, 128, 3), 4.0, 8_000, **NOTEBOOK),
    "dqn_cartpole_cleanrl": Case(CLEAN_DQN, "dqn.py", {}, "CartPole-v1", 60_000, 4.0, (4, 120, 84, 2), 128, 0.1),
    "ppo_cartpole_zoo": ppo("CartPole-v1", "cartpole", (4, 64, 64, 2), 6.0, 60_000, 8, **ZOO_PPO),
    "ppo_lunarlander_zoo": ppo("LunarLander-v3", "lunarlander", (8, 64, 64, 4), 2.8, 65_536, 16, **LANDER),
    "ppo_cartpole_1x128": ppo("CartPole-v1", "cartpole", (4, 64, 64, 2), 10.0, 65_536, 1, **ONE),
    "ppo_cartpole_1x128_sheeprl": replace(
        ppo("CartPole-v1", "cartpole", (4, 64, 64, 2), 20.0, 65_536, 1, **ONE), peer="sheeprl", theirs={}
    ),
    "ppo_pendulum_cleanrl": Case(CLEAN_PENDULUM, "ppo_continuous_action.py", {}, "Pendulum-v1", 30_720, 6.0, (3, 64, 64, 1), 64, 10 / 64, True),
}  # fmt: skip
SHIPPED = CASES["ppo_lunarlander_zoo"]
CASES["ppo_lunarlander_as_shipped"] = replace(
    SHIPPED, at_least=12.0, steps=1_000_000, theirs={**SHIPPED.theirs, "renderer": True}
)


def pinned() -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **threads}


def call(command: list[str], folder: str, **env: str) -> str:
    """Run on one processor; -> what it printed."""
    done = subprocess.run(
        ["taskset", "-c", PROCESSOR, *command],
        cwd=folder, env={**pinned(), **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout


def ours(case: Case, seed: int) -> float:
    """Steps per second of our training call."""
    with tempfile.TemporaryDirectory() as folder:
        switches = (
            f"compile=true quiet=true video.episodes=0 log.tensorboard=false eval.every=0 "
            f"eval.episodes=1 checkpoint.every=0 run_dir=run seed={seed} total_timesteps={case.steps}"
        )
        call([str(BIN / "rl-train"), *case.ours.split(), *switches.split()], folder)
        status = json.loads((Path(folder) / "run" / "status.json").read_text())
    return case.steps / float(status["seconds"])


def theirs(case: Case, seed: int, args: argparse.Namespace) -> float:
    """Steps per second of the peer's."""
    with tempfile.TemporaryDirectory() as folder:
        if case.peer == "sb3":
            asked = {**case.theirs, "env": case.env, "num_envs": case.num_envs, "seed": seed}
            script = str(REPO / "benchmarks/peers/sb3.py")
            out = call([args.sb3, script, json.dumps({**asked, "steps": case.steps})], folder)
            result = json.loads(out.splitlines()[-1])
            return float(result["steps"]) / float(result["seconds"])
        if case.peer == "sheeprl":
            python, clone = args.sheeprl
            script = str(REPO / "benchmarks/peers/sheeprl_ppo.py")
            asked = json.dumps({"steps": case.steps, "seed": seed})
            result = json.loads(call([python, script, clone, asked], folder).splitlines()[-1])
            return float(result["steps"]) / float(result["seconds"])
        python, clone = args.cleanrl
        script = str(Path(clone) / "cleanrl" / case.peer)
        flags = ["--env-id", case.env, "--total-timesteps", str(case.steps), "--seed", str(seed)]
        out = call([python, script, *flags, "--no-cuda"], folder, PYTHONPATH=clone)
        return float(re.findall(r"SPS: (\d+)", out)[-1])


def gemm_rate() -> float:
    """FLOP per second of one processor at a matrix product of the size learners do."""
    import torch

    torch.set_num_threads(1)
    a, b = torch.randn(128, 256), torch.randn(256, 256)
    times = []
    for _ in range(300):
        begun = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - begun)
    return 2 * 128 * 256 * 256 / float(np.quantile(times, 0.1))


def floor(case: Case, rate: float) -> float:
    """Steps per second if there were nothing but the env and the arithmetic of the networks."""
    layers = [a * b for a, b in zip(case.sizes, case.sizes[1:], strict=False)]
    products = sum(layers)
    online = 6 * products - 2 * layers[0]  # forward, weights' and inputs' gradients
    flop = case.batch * (
        2 * online if case.twin else online + 2 * products
    )  # or the target's forward
    return 1 / (env_seconds(case.env) + (2 * products + case.updates * flop) / rate)


def env_seconds(env_id: str) -> float:
    env = make_fast(gym.make(env_id).unwrapped)
    env.reset(seed=0)
    actions = [env.unwrapped.action_space.sample() for _ in range(1_000)]
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        for action in actions:
            if env.step(action)[2]:
                env.reset()
        times.append((time.perf_counter() - begun) / len(actions))
    return min(times)


def measure(name: str, case: Case, args: argparse.Namespace) -> dict[str, Any]:
    ours(case, 0)  # fills the cache of compiled steps, and the disk's
    pairs = [(ours(case, seed), theirs(case, seed, args)) for seed in range(args.pairs)]
    mine, other = np.array(pairs).T
    ratios = mine / other
    result = {
        "peer": case.peer, "ours": float(np.median(mine)), "theirs": float(np.median(other)),
        "ratio": float(np.median(ratios)), "ratio_min": float(ratios.min()),
        "ratio_max": float(ratios.max()), "at_least": case.at_least,
        "floor": floor(case, gemm_rate()), "pairs": pairs,
    }  # fmt: skip
    print(name, {k: round(v, 2) for k, v in result.items() if isinstance(v, float)}, flush=True)
    return result


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| case | peer | its steps/s | ours | ratio (smallest, largest pair) | pairs | asked | floor | of the floor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, r in results.items():
        lines.append(
            f"| `{name}` | {r['peer']} | {r['theirs']:,.0f} | {r['ours']:,.0f} "
            f"| **{r['ratio']:.1f}x** ({r['ratio_min']:.1f}, {r['ratio_max']:.1f}) "
            f"| {len(r['pairs'])} | {r['at_least']:g}x | {r['floor']:,.0f} | 1/{r['floor'] / r['ours']:.1f} |"
        )
    against = [
        r["ratio"] for name, r in results.items() if r["peer"] == "sb3" and "as_shipped" not in name
    ]
    if against:
        mean = float(np.exp(np.log(against).mean()))
        lines.append(f"| geometric mean | sb3 | | | **{mean:.1f}x** | | 5x | | |")
    return "\n".join(lines)


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    """The ratio of each case: median and range of the pairs, and what was asked."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.5, 0.36 * len(results) + 1.1), layout="constrained")
    ordered = sorted(results.items(), key=lambda item: item[1]["ratio"])
    for y, (_, r) in enumerate(ordered):
        axis.plot([r["ratio_min"], r["ratio_max"]], [y, y], color="C0", lw=2, alpha=0.5)
        axis.plot(r["ratio"], y, "o", color="C0", ms=6, label=None if y else "median of the pairs")
        axis.plot([r["at_least"]] * 2, [y - 0.35, y + 0.35], color="C3", lw=1.5,
                  label=None if y else "asked")  # fmt: skip
        axis.annotate(f"{r['ratio']:.1f}x", (r["ratio_max"], y), (6, 0), fontsize=8,
                      textcoords="offset points", va="center")  # fmt: skip
    axis.axvline(1, color="black", lw=0.8)
    ticks = [1, 2, 3, 5, 10, 20, 40]
    axis.set(xscale="log", xlabel="times as many env steps per second as the peer")
    axis.set_xticks(ticks, [str(t) for t in ticks])
    axis.minorticks_off()
    axis.set_xlim(0.9, 1.6 * max(r["ratio_max"] for r in results.values()))
    axis.set_yticks(
        range(len(ordered)), [f"{name} ({r['peer']})" for name, r in ordered], fontsize=8
    )
    axis.grid(axis="x", alpha=0.25)
    axis.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


def alone(names: list[str]) -> None:
    """Ours beside the floor, on a machine that has nothing else to do."""
    lines = ["| case | ours | floor | of the floor | asked |", "|---|---|---|---|---|"]
    for name in names:
        case = CASES[name]
        ours(case, 0)
        mine = float(np.median([ours(case, seed) for seed in range(1, 4)]))
        ground, share = floor(case, gemm_rate()), 4 if case.sizes[1] == 64 else 2
        row = f"| {mine:,.0f} | {ground:,.0f} | 1/{ground / mine:.1f} | 1/{share} |"
        lines.append(f"| `{name}` {row}")
        print(lines[-1], flush=True)
    insert("quiet", "\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sb3", metavar="PYTHON")
    parser.add_argument("--cleanrl", nargs=2, metavar=("PYTHON", "CLONE"))
    parser.add_argument("--sheeprl", nargs=2, metavar=("PYTHON", "CLONE"))
    parser.add_argument("--case", nargs="*", choices=list(CASES))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one pair each, short; writes nothing")
    parser.add_argument(
        "--alone", action="store_true", help="no peers: the distance from the floor"
    )
    args = parser.parse_args()
    if args.alone:
        alone([name for name in CASES if not name.endswith(("sheeprl", "as_shipped"))])
        return
    args.pairs = 1 if args.quick else args.pairs
    results = {} if args.quick else json.loads(RECORD.read_text())
    for name in args.case or CASES:
        case = CASES[name]
        if args.quick:
            case = replace(case, steps=min(case.steps, QUICK_STEPS))
        if getattr(args, {"sb3": "sb3", "sheeprl": "sheeprl"}.get(case.peer, "cleanrl")):
            results[name] = measure(name, case, args)
            if not args.quick:  # row by row: the whole takes hours
                publish({name: results[name] for name in CASES if name in results})
    print(table(results))


def publish(results: dict[str, dict[str, Any]]) -> None:
    RECORD.write_text(json.dumps(results, indent=1) + "\n")
    plot(results, REPO / "docs/img/speed.png")
    insert("table", table(results), "end")


def insert(mark: str, lines: str, end: str = "") -> None:
    """Put a table into the page, where it has a place."""
    page = REPO / "docs/performance.md"
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- {end or f'end {mark}'} -->)", re.DOTALL)
    page.write_text(marked.sub(lambda m: m[1] + lines + "\n" + m[2], page.read_text()))


if __name__ == "__main__":
    main()

"""Measures env steps per second of whole training calls, in pairs with peers (other libraries).

    python benchmarks/speed.py --sb3 <python with stable-baselines3>
    python benchmarks/speed.py --sb3 ... --cleanrl <python with its packages> <clone of CleanRL> \\
                               --sheeprl <python with its packages> <clone of SheepRL>
    python benchmarks/speed.py --quick --case dqn_cartpole_zoo ...

--case selects cases. Each row is written as soon as it is measured, except with --quick.

Both sides have the same hyper-parameters, network, environment and budget, one thread, one processor, no
video and no evaluation during training. They run alternately; the ratio is computed per pair. Measured is:
for rl-cli, the time from the first reset to the completed run folder, including the final evaluation of one
episode, the checkpoint and loading of the compiled step; for SB3, `learn`; for CleanRL, the SPS that its
script prints; for SheepRL, the time from the first reset to the closing of the environments. `as_shipped`:
environments with a renderer, as SB3's make_vec_env and RL Zoo create them, for which LunarLander animates
particles. The bound is the speed with the environment and the matrix products of the networks alone.
Writes benchmarks/speed.json, docs/img/speed.png and the table in docs/performance.md.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from pages import insert
from speed_cases import CASES, Case

from rl_cli.envs.fast_classic_control import make_fast

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
RECORD = REPO / "benchmarks/speed.json"
QUICK_STEPS = 65_536
PROCESSOR = str(min(os.sched_getaffinity(0)))  # choose another with `taskset -c 1 python ...`


def pinned() -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **threads}


def call(command: list[str], folder: str, **env: str) -> str:
    """Run a command on one processor. Returns its stdout."""
    done = subprocess.run(
        ["taskset", "-c", PROCESSOR, *command],
        cwd=folder, env={**pinned(), **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout


def ours(case: Case, seed: int) -> float:
    """Steps per second of the training call of rl-cli."""
    with tempfile.TemporaryDirectory() as folder:
        switches = (
            f"compile=true quiet=true video.episodes=0 log.tensorboard=false eval.every=0 "
            f"eval.episodes=1 checkpoint.every=0 run_dir=run seed={seed} total_timesteps={case.steps}"
        )
        call([str(BIN / "rl-train"), *case.ours.split(), *switches.split()], folder)
        status = json.loads((Path(folder) / "run" / "status.json").read_text())
    return case.steps / float(status["seconds"])


def theirs(case: Case, seed: int, args: argparse.Namespace) -> float:
    """Steps per second of the training call of the peer."""
    with tempfile.TemporaryDirectory() as folder:
        if case.peer == "sb3":
            call_of = {**case.theirs, "env": case.env, "num_envs": case.num_envs, "seed": seed}
            script = str(REPO / "benchmarks/peers/sb3.py")
            out = call([args.sb3, script, json.dumps({**call_of, "steps": case.steps})], folder)
            result = json.loads(out.splitlines()[-1])
            return float(result["steps"]) / float(result["seconds"])
        if case.peer == "sheeprl":
            python, clone = args.sheeprl
            script = str(REPO / "benchmarks/peers/sheeprl_ppo.py")
            given = json.dumps({"steps": case.steps, "seed": seed})
            result = json.loads(call([python, script, clone, given], folder).splitlines()[-1])
            return float(result["steps"]) / float(result["seconds"])
        python, clone = args.cleanrl
        script = str(Path(clone) / "cleanrl" / case.peer)
        flags = ["--env-id", case.env, "--total-timesteps", str(case.steps), "--seed", str(seed)]
        out = call([python, script, *flags, "--no-cuda"], folder, PYTHONPATH=clone)
        return float(re.findall(r"SPS: (\d+)", out)[-1])


def gemm_rate() -> float:
    """FLOP per second of one processor for a matrix product of a typical size, (128, 256) x (256, 256)."""
    import torch

    torch.set_num_threads(1)
    a, b = torch.randn(128, 256), torch.randn(256, 256)
    times = []
    for _ in range(300):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * 128 * 256 * 256 / float(np.quantile(times, 0.1))


def speed_bound(case: Case, rate: float) -> float:
    """Steps per second with the environment and the matrix products of the networks alone."""
    layers = [a * b for a, b in zip(case.sizes, case.sizes[1:], strict=False)]
    products = sum(layers)
    online = 6 * products - 2 * layers[0]  # forward, gradients of weights and of inputs
    # actor and critic, or the forward of the target network
    flop = case.batch * (2 * online if case.twin else online + 2 * products)
    return 1 / (env_seconds(case.env) + (2 * products + case.updates * flop) / rate)


def env_seconds(env_id: str) -> float:
    env = make_fast(gym.make(env_id).unwrapped)
    env.reset(seed=0)
    actions = [env.unwrapped.action_space.sample() for _ in range(1_000)]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for action in actions:
            if env.step(action)[2]:
                env.reset()
        times.append((time.perf_counter() - start) / len(actions))
    return min(times)


def measure(name: str, case: Case, args: argparse.Namespace) -> dict[str, Any]:
    ours(case, 0)  # fills the build cache and the cache of the disk
    pairs = [(ours(case, seed), theirs(case, seed, args)) for seed in range(args.pairs)]
    mine, other = np.array(pairs).T
    ratios = mine / other
    result = {
        "peer": case.peer, "ours": float(np.median(mine)), "theirs": float(np.median(other)),
        "ratio": float(np.median(ratios)), "ratio_min": float(ratios.min()),
        "ratio_max": float(ratios.max()), "target": case.target,
        "bound": speed_bound(case, gemm_rate()), "pairs": pairs,
    }  # fmt: skip
    print(name, {k: round(v, 2) for k, v in result.items() if isinstance(v, float)}, flush=True)
    return result


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| case | peer | its steps/s | ours | ratio (smallest, largest pair) | pairs | target | bound | share of the bound |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, r in results.items():
        lines.append(
            f"| `{name}` | {r['peer']} | {r['theirs']:,.0f} | {r['ours']:,.0f} "
            f"| **{r['ratio']:.1f}x** ({r['ratio_min']:.1f}, {r['ratio_max']:.1f}) "
            f"| {len(r['pairs'])} | {r['target']:g}x | {r['bound']:,.0f} | 1/{r['bound'] / r['ours']:.1f} |"
        )
    against = [
        r["ratio"] for name, r in results.items() if r["peer"] == "sb3" and "as_shipped" not in name
    ]
    if against:
        mean = float(np.exp(np.log(against).mean()))
        lines.append(f"| geometric mean | sb3 | | | **{mean:.1f}x** | | 5x | | |")
    return "\n".join(lines)


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Plot the ratio of each case: median and range of the pairs, and the target."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.5, 0.36 * len(results) + 1.1), layout="constrained")
    ordered = sorted(results.items(), key=lambda item: item[1]["ratio"])
    for y, (_, r) in enumerate(ordered):
        axis.plot([r["ratio_min"], r["ratio_max"]], [y, y], color="C0", lw=2, alpha=0.5)
        axis.plot(r["ratio"], y, "o", color="C0", ms=6, label=None if y else "median of the pairs")
        axis.plot([r["target"]] * 2, [y - 0.35, y + 0.35], color="C3", lw=1.5,
                  label=None if y else "target")  # fmt: skip
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
    """Compare rl-cli with the bound; needs an idle machine."""
    lines = ["| case | ours | bound | share of the bound | target |", "|---|---|---|---|---|"]
    for name in names:
        case = CASES[name]
        ours(case, 0)
        mine = float(np.median([ours(case, seed) for seed in range(1, 4)]))
        bound, share = speed_bound(case, gemm_rate()), 4 if case.sizes[1] == 64 else 2
        row = f"| {mine:,.0f} | {bound:,.0f} | 1/{bound / mine:.1f} | 1/{share} |"
        lines.append(f"| `{name}` {row}")
        print(lines[-1], flush=True)
    insert("performance.md", "quiet", "\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sb3", metavar="PYTHON")
    parser.add_argument("--cleanrl", nargs=2, metavar=("PYTHON", "CLONE"))
    parser.add_argument("--sheeprl", nargs=2, metavar=("PYTHON", "CLONE"))
    parser.add_argument("--case", nargs="*", choices=list(CASES))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="one short pair per case; writes nothing"
    )
    parser.add_argument("--alone", action="store_true", help="no peers: compare with the bound")
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
            if not args.quick:  # after each row, because all rows take hours
                publish({name: results[name] for name in CASES if name in results})
    print(table(results))


def publish(results: dict[str, dict[str, Any]]) -> None:
    RECORD.write_text(json.dumps(results, indent=1) + "\n")
    plot(results, REPO / "docs/img/speed.png")
    insert("performance.md", "table", table(results), "end")


if __name__ == "__main__":
    main()

"""Measures the cost of each switch: processor time per env step, compared with the default algorithm.

    python benchmarks/switches.py

All loops of an algorithm run in one process, compiled where `compile=auto` compiles in a long run. They
take turns of a fixed number of steps. The cost is the median over turns of the difference to the default in
the same turn. A switch that needs another hyper-parameter is listed with it.
Writes benchmarks/switches.json and the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loop import Loop
from pages import insert

REPO = Path(__file__).resolve().parents[1]
STEPS = 2_048  # per turn: eight rollouts of PPO, 512 updates of DQN
BUDGET = 1_000_000  # total_timesteps of the loops, for schedules and compile=auto
DQN = [
    "replay=proportional", "replay=softmax", "n_step=3", "bootstrap=double", "bootstrap=sarsa",
    "bootstrap=expected_sarsa", "target_update_every=0", "target_update_every=1 tau=0.01",
    "dueling=true", "noisy=true", "distributional=c51", "distributional=qr", "loss=mse",
    "max_grad_value=1.0", "q_l1_coef=0.1", "epsilon_factor=0.99",
]  # fmt: skip
PPO = [
    "advantage=monte_carlo", "shared_network=true", "vf_learning_rate=1e-3", "target_kl=0.05",
    "clip_value_loss=true", "recompute_advantage=true", "normalize_advantage=rollout",
    "anneal_clip_coef=true", "ent_coef=0.01", "rollout_length=null rollout_episodes=8",
]  # fmt: skip
GAUSSIAN = [
    "std=fixed", "std=state_dependent", "std=gsde", "squash_actions=true",
    "std=gsde squash_actions=true",
]  # fmt: skip
CASES = {
    "dqn": ("algo=dqn env=cartpole", DQN),
    "ppo": ("algo=ppo env=cartpole", PPO),
    "ppo, continuous actions": ("algo=ppo env=pendulum", GAUSSIAN),
}


def measure(base: str, switches: list[str], turns: int) -> list[dict[str, Any]]:
    """Rows of the table, the default first."""
    default: dict[str, list[str]] = {"default": []}
    named = default | {s: [f"algo.{word}" for word in s.split()] for s in switches}
    if base.startswith("algo=dqn"):
        named["algo=rainbow"] = ["algo=rainbow"]
    common = [*base.split(), "hparams=none"]
    loops = {name: Loop([*common, *words], BUDGET) for name, words in named.items()}
    for name, loop in loops.items():
        print(f"{base}: {name}", flush=True)
        loop.turn(2 * STEPS)
    times = np.array([[loop.turn(STEPS) for loop in loops.values()] for _ in range(turns)])
    more = times - times[:, :1]
    return [
        {
            "switch": name, "us": float(np.median(times[:, i])), "compiled": loop.compiles,
            "more": float(np.median(more[:, i])),
            "quartiles": np.quantile(more[:, i], (0.25, 0.75)).tolist(),
        }
        for i, (name, loop) in enumerate(loops.items())
    ]  # fmt: skip


def table(record: dict[str, list[dict[str, Any]]]) -> str:
    lines = [
        "| algorithm | switch | us per env step | difference to the default (quartiles) | ratio |"
    ]
    lines.append("|---|---|---|---|---|")
    for name, rows in record.items():
        usual = rows[0]["us"]
        for row in rows:
            low, high = row["quartiles"]
            more = f"{row['more']:+.1f} ({low:+.1f}, {high:+.1f})" if row is not rows[0] else ""
            plain = "" if row["compiled"] else ", not compiled"
            words = row["switch"] if row["switch"] == "default" else f"`{row['switch']}`"
            times = (usual + row["more"]) / usual
            lines.append(f"| {name} | {words}{plain} | {row['us']:.1f} | {more} | {times:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="three turns; writes nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    turns = 3 if args.quick else args.turns
    record = {name: measure(base, switches, turns) for name, (base, switches) in CASES.items()}
    print(table(record))
    if args.quick:
        return
    (REPO / "benchmarks/switches.json").write_text(json.dumps(record, indent=1) + "\n")
    insert("performance.md", "switches", table(record))


if __name__ == "__main__":
    main()

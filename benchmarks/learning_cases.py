"""The cases of benchmarks/learning.py: algorithm, env, steps, and the published result to compare with."""

from __future__ import annotations

from typing import NamedTuple

EVAL_SEED = 90_000
"""First of the 100 seeds of the evaluation; training evaluates on others."""
FIRST_SEED = 9_000
"""No choice of values looks at runs of this seed or a later one."""

ZOO = "RL Zoo"
SLM = "SLM Lab"
RAI = "rl-algo-impls"
TIANSHOU = "Tianshou"
OWN = "own"


class Case(NamedTuple):
    """One row.

    Attributes:
        algo, env: of the shipped preset.
        bar: mean return to reach; None: there is no published one.
        source: of the bar; "own": our goal.
        looks: how often values were changed after a look at this row. Each look uses up its seeds.
        num_seeds: number of seeds.
        long: run only if it is named, because a seed takes minutes or needs an extra.
        extra: further overrides.
        each_seed: the bar is to be reached by each seed, not only by the lower end of the interval.

    """

    algo: str
    env: str
    bar: float | None
    source: str
    looks: int = 0
    num_seeds: int = 10
    long: bool = False
    extra: tuple[str, ...] = ()
    each_seed: bool = False

    @property
    def words(self) -> list[str]:
        return [f"algo={self.algo}", f"env={self.env}", *self.extra]

    @property
    def seeds(self) -> list[int]:
        first = FIRST_SEED + 10 * self.looks
        return list(range(first, first + self.num_seeds))


LOOKED_AT = (("dqn", "asterix"), ("dqn", "seaquest"))
"""MinAtar cases whose values were changed after a look at a seed."""
CASES = {
    "dqn_cartpole": Case("dqn", "cartpole", 500.0, ZOO, looks=1),
    "dqn_mountaincar": Case("dqn", "mountaincar", -100.85, ZOO),
    "dqn_acrobot": Case("dqn", "acrobot", -76.64, ZOO),
    "dqn_lunarlander": Case("dqn", "lunarlander", 200.0, OWN, looks=1, each_seed=True),
    "rainbow_cartpole": Case("rainbow", "cartpole", 500.0, ZOO),
    "rainbow_mountaincar": Case("rainbow", "mountaincar", -100.85, ZOO, looks=1),
    "rainbow_acrobot": Case("rainbow", "acrobot", -69.14, ZOO, looks=2),
    "rainbow_lunarlander": Case("rainbow", "lunarlander", 200.0, OWN),
    "ppo_cartpole": Case("ppo", "cartpole", 500.0, ZOO),
    "ppo_mountaincar": Case("ppo", "mountaincar", -105.0, OWN, looks=1),
    "ppo_acrobot": Case("ppo", "acrobot", -73.51, ZOO, looks=1),
    "ppo_lunarlander": Case("ppo", "lunarlander", 270.0, OWN, looks=1),
    "ppo_lunarlander_continuous": Case("ppo", "lunarlander_continuous", 270.86, ZOO),
    "ppo_pendulum": Case("ppo", "pendulum", -160.0, ZOO),
    "ppo_mountaincar_continuous": Case("ppo", "mountaincar_continuous", 94.0, OWN, looks=1),
    "reinforce_cartpole": Case("reinforce", "cartpole", 499.0, OWN),
    "reinforce_acrobot": Case("reinforce", "acrobot", -90.0, OWN),
    "reinforce_lunarlander": Case("reinforce", "lunarlander", 150.0, OWN, looks=2),
    "ppo_lunarlander_windy": Case("ppo", "lunarlander_windy", 200.0, OWN, each_seed=True),
    "dqn_lunarlander_windy": Case(
        "dqn", "lunarlander_windy", 200.0, OWN, long=True, each_seed=True
    ),
    "dqn_lunarlander_300k": Case(
        "dqn",
        "lunarlander",
        265.9,
        SLM,
        looks=2,
        extra=("total_timesteps=300_000", "eval.every=30_000"),
    ),
    "ppo_bipedalwalker": Case("ppo", "bipedalwalker", 301.6, RAI, looks=1, long=True),
    "ppo_halfcheetah": Case("ppo", "halfcheetah", 5_784.0, TIANSHOU, long=True),
    "ppo_hopper": Case("ppo", "hopper", 2_609.0, TIANSHOU, long=True),
    "ppo_walker2d": Case("ppo", "walker2d", 3_588.0, TIANSHOU, long=True),
    "ppo_ant": Case("ppo", "ant", 3_258.0, TIANSHOU, looks=2, long=True),
    "ppo_swimmer": Case("ppo", "swimmer", 281.0, OWN, long=True),
    "ppo_humanoid": Case("ppo", "humanoid", 787.0, TIANSHOU, looks=1, long=True),
    "ppo_carracing": Case("ppo", "carracing", 850.0, OWN, looks=1, num_seeds=3, long=True),
    **{
        f"{algo}_minatar_{game}": Case(
            algo,
            f"minatar_{game}",
            None,
            "",
            looks=int((algo, game) in LOOKED_AT),
            num_seeds=3,
            long=True,
        )
        for game in ("breakout", "asterix", "freeway", "seaquest", "space_invaders")
        for algo in ("dqn", "ppo")
    },
    "ppo_pong": Case(
        "ppo", "pong", -15.0, OWN, looks=1, num_seeds=1, long=True, extra=("stop.eval_return=0",)
    ),
    "dqn_pong": Case(
        "dqn", "pong", -15.0, OWN, num_seeds=1, long=True, extra=("stop.eval_return=0",)
    ),
}

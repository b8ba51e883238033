"""B20: environments with known values and optimal actions are solved within seconds, for every seed.

`tests/algos/test_algorithms.py` tests more environments with one seed each.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.algos.test_algorithms import GAMMA, STEPS, trained, value
from tests.bars.results import report
from tests.conftest import FULL

# environment: values by observation, optimal actions by observation
PROBES = {
    "Constant": ({0.0: 1.0}, {}),
    "ObservationReward": ({1.0: 1.0, -1.0: -1.0}, {}),
    "DelayedReward": ({1.0: 1.0, 0.0: GAMMA}, {}),
    "ActionReward": ({0.0: 1.0}, {0.0: 1}),
    "MatchObservation": ({1.0: 1.0, -1.0: 1.0}, {1.0: 1, -1.0: 0}),
}
SEEDS = range(5) if FULL else range(7, 8)
CASES = [(a, p) for a in STEPS for p in PROBES] if FULL else [("dqn", "MatchObservation")]
MAX_SECONDS = 10.0
"""Processor time per run."""


def state_value(algo, obs, actions):
    """V(s); for DQN Q(s, a) of the optimal action, or of action 0 if all are equal."""
    return value(algo, obs, actions.get(obs, 0))


def share_of_optimal_actions(algo, obs, action, draws=200):
    """Share among sampled actions; DQN acts greedily."""
    rng = None if hasattr(algo, "q") else np.random.default_rng(0)
    batch = np.full((1, 1), obs, np.float32)
    return np.mean([algo.predict(batch, rng)[0] == action for _ in range(draws)])


@pytest.mark.parametrize(("name", "probe"), CASES)
def test_probe_env_is_solved_for_every_seed(name, probe):
    values, actions = PROBES[probe]
    errors, shares, seconds = [], [], []
    for seed in SEEDS:
        start = time.process_time()
        algo = trained(name, f"Probe{probe}-v0", seed=seed)
        seconds.append(time.process_time() - start)
        # values under the current policy, which may still take other actions at times
        errors.append(max(abs(state_value(algo, s, actions) - v) for s, v in values.items()))
        shares.append(
            min([float(share_of_optimal_actions(algo, s, a)) for s, a in actions.items()] or [1.0])
        )
    solved = sum(e <= 0.1 and s >= 0.95 for e, s in zip(errors, shares, strict=True))
    worst = f"value error {max(errors):.3f}, optimal {min(shares):.0%}, {max(seconds):.1f} s"
    report(20, solved, len(SEEDS), f"{name} {probe}: {worst}")
    assert solved == len(SEEDS), (errors, shares)
    assert max(seconds) <= MAX_SECONDS
